"""Trains what a member went through again, from scratch, on new seeds.

  python -m launch.replay --workdir=runs/pbt --member=17

Population-based training finds a schedule: the configurations along a member's
lineage, together with weights that were copied on the way. Replayed, the
schedule has to do without the copies. Beside it stand the member's last
configuration, from start to end, and the baseline.
"""

from launch import early

if early.is_command(__name__):
  early.hold()

import sys
from typing import Any

from absl import flags
from etils import epath

from evo import document, form, verification
from evo import hosts as hosts_lib
from evo import ledger as ledger_lib
from evo import member as member_lib
from evo import record as record_lib
from evo import rows as rows_lib
from launch import cli, files, owner, scratch
from launch import cluster as cluster_lib
from launch import experiment as experiment_lib
from launch import stop as stop_lib

_ARMS = ('schedule replayed', 'last configuration', 'baseline')


def main(argv: list[str]) -> int:
  """Replays the member of the flags; returns the exit code."""
  del argv
  values = flags.FLAGS
  with cli.input_errors():
    workdir = cli.workdir(values.workdir)
    run = files.read_run(workdir)
    records = ledger_lib.Ledger(workdir / 'ledger').records
    record_lib.check(records, run['segments'])
    member = _finished(workdir, values.member, records, run)
    seeds = [
      member_lib.fold(run['flags']['seed'], 'replay', i)
      for i in range(values.seeds)
    ]
    folder = workdir / 'replays' / f'{member}-{values.seeds}'
    if (folder / 'replay.json').exists():
      print(_summary(_read_value(folder / 'replay.json', run, values.seeds)))
      return 0
    if (folder / 'STOP').exists():
      print(f'{folder}/STOP is there from before: delete it to go on.')
      return 0
    owner.look(folder)
    arms = _schedules(member, records, run)
  with cluster_lib.join(False, stop_lib.StopSignals(folder)) as cluster:
    with cli.input_errors():
      experiment = _experiment(run, folder, cluster.hosts)
    confirmation = verification.Confirmation(
      arms, seeds=seeds, first_member=0, splits=_splits(experiment)
    )
    flops = len(arms) * len(seeds) * run['flops_per_member']
    print(f'{len(arms) * len(seeds)} runs, {flops:.2g} FLOPs', file=sys.stderr)
    with owner.hold(folder, cluster.hosts):
      with cli.input_errors():
        loop = scratch.make_loop(experiment, folder, cluster.reason)
      stopped = scratch.train(loop, confirmation)
      if stopped is not None:
        return stopped
      cluster.hosts.fence()
      value = _value(member, confirmation, arms, seeds, records, run)
      files.write_json(folder / 'replay.json', value)
  print(_summary(value))
  return 0


def _experiment(
  run: dict[str, Any], folder: epath.Path, hosts: hosts_lib.Hosts
) -> experiment_lib.Experiment:
  """That of the search, in a folder of its own.

  Raises:
    ValueError: its text is not what it was.
  """
  experiment_lib.prepare_backend(run['flags'])
  given = run['flags'] | {'workdir': str(folder)}
  experiment = experiment_lib.build(given, hosts=hosts)
  experiment_lib.check_text(experiment.trainee, run)
  return experiment


def _finished(
  workdir: epath.Path,
  member: int | None,
  records: list[dict[str, Any]],
  run: dict[str, Any],
) -> int:
  """The member, if it reached the end of its budget; by default the best."""
  ends = rows_lib.finished(rows_lib.leg_rows(records, run))
  if not ends:
    raise ValueError(
      f'--workdir={workdir} has no member that finished; expected at least one'
    )
  if member is None:
    return min(ends, key=lambda row: row[run['metric']])['member']
  known = sorted(row['member'] for row in ends)
  if member not in known:
    raise ValueError(
      f'--member={member} did not reach the end of its budget; expected one of'
      f' {", ".join(map(str, known))}'
    )
  return member


def _schedules(
  member: int,
  records: list[dict[str, Any]],
  run: dict[str, Any],
) -> dict[str, verification.Schedule]:
  """What is trained, by arm.

  Raises:
    ValueError: the ledger has a configuration that is none of the space.
  """
  segments, space = run['segments'], experiment_lib.load_space(run['flags'])
  schedule = verification.lineage_schedule(
    verification.search_legs(records), member, segments
  )
  last = verification.constant(schedule[-1].configuration, segments)
  baseline = verification.constant(run['baseline'], segments)
  for piece in (*schedule, *baseline):
    space.validate(piece.configuration)
  return dict(zip(_ARMS, (schedule, last, baseline), strict=True))


def _splits(experiment: experiment_lib.Experiment) -> tuple[str, ...]:
  """The confirm split, or the search split of a run without one."""
  has = 'confirm' in experiment.engine.splits
  return ('confirm',) if has else ('search',)


def _value(
  member: int,
  confirmation: verification.Confirmation,
  arms: dict[str, verification.Schedule],
  seeds: list[int],
  records: list[dict[str, Any]],
  run: dict[str, Any],
) -> dict[str, Any]:
  """The content of replay.json; a loss is null where its run failed."""
  ends = rows_lib.finished(rows_lib.leg_rows(records, run))
  own = next(row for row in ends if row['member'] == member)
  return {
    'member': member,
    'metric': run['metric'],
    f'search_{run["metric"]}': own[run['metric']],
    'seeds': seeds,
    'schedule': [
      {'stop': piece.stop, 'configuration': piece.configuration}
      for piece in arms[_ARMS[0]]
    ],
    'losses': {arm: scratch.losses(confirmation, arm) for arm in arms},
  }


def _read_value(
  path: epath.Path, run: dict[str, Any], seeds: int
) -> dict[str, Any]:
  """A replay.json that stands, as far as its summary goes.

  Raises:
    ValueError: it is not what this command comes to.
  """
  loss = form.optional(form.number())
  losses = dict.fromkeys(_ARMS, form.listed(loss, size=seeds))
  check = form.fields(
    member=form.whole(),
    metric=form.one_of(run['metric']),
    schedule=form.listed(form.anything),
    losses=form.exactly(**losses),
    **{f'search_{run["metric"]}': form.number()},
  )
  return document.read(path, 'a replay', check)


def _summary(value: dict[str, Any]) -> str:
  """A table for people."""
  metric = value['metric']
  lines = [
    f'member {value["member"]}: {len(value["schedule"])} configurations along'
    f' its lineage, {value[f"search_{metric}"]:.4f} {metric} in the search',
    '',
  ]
  return '\n'.join(lines + scratch.table(metric, value['losses']))


def run() -> None:
  """Entry point of the console script."""
  cli.run(main)


flags.DEFINE_string('workdir', 'runs/quick', 'Of a search.')
flags.DEFINE_integer('member', None, 'Its id; by default the best, heirs too.')
flags.DEFINE_integer('seeds', 4, 'Fresh seeds of each arm.', lower_bound=1)

if __name__ == '__main__':
  run()
