"""Compares strategies at equal compute, on paired seeds.

  python -m launch.compare --strategies=random,evolution,gp --seeds=8
  python -m launch.compare --strategies=random,gp --task=conditional --seeds=20

Every strategy searches once per seed, in the same space, from the same first
configurations, with as many slots and as much compute; then each incumbent is
trained from scratch on a fresh seed and scored on text that no search read.
The same command again goes on where it stopped.
"""

from launch import early

if early.is_command(__name__):
  early.hold()

import contextlib
import sys
from typing import Any

from absl import flags
from etils import epath

from evo import (
  comparison,
  comparison_figure,
  comparison_report,
  comparison_summary,
  document,
  lull,
  strategies,
)
from evo import hosts as hosts_lib
from evo import task as task_lib
from launch import cli, contests, files, owner, settings
from launch import cluster as cluster_lib
from launch import experiment as experiment_lib
from launch import progress as progress_lib
from launch import stop as stop_lib

# Population-based training whose configurations never change shows what
# copying weights is worth alone.
_STILL = contests.Arm('pbt without mutation', 'pbt', {'explore': False})

_OWN = (
  'workdir',
  'strategies',
  'seeds',
  'reference',
  'task',
  'max_members',
  'confirm_seeds',
)
# May change when a comparison goes on: more strategies, more seeds.
_CHANGEABLE = (
  'workdir',
  'strategies',
  'seeds',
  'reference',
  'max_species',
  'mesh',
)


def main(argv: list[str]) -> int:
  """Runs or resumes the comparison of the flags; returns the exit code."""
  del argv
  with cli.input_errors():
    given = _values()
    workdir = cli.workdir(given['workdir'])
    files.check_workdir(workdir, _identity(given), 'comparison')
    if (workdir / 'STOP').exists():
      print(f'{workdir}/STOP is there from before: delete it to go on.')
      return 0
    owner.look(workdir)
  stop = stop_lib.StopSignals(workdir)
  with contextlib.ExitStack() as stack:
    hosts = hosts_lib.Hosts()
    if given['task'] == contests.TEXT:
      # What costs nothing has no rounds to be watched.
      hosts = stack.enter_context(cluster_lib.join(False, stop)).hosts
    with cli.input_errors():
      ground, arms = _ground(given, hosts), _arms(given['strategies'])
      for arm in arms:
        ground.check(arm)
    stack.enter_context(owner.hold(workdir, hosts))
    return _compare(given, arms, ground, stop, hosts)


def _ground(given: dict[str, Any], hosts: hosts_lib.Hosts) -> contests.Contests:
  """Where the strategies meet."""
  if given['task'] != contests.TEXT:
    return contests.OnTask(given)
  experiment_lib.prepare_backend(given)
  return contests.OnText(given, hosts)


def _compare(
  given: dict[str, Any],
  arms: list[contests.Arm],
  ground: contests.Contests,
  signals: stop_lib.StopSignals,
  hosts: hosts_lib.Hosts,
) -> int:
  """The comparison in a workdir that is held; returns the exit code."""
  workdir = cli.workdir(given['workdir'])
  with cli.input_errors():
    # Who held it before may have gone on with it after the first look.
    files.check_workdir(workdir, _identity(given), 'comparison')
    files.check_unchanged(workdir, {'data_digest': ground.digest})
    earlier = _earlier(workdir)
  run = {'flags': given, 'data_digest': ground.digest}
  files.write_json(workdir / 'run.json', run)
  (workdir / 'runs').mkdir(exist_ok=True)
  print(_plan(given, arms, ground), file=sys.stderr)
  runs = _run(workdir, given['seeds'], arms, ground, signals, hosts, earlier)
  if _comparable(runs, arms):
    with lull.expected():
      _report(workdir, given, ground.metric, runs)
  if signals.reason():
    print('stopped; the same command goes on')
  return cli.AGAIN if signals.reason() == 'sigterm' else 0


def _identity(given: dict[str, Any]) -> dict[str, Any]:
  """The flags that say which comparison it is."""
  return {k: v for k, v in given.items() if k not in _CHANGEABLE}


def _run(
  workdir: epath.Path,
  seeds: int,
  arms: list[contests.Arm],
  ground: contests.Contests,
  signals: stop_lib.StopSignals,
  hosts: hosts_lib.Hosts,
  earlier: dict[epath.Path, comparison.Run],
) -> list[comparison.Run]:
  """All runs, seed by seed; those of before are not run again."""
  runs: list[comparison.Run] = []
  with progress_lib.Progress(len(arms) * seeds) as bar:
    for seed in range(seeds):
      for arm in arms:
        bar.begin(f'{arm.name}, seed {seed}', len(runs))
        folder = workdir / 'runs' / _stem(arm.name, seed)
        path = folder.with_suffix('.json')
        if path in earlier:
          run = earlier[path]
        else:
          run = ground.run(arm, seed, folder, signals.reason, bar.show)
        if run is None:
          return runs
        hosts.fence()
        files.write_json(path, run.to_json())
        runs.append(run)
  return runs


def _earlier(workdir: epath.Path) -> dict[epath.Path, comparison.Run]:
  """Runs that ended before, by their files.

  Raises:
    ValueError: a file holds none, or another one than its name says.
  """
  found = {}
  for path in sorted((workdir / 'runs').glob('*.json')):
    value = document.read(path, 'a run', comparison.check)
    run = found[path] = comparison.Run.from_json(value)
    if _stem(run.strategy, run.seed) != path.stem:
      raise ValueError(
        f'{path} is of {run.strategy!r} and seed {run.seed}; expected what its'
        ' name says'
      )
  return found


def _stem(name: str, seed: int) -> str:
  """Of the file of a run."""
  return f'{name.replace(" ", "_")}-{seed}'


def _comparable(runs: list[comparison.Run], arms: list[contests.Arm]) -> bool:
  """Whether all arms have run on two seeds."""
  done = {(run.strategy, run.seed) for run in runs}
  return all((arm.name, seed) in done for arm in arms for seed in (0, 1))


def _report(
  workdir: epath.Path,
  given: dict[str, Any],
  metric: str,
  runs: list[comparison.Run],
) -> None:
  """Writes and prints what the runs say."""
  value = comparison.compare(
    runs,
    reference=given['reference'],
    budget=given['max_members'],
    metric=metric,
    at=[share * given['max_members'] for share in (0.25, 0.5)],
  )
  files.write_json(workdir / 'comparison.json', value)
  comparison_figure.draw(value, workdir / 'comparison.png')
  command = settings.command(given, 'compare')
  text = comparison_report.markdown(value, command)
  (workdir / 'comparison.md').write_text(text)
  print(comparison_summary.summary(value))
  print(f'\nreport      {workdir}/comparison.md')
  print(f'picture     {workdir}/comparison.png')


def _values() -> dict[str, Any]:
  """The flags, checked one by one.

  Raises:
    ValueError: a value is out of its range.
  """
  given = settings.members()
  given |= {name: flags.FLAGS[name].value for name in _OWN}
  settings.require_size(given, 'max_members')
  names = given['strategies']
  for name in names:
    if name not in strategies.NAMES:
      known = ', '.join(strategies.NAMES)
      raise ValueError(f'--strategies={name}; expected some of {known}')
  distinct = len(set(names)) == len(names) > 1
  settings.require(given, 'strategies', distinct, 'two or more, each once')
  settings.require(
    given, 'seeds', given['seeds'] >= 2, 'at least 2, for a test'
  )
  given['reference'] = given['reference'] or names[0]
  settings.require(
    given, 'reference', given['reference'] in names, 'one of --strategies'
  )
  return given


def _arms(names: list[str]) -> list[contests.Arm]:
  arms = [contests.Arm(name, name) for name in names]
  return arms + [_STILL] * (_STILL.strategy in names)


def _plan(
  given: dict[str, Any], arms: list[contests.Arm], ground: contests.Contests
) -> str:
  """What is going to be done and what it costs."""
  return (
    f'{len(arms)} strategies on {given["task"]}, {given["seeds"]} seeds each:'
    f' {len(arms) * given["seeds"]} searches of {given["max_members"]} members'
    f' each, {ground.slots} at once'
  )


def run() -> None:
  """Entry point of the console script."""
  cli.run(main)


flags.DEFINE_string('workdir', 'runs/compare', 'Holds one comparison.')
flags.DEFINE_list(
  'strategies',
  'random,evolution,gp',
  f'Some of {", ".join(strategies.NAMES)}.',
)
flags.DEFINE_integer('seeds', 8, 'Searches of each strategy.')
flags.DEFINE_string(
  'reference', '', 'What the others are tested against; the first by default.'
)
flags.DEFINE_string('task', 'text', f'One of text, {task_lib.WORDS}.')
flags.DEFINE_float(
  'max_members', 24, 'Compute of each search, in whole members.', lower_bound=1
)
flags.DEFINE_integer(
  'confirm_seeds', 1, 'Fresh seeds of each incumbent.', lower_bound=1
)
settings.define_members()
flags.adopt_module_key_flags(settings)

if __name__ == '__main__':
  run()
