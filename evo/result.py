"""The outcome of a campaign: the content of result.json.

Pure functions of the ledger and of `run` (the content of run.json), so that a
run that was killed and resumed gives what an unbroken one gives, times apart.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from evo import calibration, gate, trial, verification
from evo import member as member_lib
from evo import rows as rows_lib
from evo import space as space_lib

Record = dict[str, Any]
Row = rows_lib.Row
CONFIRM = gate.PHASE
Details = Callable[[float, str], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Pairs:
  """The pairs of a confirmation of which both runs have ended.

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

  def evidence(
    self, looks: tuple[int, ...], control: str | None = None
  ) -> trial.Evidence:
    """What they say for the champion at these looks.

    Args:
      looks: numbers of pairs.
      control: against what; by default what decides the gate: where the cycle
        started from.
    """
    start = gate.STACK if gate.STACK in self.losses else gate.BASELINE
    before, after = (
      [math.inf if loss is None else loss for loss in self.losses[arm]]
      for arm in (control or start, gate.CHAMPION)
    )
    gains = (b - a for b, a in zip(before, after, strict=True))
    return trial.Evidence(tuple(gains), looks)


def result(
  records: Sequence[Record],
  run: Record,
  *,
  spent: dict[str, float],
  stop_reason: str | None,
  details: Details = lambda loss, split: {},
  larger: Sequence[Row] = (),
) -> Record:
  """The content of result.json.

  `gain` is baseline minus champion on the confirm split, over pairs of runs
  from scratch with fresh seeds: positive is better. Where it is null,
  `gain_missing` says why.

  Args:
    records: of the ledger.
    run: content of run.json.
    spent: `seconds`, `seconds_compiling`, `compilations` and so on, as they
      shall appear.
    stop_reason: why the campaign ended; None while it runs.
    details: given a loss and its split, what else to say about it, such as
      nats per token; merged into `baseline` and `champion`.
    larger: rows of the runs at a larger scale, from the ledger of those; they
      are charged as well.
  """
  rows, metric = rows_lib.leg_rows(records, run), run['metric']
  ends = rows_lib.claimed(_last_cycle(rows), run)
  best = min(ends, key=lambda row: row[metric], default=None)
  schedule = _schedule(records, run, best) if best else []
  pairs, missing = _counted_pairs(rows, run, schedule)
  champion = None
  if best:
    champion = {'configuration': best['configuration']}
    champion |= _losses('champion', best[metric], pairs, run, details)
    champion['member'] = best['member']
    if run['finds_schedules']:
      champion['schedule'] = schedule
  own = _baseline_loss(rows, run)
  return {
    'metric': metric,
    'baseline': {'configuration': run['baseline']}
    | _losses('baseline', own, pairs, run, details),
    'champion': champion,
    'gain': _gain(pairs, run) if pairs else None,
    'gain_missing': missing,
    'noise': _noise(rows, run),
    **_counts(rows, larger),
    **spent,
    'confirm_seeds': pairs.seeds if pairs else [],
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


def _last_cycle(rows: Sequence[Row]) -> list[Row]:
  """Rows of the last cycle that came to its gate, or of the last one."""
  gates = [row['cycle'] for row in rows if row['phase'] == CONFIRM]
  last = max(gates or [row['cycle'] for row in rows], default=0)
  return [row for row in rows if row['cycle'] == last]


def noise(rows: Sequence[Row]) -> calibration.Noise | None:
  """What the calibration measured; None where it did not end."""
  ends = {
    (row['arm'], row['seed']): row
    for row in rows
    if row['phase'] == calibration.PHASE
  }
  if not ends or not all(map(ended, ends.values())):
    return None
  losses: dict[str, list[float]] = {}
  for (arm, _), row in ends.items():
    losses.setdefault(arm, []).append(row['metrics'].get(CONFIRM, math.inf))
  if len(losses[calibration.BASELINE]) < calibration.SEEDS:
    return None
  return calibration.noise(
    losses[calibration.BASELINE], losses.get(calibration.NUDGED)
  )


def _noise(rows: Sequence[Row], run: Record) -> Record | None:
  known = noise(rows)
  if known is None:
    return None
  claimed = rows_lib.claimed(rows, run)
  searches = collections.Counter(row['cycle'] for row in claimed)
  kept, gain = known.null(list(searches.values()))
  members = searches.total()
  return dataclasses.asdict(known) | {
    'worth': known.worth,
    'null': {'members': members, 'kept': kept, 'gain': gain},
  }


def last_pairs(rows: Sequence[Row]) -> Pairs | None:
  """The last confirmation as it stands; None without one."""
  legs = _last_confirmation(rows)
  if not legs:
    return None
  ends = {(row['arm'], row['seed']): row for row in legs}
  arms = list(gate.ARMS)
  if any(row['arm'] == gate.STACK for row in legs):
    arms.append(gate.STACK)
  seeds = [
    seed
    for arm, seed in ends
    if arm == gate.BASELINE
    and all(ended(ends.get((arm, seed))) for arm in arms)
  ]
  split = next((row['split'] for row in ends.values() if row['split']), CONFIRM)
  losses = {
    arm: [ends[arm, seed]['metrics'].get(split) for seed in seeds]
    for arm in arms
  }
  return Pairs(split, seeds, losses)


def _last_confirmation(rows: Sequence[Row]) -> list[Row]:
  legs = [row for row in rows if row['phase'] == CONFIRM]
  return [r for r in legs if r['confirmation'] == legs[-1]['confirmation']]


def ended(row: Row | None) -> bool:
  """Whether a run has come to its end, good or bad."""
  if row is None or row['status'] == member_lib.STOPPED:
    return False
  return row['status'] != member_lib.OK or row['stop'] == row['budget']


def _counted_pairs(
  rows: Sequence[Row], run: Record, schedule: list[Record]
) -> tuple[Pairs | None, str | None]:
  """The last confirmation if it counts, and why there is no gain if not."""
  if not schedule:
    return None, 'no member finished'
  pairs = last_pairs(rows)
  if pairs is None:
    return None, 'left out'
  if not _stands_for(_last_confirmation(rows), schedule):
    return None, 'champion changed'
  looks = gate.looks(run['flags'].get('confirm_seeds', len(pairs.seeds)))
  if not gate.finished(pairs.evidence(looks), calibration.worth(noise(rows))):
    return None, 'unfinished'
  if not pairs.sound:
    return pairs, 'run failed'
  return pairs, None if len(pairs.seeds) > 1 else 'one seed'


def _stands_for(legs: Sequence[Row], schedule: list[Record]) -> bool:
  """Whether a confirmation trains this schedule as its champion."""
  tested = [row for row in legs if row['arm'] == gate.ARMS[1]]
  first = [row for row in tested if row['member'] == tested[0]['member']]
  pieces = [{key: row[key] for key in schedule[0]} for row in first]
  return pieces == schedule[: len(pieces)]


def _schedule(
  records: Sequence[Record], run: Record, best: Row
) -> list[Record]:
  """What a confirmation trains in the champion's name, in steps."""
  if not run['finds_schedules'] or 'ablate' in run['flags'].get('phases', ()):
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


def _gain(pairs: Pairs, run: Record) -> dict[str, float] | None:
  if not pairs.sound or len(pairs.seeds) < 2:
    return None
  looks = gate.looks(run['flags'].get('confirm_seeds', len(pairs.seeds)))
  return dataclasses.asdict(pairs.evidence(looks, gate.BASELINE).interval)


def _losses(
  arm: str,
  search_loss: float | None,
  pairs: Pairs | None,
  run: Record,
  details: Details,
) -> Record:
  """Losses of the baseline or the champion."""
  losses = pairs.losses[arm] if pairs else [None]
  confirmed = None if None in losses else sum(losses) / len(losses)
  said = {'nats_per_token': None}
  if confirmed is not None:
    said = details(confirmed, pairs.split)
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


def _counts(rows: Sequence[Row], larger: Sequence[Row]) -> Record:
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
    'tokens': sum(row['tokens'] for row in (*rows, *larger)),
    'flops': sum(row['flops'] for row in (*rows, *larger)),
  }
