"""The cycles of a campaign, as its ledger has them: what each of them kept.

Pure functions of the ledger and of `run`; `campaign` comes to the same.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from evo import ablation, calibration, elimination, gate, statistics, trial
from evo import result as result_lib
from evo import rows as rows_lib
from evo import space as space_lib

Configuration = space_lib.Configuration
Record = dict[str, Any]
Row = rows_lib.Row


@dataclasses.dataclass(frozen=True)
class Cycle:
  """A search and what its verification says.

  Attributes:
    number: counted from 0.
    space: whose baseline is where the cycle started from.
    champion: the last configuration that passed the gate; where none did, the
      best of the search, or None.
    member: its id; None without one.
    gates: rows of each of its gates, and what they say.
    gate: what the pairs of the gate that counts say; None without one.
    passed: whether it passed.
    total: what the same pairs say for what the cycle kept against the first
      baseline: the champion if it passed, else what the cycle started from;
      None where they do not tell.
    rule: of its ablation.
    evidence: of the contrasts of its ablation, by name; empty without one.
    stack: what is left of it; None where it did not pass.
    members: of its search that finished.
    greedy: how many of them a rule that keeps the best so far would have kept
      as improvements, if they may be claimed.
    flops: charged in the cycle.
  """

  number: int
  space: space_lib.Space
  champion: Configuration | None
  member: int | None
  gates: list[tuple[list[Row], trial.Evidence]]
  gate: trial.Evidence | None
  passed: bool
  total: trial.Evidence | None
  rule: ablation.Rule
  evidence: dict[str, trial.Evidence]
  stack: Configuration | None
  members: int
  greedy: int
  flops: float

  @property
  def confirmed(self) -> tuple[str, ...]:
    """The changes that are."""
    return self.rule.confirmed(self.evidence) if self.passed else ()

  @property
  def contrasts(self) -> dict[str, trial.Contrast]:
    """Those of its ablation."""
    if not self.evidence:
      return {}
    return ablation.contrasts(self.space, self.champion)

  @property
  def verified(self) -> statistics.Interval | None:
    """The gain over where the cycle started from, if its gate showed one.

    A gate that was not passed has verified nothing, and neither has a champion
    of which nothing is left.
    """
    left = self.stack and ablation.changes(self.space, self.stack)
    return self.gate.interval if left else None


def cycles(rows: Sequence[Row], run: Record) -> list[Cycle]:
  """All cycles, in order.

  Args:
    rows: of `rows.leg_rows`.
    run: content of run.json.
  """
  space = space_lib.Space.from_json(run['space'])
  known = result_lib.noise(rows)
  found, start = [], space.canonical(space.baseline)
  searched = {row['cycle'] for row in rows if row['phase'] == 'search'}
  for number in sorted(searched):
    own = [row for row in rows if row['cycle'] == number]
    cycle = _cycle(own, run, space.rebase(start), calibration.worth(known))
    found.append(cycle)
    start = cycle.stack or start
  return found


def pairs(
  legs: Sequence[Row],
  contrast: trial.Contrast,
  looks: tuple[int, ...],
  split: str = 'confirm',
) -> trial.Evidence:
  """Gains of a contrast up to the last look that it reached."""
  ends = {(row['arm'], row['seed']): row for row in legs}
  by_member = sorted(ends, key=lambda key: ends[key]['member'])
  seeds = dict.fromkeys(seed for _, seed in by_member)
  gains = []
  for seed in seeds:
    pair = [
      ends.get((arm, seed)) for arm in (contrast.control, contrast.treatment)
    ]
    if not all(map(result_lib.ended, pair)):
      break
    before, after = (row['metrics'].get(split, math.inf) for row in pair)
    gains.append(before - after)
  evidence = trial.Evidence(tuple(gains), looks)
  return trial.Evidence(tuple(gains[: evidence.n]), looks)


def _cycle(
  own: Sequence[Row], run: Record, space: space_lib.Space, worth: float
) -> Cycle:
  """One of them, from its rows."""
  most = run['flags']['confirm_seeds']
  gates = _gates(own, most)
  passed = [g for g in gates if gate.passed(g[1])]
  champion, member = _best(own, run)
  evidence, stack, judged, total = {}, None, None, None
  if gates:
    legs, judged = (passed or gates)[-1]
    tested = _last_leg(legs, gate.CHAMPION)
    # Without a passing gate, what is said is of the best of the search.
    if passed:
      champion, member = tested['configuration'], tested['member']
    first, last = _span(legs, gates)
    after = [row for row in own if first < row['member'] < last]
    evidence = _ablated(after, space, champion, most)
    if passed:
      stack = _reduced(after, champion, worth, most)
    left = stack and ablation.changes(space, stack)
    total = _total(legs, gate.CHAMPION if left else gate.STACK, most)
  names = ablation.changes(space, champion) if champion else ()
  rule = ablation.Rule(names, worth)
  losses = [row[run['metric']] for row in rows_lib.claimed(own, run)]
  return Cycle(
    number=own[0]['cycle'],
    space=space,
    champion=champion,
    member=member,
    gates=gates,
    gate=judged,
    passed=bool(passed),
    total=total,
    rule=rule,
    evidence=evidence,
    stack=stack,
    members=len(rows_lib.finished(own)),
    greedy=ablation.greedy_keeps(losses),
    flops=sum(row['flops'] for row in own),
  )


def _best(own: Sequence[Row], run: Record) -> tuple[Any, Any]:
  """Configuration and id of the best member of a search."""
  ends = rows_lib.claimed(own, run)
  best = min(ends, key=lambda row: row[run['metric']], default=None)
  return (best['configuration'], best['member']) if best else (None, None)


def _gates(
  own: Sequence[Row], most: int
) -> list[tuple[list[Row], trial.Evidence]]:
  """The gates of a cycle: their rows, and what they say."""
  numbered: dict[int, list[Row]] = {}
  for row in own:
    if row['phase'] == gate.PHASE:
      numbered.setdefault(row['confirmation'], []).append(row)
  found = []
  for legs in numbered.values():
    arms = {row['arm'] for row in legs}
    if {gate.CHAMPION, gate.BASELINE} <= arms:
      contrast = gate.contrasts(first=gate.STACK not in arms)[gate.CHAMPION]
      found.append((legs, pairs(legs, contrast, gate.looks(most))))
  return found


def _total(legs: Sequence[Row], arm: str, most: int) -> trial.Evidence | None:
  """What a gate says for one of its arms against the first baseline."""
  if arm not in {row['arm'] for row in legs}:
    return None
  contrast = trial.Contrast(arm, control=gate.BASELINE)
  return pairs(legs, contrast, gate.looks(most))


def _span(
  legs: list[Row], gates: list[tuple[list[Row], trial.Evidence]]
) -> tuple[int, float]:
  """The ids between which what follows a gate has its own."""
  last = max(row['member'] for row in legs)
  later = [row['member'] for rows, _ in gates for row in rows]
  return last, min((m for m in later if m > last), default=math.inf)


def _last_leg(legs: Sequence[Row], arm: str) -> Row:
  """Of the first run of an arm."""
  own = [row for row in legs if row['arm'] == arm]
  return [row for row in own if row['member'] == own[0]['member']][-1]


def _ablated(
  after: Sequence[Row],
  space: space_lib.Space,
  champion: Configuration,
  most: int,
) -> dict[str, trial.Evidence]:
  """Of each contrast of the ablation of a champion."""
  legs = [row for row in after if row['phase'] == ablation.PHASE]
  stacks = [r['configuration'] for r in legs if r['arm'] == ablation.STACK]
  if not stacks or stacks[0] != space.canonical(champion):
    return {}
  looks = ablation.looks(most)
  return {
    name: pairs(legs, contrast, looks)
    for name, contrast in ablation.contrasts(space, champion).items()
  }


def _reduced(
  after: Sequence[Row], champion: Configuration, worth: float, most: int
) -> Configuration:
  """What is left of a champion once all attempts have ended."""
  legs = [row for row in after if row['phase'] == elimination.PHASE]
  looks = ablation.looks(most)
  stack = champion
  for smaller in _distinct(legs):
    seeds = {row['seed'] for row in legs if row['configuration'] == smaller}
    own = [row for row in legs if row['seed'] in seeds]
    contrast = elimination.CONTRASTS[elimination.STACK]
    if elimination.accepted(pairs(own, contrast, looks), worth):
      stack = smaller
  return stack


def _distinct(legs: Sequence[Row]) -> list[Configuration]:
  """The smaller stacks that were tried, in order."""
  found: list[Configuration] = []
  for row in sorted(legs, key=lambda row: row['member']):
    reduced = row['arm'] == elimination.REDUCED
    if reduced and row['configuration'] not in found:
      found.append(row['configuration'])
  return found
