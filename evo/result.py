"""The outcome of a campaign: the content of result.json.

Pure functions of the ledger and of `run` (the content of run.json), so that a
run that was killed and resumed gives what an unbroken one gives, times apart.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from evo import member as member_lib
from evo import rows as rows_lib
from evo import space as space_lib
from evo import statistics, verification

Record = dict[str, Any]
Row = rows_lib.Row
Details = Callable[[float, str], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Trial:
  """The runs of a confirmation.

  Attributes:
    split: scored.
    seeds: one per pair.
    losses: by arm, one per seed; None where a run failed.
  """

  split: str
  seeds: list[int]
  losses: dict[str, list[float | None]]

  @property
  def sound(self) -> bool:
    """Whether all runs reached the end of their budget."""
    return not any(None in losses for losses in self.losses.values())


def result(
  records: Sequence[Record],
  run: Record,
  *,
  seconds: dict[str, float],
  compilations: dict[str, int],
  stop_reason: str | None,
  details: Details = lambda loss, split: {},
) -> Record:
  """The content of result.json.

  `gain` is baseline minus champion on the confirm split, over pairs of runs
  from scratch with fresh seeds: positive is better. Where it is null,
  `gain_missing` says why.

  Args:
    records: of the ledger.
    run: content of run.json.
    seconds: `seconds`, `seconds_compiling` and so on, as they shall appear.
    compilations: `compilations` and `compilations_cached`, likewise.
    stop_reason: why the campaign ended; None while it runs.
    details: given a loss and its split, what else to say about it, such as
      nats per token; merged into `baseline` and `champion`.
  """
  rows, metric = rows_lib.leg_rows(records, run), run['metric']
  ends = rows_lib.finished(rows)
  best = min(ends, key=lambda row: row[metric], default=None)
  schedule = _schedule(records, run, best) if best else []
  trial, missing = _counted_trial(rows, run, schedule)
  champion = None
  if best:
    champion = {'configuration': best['configuration']}
    champion |= _losses('champion', best[metric], trial, run, details)
    champion['member'] = best['member']
    if run['finds_schedules']:
      champion['schedule'] = schedule
  own = _baseline_loss(rows, run)
  return {
    'metric': metric,
    'baseline': {'configuration': run['baseline']}
    | _losses('baseline', own, trial, run, details),
    'champion': champion,
    'gain': _gain(trial) if trial else None,
    'gain_missing': missing,
    **_counts(rows),
    **seconds,
    **compilations,
    'confirm_seeds': trial.seeds if trial else [],
    'data_digest': run['data_digest'],
    'stop_reason': stop_reason,
  }


def changes(result: Record, run: Record) -> list[tuple[str, Any, Any]]:
  """(parameter, before, after) of the champion, largest change first.

  Sizes are compared on the parameters' scales, as shares of their ranges.
  """
  space = space_lib.Space.from_json(run['space'])
  before = result['baseline']['configuration']
  after = result['champion']['configuration']

  def size(name: str) -> float:
    unit = space.by_name[name].unit
    return abs(unit(after[name]) - unit(before[name]))

  changed = [name for name in space.by_name if after[name] != before[name]]
  changed.sort(key=size, reverse=True)
  return [(name, before[name], after[name]) for name in changed]


def last_trial(rows: Sequence[Row]) -> Trial | None:
  """The last confirmation as it stands; None without one.

  Runs that are still at work count as failed here.
  """
  last = {row['member']: row for row in _last_confirmation(rows)}
  if not last:
    return None
  ends = [last[member] for member in sorted(last)]
  split = next((row['split'] for row in ends if row['split']), 'confirm')
  losses = {
    arm: [row['metrics'].get(split) for row in ends if row['arm'] == arm]
    for arm in rows_lib.ARMS
  }
  seeds = [row['seed'] for row in ends if row['arm'] == 'baseline']
  return Trial(split, seeds, losses)


def _last_confirmation(rows: Sequence[Row]) -> list[Row]:
  legs = [row for row in rows if row['phase'] == 'confirm']
  return [r for r in legs if r['confirmation'] == legs[-1]['confirmation']]


def _counted_trial(
  rows: Sequence[Row], run: Record, schedule: list[Record]
) -> tuple[Trial | None, str | None]:
  """The last confirmation if it counts, and why there is no gain if not."""
  if not schedule:
    return None, 'no member finished'
  legs, trial = _last_confirmation(rows), last_trial(rows)
  if trial is None:
    return None, 'left out'
  tested = [row for row in legs if row['member'] == legs[0]['member'] + 1]
  pieces = [{key: row[key] for key in schedule[0]} for row in tested]
  if pieces != schedule[: len(pieces)]:
    return None, 'champion changed'
  pairs = run['flags'].get('confirm_seeds', len(trial.seeds))
  last = {row['member']: row for row in legs}
  going = any(
    row['status'] == member_lib.STOPPED
    or (row['status'] == member_lib.OK and row['stop'] < row['budget'])
    for row in last.values()
  )
  if going or len(last) < 2 * pairs:
    return None, 'unfinished'
  if not trial.sound:
    return trial, 'run failed'
  return trial, None if len(trial.seeds) > 1 else 'one seed'


def _schedule(
  records: Sequence[Record], run: Record, best: Row
) -> list[Record]:
  """What a confirmation trains in the champion's name, in steps."""
  if not run['finds_schedules']:
    whole = {'start': 0, 'stop': best['budget']}
    return [whole | {'configuration': best['configuration']}]
  legs = verification.search_legs(records)
  pieces, start = [], 0
  for piece in verification.lineage_schedule(
    legs, best['member'], run['segments']
  ):
    stop = piece.stop * best['steps_per_segment']
    pieces.append(
      {'start': start, 'stop': stop, 'configuration': piece.configuration}
    )
    start = stop
  return pieces


def _gain(trial: Trial) -> dict[str, float] | None:
  if not trial.sound or len(trial.seeds) < 2:
    return None
  pairs = zip(*(trial.losses[arm] for arm in rows_lib.ARMS), strict=True)
  differences = [before - after for before, after in pairs]
  return dataclasses.asdict(statistics.t_interval(differences))


def _losses(
  arm: str,
  search_loss: float | None,
  trial: Trial | None,
  run: Record,
  details: Details,
) -> Record:
  """Losses of the baseline or the champion."""
  losses = trial.losses[arm] if trial else [None]
  confirmed = None if None in losses else sum(losses) / len(losses)
  said = {}
  if confirmed is not None:
    said = details(confirmed, trial.split)
  elif search_loss is not None:
    said = details(search_loss, 'search')
  search, confirm = f'search_{run["metric"]}', f'confirm_{run["metric"]}'
  return {search: search_loss, confirm: confirmed} | said


def _baseline_loss(rows: Sequence[Row], run: Record) -> float | None:
  """Mean search loss of the baseline's whole runs from scratch, by seed.

  A run that repeats another's seed is the same run, and counts once.
  """
  runs: dict[int, list[Row]] = {}
  for row in rows:
    runs.setdefault(row['member'], []).append(row)
  losses = {}
  for member, legs in runs.items():
    last = legs[-1]
    alone = legs[0]['source'] is None and all(
      row['source'][0] == member for row in legs[1:]
    )
    plain = all(row['configuration'] == run['baseline'] for row in legs)
    loss = last['metrics'].get('search')
    whole = last['lineage_step'] == last['budget']
    if alone and plain and whole and loss is not None:
      losses.setdefault(last['seed'], loss)
  return sum(losses.values()) / len(losses) if losses else None


def _counts(rows: Sequence[Row]) -> Record:
  """Members of the search, how many came to what, and the cost of all."""
  last = {row['member']: row for row in rows if row['phase'] == 'search'}
  statuses = [row['status'] for row in last.values()]
  return {
    'members': len(last),
    'finished': len(rows_lib.finished(rows)),
    'ok': statuses.count(member_lib.OK),
    'diverged': statuses.count(member_lib.DIVERGED),
    'infeasible': statuses.count(member_lib.INFEASIBLE),
    'species': len({row['species'] for row in last.values()}),
    'tokens': sum(row['tokens'] for row in rows),
    'flops': sum(row['flops'] for row in rows),
  }
