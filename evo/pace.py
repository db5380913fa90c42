"""The pace of a campaign: gain over compute, claimed, verified and by chance.

Gains are losses of the first baseline minus losses now: positive is better.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from evo import ablation, calibration, gate
from evo import cycles as cycles_lib
from evo import result as result_lib
from evo import rows as rows_lib

Record = dict[str, Any]
Row = rows_lib.Row

QUARTERS = (0.25, 0.5, 0.75, 1.0)


@dataclasses.dataclass(frozen=True)
class Pace:
  """How a campaign went.

  Every line begins at (0, 0) and is a list of (FLOPs, gain).

  Attributes:
    flops: charged in all.
    screen: what a rule that keeps the best so far would claim: the gain of
      each cycle's best over its baseline, on the seed of the search, on top of
      what was verified before.
    verified: what the last gate shows on fresh seeds for what was kept by then,
      against the first baseline. The champion of a gate that was passed is
      measured with all of its changes, those that are put back later too.
    null: what the rule would claim in all cycles together if nothing were
      better than anything; empty where the noise of pairs was not measured.
    null_high: what it would not exceed in 95 of 100 such campaigns.
    confirmed: (FLOPs, round, changes confirmed so far) after each ablation.
  """

  flops: float
  screen: list[tuple[float, float]]
  verified: list[tuple[float, float]]
  null: list[tuple[float, float]]
  null_high: list[tuple[float, float]]
  confirmed: list[tuple[float, int, int]]

  def quarters(self) -> list[Record]:
    """Gains at the end of each quarter of the compute."""
    lines = {'screen': self.screen, 'verified': self.verified}
    if self.null:
      lines |= {'null': self.null}
    return [
      {'share': share}
      | {name: _at(line, share * self.flops) for name, line in lines.items()}
      for share in QUARTERS
    ]

  def round_of(self, count: int) -> int | None:
    """The round by which so many changes were confirmed; None if never."""
    rounds = (round for _, round, n in self.confirmed if n >= count)
    return next(rounds, None)


def pace(rows: Sequence[Row], run: Record) -> Pace:
  """How a campaign went, from its ledger alone.

  Args:
    rows: of `rows.leg_rows`.
    run: content of run.json.
  """
  ended = sorted(
    (row for row in rows if row['order'] is not None),
    key=lambda row: row['order'],
  )
  spent, flops = {}, 0.0
  for row in ended:
    flops += row['flops']
    spent[row['order']] = flops
  lines = Pace(flops, [(0.0, 0.0)], [(0.0, 0.0)], [], [], [])
  noise, null = result_lib.noise(rows), None
  if noise and noise.sd_paired is not None:
    null = calibration.Null(noise.sd_paired, noise.n)
    lines.null.append((0.0, 0.0))
    lines.null_high.append((0.0, 0.0))
  for cycle in cycles_lib.cycles(rows, run):
    own = [row for row in ended if row['cycle'] == cycle.number]
    _search(lines, own, spent, run, null)
    _verify(lines, own, spent, cycle)
  return lines


def tiers(improvements: Sequence[Record]) -> list[Record]:
  """By tier, what came of the changes that champions made."""
  found: dict[str, Record] = {}
  for x in improvements:
    entry = found.setdefault(
      x['tier'],
      {'tier': x['tier'], 'changes': 0, 'gain': 0.0}
      | {verdict: 0 for verdict in ablation.VERDICTS},
    )
    entry['changes'] += 1
    entry[x['verdict']] += 1
    if x['verdict'] == ablation.CONFIRMED and x['effect'] is not None:
      entry['gain'] -= x['effect']
  return list(found.values())


def _search(
  lines: Pace,
  own: list[Row],
  spent: dict[int, float],
  run: Record,
  null: calibration.Null | None,
) -> None:
  """Adds what the search of a cycle claims."""
  if not own:  # A run that was stopped before a leg had ended.
    return
  metric = run['metric']
  before = lines.verified[-1][1]
  ends = rows_lib.claimed(own, run)
  first = min(own, key=lambda row: (row['phase'] != 'search', row['member']))
  start = next((r for r in ends if r['member'] == first['member']), None)
  if start is None:
    return
  best = start[metric]
  if lines.screen[-1][1] != before:
    lines.screen.append((spent[start['order']], before))
  if null:
    null.search()
  for row in ends:
    at = spent[row['order']]
    if row[metric] < best:
      best = row[metric]
      lines.screen.append((at, before + start[metric] - best))
    if null:
      expected, high = null.member()
      lines.null.append((at, expected))
      lines.null_high.append((at, high))


def _verify(
  lines: Pace,
  own: list[Row],
  spent: dict[int, float],
  cycle: cycles_lib.Cycle,
) -> None:
  """Adds what the verification of a cycle shows."""
  interval = cycle.total.interval if cycle.total else None
  gates = [row for row in own if row['phase'] == gate.PHASE]
  if interval and gates:
    lines.verified.append((spent[gates[-1]['order']], interval.mean))
  ablated = [row for row in own if row['phase'] == ablation.PHASE]
  if ablated and cycle.confirmed:
    last = ablated[-1]
    before = lines.confirmed[-1][2] if lines.confirmed else 0
    lines.confirmed.append(
      (spent[last['order']], last['round'], before + len(cycle.confirmed))
    )


def _at(line: list[tuple[float, float]], flops: float) -> float:
  """The last value of a line by then."""
  return [gain for at, gain in line if at <= flops * (1 + 1e-12)][-1]
