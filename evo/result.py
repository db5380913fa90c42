"""The outcome of a campaign: its legs as rows, and the content of result.json.

Pure functions of the ledger and of `run` (the content of run.json), so that a
run that was killed and resumed gives what an unbroken one gives, times apart.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from etils import epath

from evo import member as member_lib
from evo import space as space_lib

Record = dict[str, Any]
Row = dict[str, Any]
Details = Callable[[float, str], dict[str, float]]

ARMS = ('baseline', 'champion')


@dataclasses.dataclass(frozen=True)
class Trial:
  """The last confirmation, of a champion that still is one.

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


def leg_rows(records: Sequence[Record], run: Record) -> list[Row]:
  """One row per leg, in order of asking.

  Steps are training steps. `start` and `stop` are what was asked for,
  `lineage_step` how many were behind the weights when the leg ended: less than
  `stop` where the member was culled. `source` is (member, step) or None. The
  key named after the metric is the loss on `split`, the leg's first one, and
  `metrics` has all splits; None and empty unless ok. `species` counts
  structures by first appearance. `round` and `order` say when the leg ended.
  A leg that was at work when the run stopped is `stopped`: nothing is charged
  for it until the run goes on. Confirmations are counted from 0, with the
  `arm` that a run belongs to.

  Args:
    records: of the ledger.
    run: content of run.json.
  """
  rows, working, counter = [], {}, _Counter(run)
  steps, rounds, ended = run['steps_per_segment'], {}, 0
  for record in records:
    for leg in record['legs']:
      row = counter.row(leg, record, steps)
      rounds[leg['member']] = record['round']
      working[leg['member']] = row
      rows.append(row)
    for result in record['results']:
      row = working.pop(result['member'])
      metrics = result['metrics']
      row |= {
        'lineage_step': result['stop'] * steps,
        run['metric']: metrics.get(row['split']),
        'round': record['round'],
        'order': ended,
        'metrics': metrics,
      } | {key: result[key] for key in ('flops', 'tokens', 'status')}
      ended += 1
  for member, row in working.items():
    passed = (records[-1]['round'] + 1 - rounds[member]) * steps
    row['lineage_step'] = min(row['stop'], row['start'] + passed)
  return rows


class _Counter:
  """Rows of legs without their result; counts species and confirmations."""

  def __init__(self, run: Record):
    self._metric = run['metric']
    self._space = space_lib.Space.from_json(run['space'])
    self._species: dict[tuple, int] = {}
    self._phase, self._confirmation, self._first = '', -1, 0

  def row(self, leg: Record, record: Record, steps: int) -> Row:
    confirms = record['phase'] == 'confirm'
    if confirms and self._phase != 'confirm':
      self._confirmation += 1
      self._first = leg['member']
    self._phase = record['phase']
    structure = self._space.structure(leg['configuration'])
    species = self._species.setdefault(structure, len(self._species))
    source = leg['source']
    return {
      'member': leg['member'],
      'parent': leg['parent'],
      'lineage_step': leg['start'] * steps,
      'start': leg['start'] * steps,
      'stop': leg['stop'] * steps,
      'seed': leg['seed'],
      'species': species,
      'configuration': leg['configuration'],
      self._metric: None,
      'flops': 0.0,
      'tokens': 0,
      'status': member_lib.STOPPED,
      'phase': record['phase'],
      'round': record['round'],
      'order': None,
      'split': leg['splits'][0] if leg['splits'] else None,
      'metrics': {},
      'source': source and [source[0], source[1] * steps],
      'confirmation': self._confirmation if confirms else None,
      'arm': ARMS[(leg['member'] - self._first) % 2] if confirms else None,
    }


def budget_steps(run: Record) -> int:
  """Training steps of one member's whole budget."""
  return run['segments'] * run['steps_per_segment']


def finished(rows: Sequence[Row], run: Record) -> list[Row]:
  """Last legs of the search's members that reached their end, as they did."""
  whole = budget_steps(run)
  ends = [
    row
    for row in rows
    if row['phase'] == 'search'
    and row['status'] == member_lib.OK
    and row['lineage_step'] == whole
  ]
  return sorted(ends, key=lambda row: row['order'])


def best_member(records: Sequence[Record], run: Record) -> Row | None:
  """The champion's last leg: of the finished the best, and the first of these.

  Returns:
    Its row, or None while no member has finished.
  """
  return _best(leg_rows(records, run), run)


def _best(rows: Sequence[Row], run: Record) -> Row | None:
  ends = finished(rows, run)
  return min(ends, key=lambda row: row[run['metric']], default=None)


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
  rows = leg_rows(records, run)
  best = _best(rows, run)
  schedule = _schedule(records, run, best)
  trial, missing = _last_trial(rows, run, schedule)
  search = {
    'baseline': _baseline_loss(rows, run),
    'champion': best and best[run['metric']],
  }
  arms = {arm: _arm(arm, search[arm], trial, run, details) for arm in ARMS}
  champion = None
  if best:
    champion = {'configuration': best['configuration']} | arms['champion']
    champion['member'] = best['member']
    if run['finds_schedules']:
      champion['schedule'] = schedule
  return {
    'metric': run['metric'],
    'baseline': {'configuration': run['baseline']} | arms['baseline'],
    'champion': champion,
    'gain': _gain(trial) if trial and trial.sound else None,
    'gain_missing': missing,
    **_counts(rows, run),
    'tokens': sum(row['tokens'] for row in rows),
    'flops': sum(row['flops'] for row in rows),
    **seconds,
    **compilations,
    'confirm_seeds': trial.seeds if trial else [],
    'data_digest': run['data_digest'],
    'stop_reason': stop_reason,
  }


def trial_of(rows: Sequence[Row], number: int | None = None) -> Trial | None:
  """A confirmation as it stands, by default the last; None without runs.

  Runs that are still at work count as failed here.
  """
  numbers = [r['confirmation'] for r in rows if r['phase'] == 'confirm']
  if not numbers:
    return None
  number = max(numbers) if number is None else number
  runs: dict[int, Row] = {}
  for row in rows:
    if row['confirmation'] == number:
      runs[row['member']] = row
  split = next((r['split'] for r in runs.values() if r['split']), 'confirm')
  losses = {
    arm: [
      runs[m]['metrics'].get(split)
      for m in sorted(runs)
      if runs[m]['arm'] == arm
    ]
    for arm in ARMS
  }
  baselines = [m for m in sorted(runs) if runs[m]['arm'] == 'baseline']
  return Trial(split, [runs[m]['seed'] for m in baselines], losses)


def _last_trial(
  rows: Sequence[Row], run: Record, schedule: list[Record]
) -> tuple[Trial | None, str | None]:
  """The last confirmation if it counts, and why there is no gain if not."""
  if not schedule:
    return None, 'no member finished'
  trial = trial_of(rows)
  if trial is None:
    return None, 'left out'
  number = max(r['confirmation'] for r in rows if r['phase'] == 'confirm')
  last = [r for r in rows if r['confirmation'] == number]
  tried = [row for row in last if row['member'] == last[0]['member'] + 1]
  pieces = [{k: row[k] for k in schedule[0]} for row in tried]
  if pieces != schedule[: len(pieces)]:
    return None, 'champion changed'
  pairs = run['flags'].get('confirm_seeds', len(trial.seeds))
  runs = {row['member']: row for row in last}.values()
  going = any(
    row['status'] == member_lib.STOPPED
    or (row['status'] == member_lib.OK and row['stop'] < budget_steps(run))
    for row in runs
  )
  if going or len(runs) < 2 * pairs:
    return None, 'unfinished'
  if not trial.sound:
    return trial, 'run failed'
  return trial, None if len(trial.seeds) > 1 else 'one seed'


def _schedule(
  records: Sequence[Record], run: Record, best: Row | None
) -> list[Record]:
  """What a confirmation trains in the champion's name, in steps."""
  if best is None:
    return []
  if not run['finds_schedules']:
    whole = {'start': 0, 'stop': budget_steps(run)}
    return [whole | {'configuration': best['configuration']}]
  from evo import verification  # SciPy's statistics load slowly.

  legs = [
    member_lib.Leg.from_json(leg)
    for record in records
    if record['phase'] == 'search'
    for leg in record['legs']
  ]
  pieces, start, steps = [], 0, run['steps_per_segment']
  for piece in verification.lineage_schedule(
    legs, best['member'], run['segments']
  ):
    stop = piece.stop * steps
    pieces.append(
      {'start': start, 'stop': stop, 'configuration': piece.configuration}
    )
    start = stop
  return pieces


def _gain(trial: Trial) -> dict[str, float] | None:
  from evo import statistics  # SciPy's statistics load slowly.

  if len(trial.seeds) < 2:
    return None
  pairs = zip(trial.losses['baseline'], trial.losses['champion'], strict=True)
  differences = [before - after for before, after in pairs]
  return dataclasses.asdict(statistics.t_interval(differences))


def _arm(
  arm: str,
  search_loss: float | None,
  trial: Trial | None,
  run: Record,
  details: Details,
) -> Record:
  """Losses of the baseline or the champion."""
  losses = trial.losses[arm] if trial else [None]
  sound = None not in losses
  confirmed = sum(losses) / len(losses) if sound else None
  said = {}
  if confirmed is not None:
    said = details(confirmed, trial.split)
  elif search_loss is not None:
    said = details(search_loss, 'search')
  metric = run['metric']
  return {
    f'search_{metric}': search_loss,
    f'confirm_{metric}': confirmed,
  } | said


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
    whole = last['lineage_step'] == budget_steps(run)
    if alone and plain and whole and loss is not None:
      losses.setdefault(last['seed'], loss)
  return sum(losses.values()) / len(losses) if losses else None


def _counts(rows: Sequence[Row], run: Record) -> dict[str, int]:
  """Members of the search, and how many of them came to what."""
  last = {row['member']: row for row in rows if row['phase'] == 'search'}
  statuses = [row['status'] for row in last.values()]
  return {
    'members': len(last),
    'finished': len(finished(rows, run)),
    'ok': statuses.count(member_lib.OK),
    'diverged': statuses.count(member_lib.DIVERGED),
    'infeasible': statuses.count(member_lib.INFEASIBLE),
  }


def write_exports(workdir: epath.PathLike, rows: Sequence[Row]) -> None:
  """Writes ledger.jsonl, and ledger.csv with `configuration.NAME` columns."""
  folder = epath.Path(workdir)
  lines = [json.dumps(row, allow_nan=False) + '\n' for row in rows]
  (folder / 'ledger.jsonl').write_text(''.join(lines))
  flat = [_flatten(row) for row in rows]
  columns = list(dict.fromkeys(key for row in flat for key in row))
  buffer = io.StringIO()
  writer = csv.DictWriter(buffer, columns, lineterminator='\n')
  writer.writeheader()
  writer.writerows(flat)
  (folder / 'ledger.csv').write_text(buffer.getvalue())


def _flatten(row: Row) -> Row:
  flat = {}
  for key, value in row.items():
    if isinstance(value, dict):
      flat |= {f'{key}.{name}': inner for name, inner in value.items()}
    else:
      flat[key] = json.dumps(value) if isinstance(value, list) else value
  return flat
