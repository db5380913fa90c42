"""Searches for a better training configuration and proves what it found.

With no flags: the quick preset, four minutes on two cores. The same command
again goes on where it stopped, or says that it is finished.

  python -m launch.search
  python -m launch.search --strategy=pbt --workdir=runs/pbt
  python -m launch.search --flagfile=nanogpt_cpu --data=input.txt
"""

from launch import early

if early.is_command(__name__):
  early.hold()

import functools
import sys
from collections.abc import Callable
from typing import Any

from absl import flags
from etils import epath

from evo import ablation, lull, transfer, wording
from evo import bounds as bounds_lib
from evo import campaign as campaign_lib
from evo import disk as disk_lib
from evo import hosts as hosts_lib
from evo import ledger as ledger_lib
from evo import strategy as strategy_lib
from launch import (
  cli,
  description,
  enlarge,
  files,
  outcome,
  owner,
  plan,
  settings,
)
from launch import cluster as cluster_lib
from launch import display as display_lib
from launch import experiment as experiment_lib
from launch import stop as stop_lib

# Ends of a campaign after which only a larger bound has more to do.
_FINAL = ('done', 'max_members', 'max_minutes', 'max_flops')


def main(argv: list[str]) -> int:
  """Runs or resumes the search of the flags; returns the exit code."""
  del argv
  with cli.input_errors():
    given = settings.values()
  stop = stop_lib.StopSignals(cli.workdir(given['workdir']))
  with cluster_lib.join(given['distributed'], stop) as cluster:
    return _run(given, cluster)


def _run(given: dict[str, Any], cluster: cluster_lib.Cluster) -> int:
  """The search on all hosts; the first one reads, writes and speaks."""
  workdir, hosts = cli.workdir(given['workdir']), cluster.hosts
  with cli.input_errors():
    answer = hosts.once(lambda: _nothing_to_do(workdir, given))
    if answer is not None:
      print(answer if hosts.first else '', end='')
      return 0
    experiment_lib.prepare_backend(given, hosts.count)
    experiment = _experiment(given, hosts)
    run = experiment_lib.describe(given, experiment, settings.command(given))
    larger, run['transfer_digest'] = _larger(given, experiment)
    for name, value in run.items():
      hosts.same(value, f'the {name.replace("_", " ")} of the run')
    hosts.once(lambda: _check_unchanged(workdir, run))
    make = functools.partial(
      _campaign,
      given,
      experiment,
      stop=cluster.reason,
      bounds=_bounds(given, experiment),
      larger=larger,
    )
  if early := hosts.any(cluster.reason()):
    return cli.AGAIN if early == stop_lib.SIGTERM else 0
  with owner.hold(workdir, hosts):
    return _search(given, run, experiment, make)


def _search(
  given: dict[str, Any],
  run: dict[str, Any],
  experiment: experiment_lib.Experiment,
  make: Callable[..., campaign_lib.Campaign],
) -> int:
  """The search in a workdir that is held; returns the exit code."""
  workdir, hosts = cli.workdir(given['workdir']), experiment.engine.hosts
  display = display_lib.Display(run['metric'], quiet=not hosts.first)
  with cli.input_errors():
    # Who held it before may have gone on with it after the first look.
    hosts.once(
      lambda: files.check_workdir(workdir, settings.identity(given), 'search')
    )
    hosts.once(lambda: _check_unchanged(workdir, run))
    campaign = make(observe=display.update)
  if hosts.first:
    files.write_json(workdir / 'run.json', run)
    rounds = len(campaign.loop.records)
    print(plan.plan(given, run, rounds, campaign.calibrates), file=sys.stderr)
  campaign.loop.log('start', round=len(campaign.loop.records), command=sys.argv)
  with display:
    campaign.run()
  with lull.expected():
    outcome.write(workdir, given, run, experiment, campaign)
  again = hosts.agree(campaign.stop_reason == stop_lib.SIGTERM)
  return cli.AGAIN if again else 0


def _check_unchanged(workdir: epath.Path, run: dict[str, Any]) -> None:
  """Raises ValueError if a run that goes on was made of something else."""
  names = ('data_digest', 'transfer_digest', 'space')
  made_of = {name: run[name] for name in names}
  files.check_unchanged(workdir, made_of)


def _nothing_to_do(workdir: epath.Path, given: dict[str, Any]) -> str | None:
  """What to say where there is nothing to search, after a look at the workdir.

  Raises:
    ValueError: the workdir holds something else.
  """
  files.check_workdir(workdir, settings.identity(given), 'search')
  for folder in workdir.glob(f'{transfer.PHASE}/*/ledger'):
    ledger_lib.Ledger(folder)  # Now, rather than in the middle of the run.
  if (workdir / 'STOP').exists():
    return f'{workdir}/STOP is there from before: delete it to go on.\n'
  if _finished(workdir, given):
    summary = (workdir / 'summary.txt').read_bytes().decode(errors='replace')
    return f'{workdir} is finished; {_further(workdir)}.\n\n{summary}'
  owner.look(workdir)
  return None


def _experiment(
  given: dict[str, Any], hosts: hosts_lib.Hosts
) -> experiment_lib.Experiment:
  """What the campaign of the flags needs."""
  options = {}
  if ablation.PHASE in given['phases']:
    # Each change costs the ablation several runs.
    options['initial'] = strategy_lib.near(
      experiment_lib.load_space(given), given['population'], given['seed']
    )
  return experiment_lib.build(given, hosts=hosts, **options)


def _larger(
  given: dict[str, Any], experiment: experiment_lib.Experiment
) -> tuple[Callable[..., transfer.Larger] | None, str | None]:
  """Makes the larger scale in a folder, and the digest of its text.

  None where it is left out.
  """
  if transfer.PHASE not in given['phases']:
    return None, None
  trainee = enlarge.load_trainee(given, experiment)
  enlarge.check(given, experiment.space, trainee)
  make = functools.partial(enlarge.larger, given, experiment, trainee)
  return make, trainee.digest


def _campaign(
  given: dict[str, Any],
  experiment: experiment_lib.Experiment,
  **options: Any,
) -> campaign_lib.Campaign:
  """The campaign of the flags; nothing runs yet."""
  return campaign_lib.Campaign(
    experiment.engine,
    experiment.strategy,
    given['workdir'],
    keep=given['keep'],
    phases=plan.phases(given),
    seed=given['seed'],
    restart=functools.partial(
      experiment_lib.make_strategy, given, experiment.trainee
    ),
    **options,
  )


def _bounds(
  given: dict[str, Any], experiment: experiment_lib.Experiment
) -> bounds_lib.Bounds:
  """The bounds of the flags.

  Raises:
    ValueError: the one on disk leaves no room for the checkpoints.
  """
  disk = None
  if given['max_disk_gb'] is not None:
    least = 3 * experiment.engine.state_bytes / 1e9
    room = given['max_disk_gb'] > least
    settings.require(
      given, 'max_disk_gb', room, f'more than {least:.2g}, three checkpoints'
    )
    folder = cli.workdir(given['workdir'])
    disk = disk_lib.Disk(folder, 1e9 * given['max_disk_gb'])
  return bounds_lib.Bounds(
    given['max_members'] or None, given['max_flops'], given['max_minutes'], disk
  )


def _finished(workdir: epath.Path, given: dict[str, Any]) -> bool:
  path = workdir / 'result.json'
  if not path.exists():
    return False
  result = description.read_result(path)
  if _locked_read(workdir):
    return result['stop_reason'] in _FINAL
  same = result['bounds'] == {name: given[name] for name in settings.BOUNDS}
  return same and result['stop_reason'] in _FINAL


def _locked_read(workdir: epath.Path) -> bool:
  """Whether the headline was read, which is done once and last."""
  path = workdir / 'improvements.json'
  if not path.exists():
    return False
  return wording.locked_read(description.read_improvements(path))


def _further(workdir: epath.Path) -> str:
  """How a finished search could go on."""
  if _locked_read(workdir):
    return 'its locked split was read: another --workdir begins a new campaign'
  return 'a larger bound would go on with it'


def run() -> None:
  """Entry point of the console script."""
  cli.run(main)


settings.define()
flags.adopt_module_key_flags(settings)

if __name__ == '__main__':
  run()
