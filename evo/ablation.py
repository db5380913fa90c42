"""Ablation: which changes of a stack carry its gain.

Each change is tested by leaving it out of the stack, on paired seeds, and is
also added alone to the baseline, to see whether the gains add up.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evo import gate, sequential, statistics, trial, verification
from evo import space as space_lib

Configuration = space_lib.Configuration

CONFIRMED = 'confirmed'
REFUTED = 'refuted'
UNDECIDED = 'undecided'
VERDICTS = CONFIRMED, REFUTED, UNDECIDED

PHASE = 'ablate'

STACK = 'stack'
BASELINE = 'baseline'
# Of false discoveries among the confirmed changes of a stack.
LEVEL = 0.05


def changes(
  space: space_lib.Space, configuration: Configuration
) -> tuple[str, ...]:
  """Names of the parameters that differ from the baseline, if active."""
  before = space.canonical(space.baseline)
  after = space.canonical(configuration)
  active = {*space.active(before), *space.active(after)}
  return tuple(
    name
    for name in space.by_name
    if name in active and before[name] != after[name]
  )


def looks(pairs: int) -> tuple[int, ...]:
  """Numbers of pairs at which the changes are looked at.

  Args:
    pairs: the most that the gate may take; fewer than the first look are no
      test of many changes, so there are at least as many.
  """
  return gate.looks(max(pairs, sequential.LOOKS[0]))


def without(name: str) -> str:
  """Name of the arm that is the stack with one change undone."""
  return f'without {name}'


def only(name: str) -> str:
  """Name of the arm that is the baseline with one change made."""
  return f'only {name}'


@dataclasses.dataclass(frozen=True)
class Extent:
  """What is tested of a stack.

  Attributes:
    names: of the changes that are left out one by one.
    alone: whether each of them is also made alone.
  """

  names: tuple[str, ...]
  alone: bool = True


def extent(
  space: space_lib.Space,
  stack: Configuration,
  runs: int | None,
  order: Callable[[Sequence[str]], Sequence[str]],
) -> Extent:
  """What so many runs can test: all changes, alone too, or what promises most.

  Args:
    space: of the configurations.
    stack: configuration with all changes.
    runs: that may still start; None is no bound.
    order: of names of changes, what promises most first.
  """
  names = changes(space, stack)
  # Arms of the first look; the stack and the baseline are two of them.
  most = len(names) if runs is None else runs // sequential.LOOKS[0]
  if most >= 2 + 2 * len(names) or runs is None:
    return Extent(names)
  if most < 2 + len(names):
    first = order(names)[: max(0, most - 2)]
    names = tuple(name for name in names if name in first)
  return Extent(names, alone=False)


def arms(
  space: space_lib.Space, stack: Configuration, tested: Extent | None = None
) -> dict[str, Configuration]:
  """Configurations to train, by name, those of one structure side by side.

  A change that means nothing without another one has no arm of its own, and
  what equals the stack or the baseline is not trained twice.

  Args:
    space: of the configurations.
    stack: configuration with all changes.
    tested: of them; all by default.
  """
  tested = tested or Extent(changes(space, stack))
  base, stack = space.canonical(space.baseline), space.canonical(stack)
  found = {STACK: stack, BASELINE: base}
  for name in tested.names:
    made = [(without(name), stack, base[name])]
    if tested.alone:
      made.append((only(name), base, stack[name]))
    for arm, start, value in made:
      configuration = space.canonical(start | {name: value})
      if configuration not in (base, stack):
        found[arm] = configuration
  structures = list(dict.fromkeys(map(space.structure, found.values())))
  order = sorted(
    found, key=lambda arm: structures.index(space.structure(found[arm]))
  )
  return {arm: found[arm] for arm in order}


def contrasts(
  space: space_lib.Space, stack: Configuration, tested: Extent | None = None
) -> dict[str, trial.Contrast]:
  """What to compare, by the name of the arm that differs by one change."""
  tested = tested or Extent(changes(space, stack))
  known = arms(space, stack, tested)
  found = {}
  for name in tested.names:
    # The only change of a stack is undone by the baseline.
    left = without(name) if without(name) in known else BASELINE
    found[without(name)] = trial.Contrast(treatment=STACK, control=left)
    if only(name) in known:
      found[only(name)] = trial.Contrast(only(name), control=BASELINE)
  return found


@dataclasses.dataclass(frozen=True)
class Rule:
  """When a change needs no more pairs, and what is said of it.

  Attributes:
    names: of all changes that are tested together.
    worth: the smallest gain worth having; what is surely below it is refuted.
    level: of false discoveries, Benjamini and Hochberg's q.
  """

  names: tuple[str, ...]
  worth: float
  level: float = LEVEL

  def adjusted(self, evidence: dict[str, trial.Evidence]) -> dict[str, float]:
    """p-values of leaving each change out, adjusted for their number.

    Repeated p-values only fall while pairs come in, and Benjamini and
    Hochberg's adjusted ones with them: what is confirmed once stays so,
    whatever the other changes come to.
    """
    adjusted = statistics.benjamini_hochberg(self.raw(evidence))
    return dict(zip(self.names, map(float, adjusted)))

  def raw(self, evidence: dict[str, trial.Evidence]) -> list[float]:
    """p-values of leaving each change out; 1 of what was not tested."""
    return [
      evidence[without(name)].p if without(name) in evidence else 1.0
      for name in self.names
    ]

  def confirmed(self, evidence: dict[str, trial.Evidence]) -> tuple[str, ...]:
    """The changes that are confirmed, if the whole stack passed the gate."""
    adjusted = self.adjusted(evidence)
    return tuple(name for name in self.names if adjusted[name] <= self.level)

  def verdict(self, evidence: trial.Evidence | None, p_adjusted: float) -> str:
    """Of one change, if the whole stack passed the gate."""
    if evidence is None or not evidence.n:
      return UNDECIDED
    if p_adjusted <= self.level:
      return CONFIRMED
    interval = evidence.interval
    if interval and interval.high < self.worth:
      return REFUTED
    return UNDECIDED

  def settled(self, evidence: dict[str, trial.Evidence]) -> set[str]:
    """Contrasts that need no more pairs: those with a verdict.

    A change alone gets the pairs of the first look: no verdict rests on it.
    """
    adjusted = self.adjusted(evidence)
    decided = {
      without(name)
      for name in self.names
      if self.verdict(evidence.get(without(name)), adjusted[name]) != UNDECIDED
    }
    return decided | {only(name) for name in self.names}


def make(
  space: space_lib.Space,
  stack: Configuration,
  rule: Rule,
  segments: int,
  *,
  seeds: Sequence[int],
  tested: Extent | None = None,
  **options: Any,
) -> trial.Trial:
  """Plans the runs.

  Args:
    space: of the search.
    stack: configuration with all changes.
    rule: of its changes.
    segments: of the budget.
    seeds: one for each pair of the last look, none used before.
    tested: of the changes; all by default.
    **options: of `Trial`: its first member and its splits.
  """
  return trial.Trial(
    verification.constants(arms(space, stack, tested), segments),
    contrasts(space, stack, tested),
    seeds=seeds,
    looks=looks(len(seeds)),
    settled=rule.settled,
    **options,
  )


def improvement(
  name: str,
  rule: Rule,
  evidence: dict[str, trial.Evidence],
  *,
  passed: bool,
) -> dict[str, Any]:
  """What is said of one change, as in improvements.json.

  Effects are losses after minus losses before: negative is better.

  Args:
    name: of the parameter.
    rule: of its ablation.
    evidence: of all contrasts.
    passed: whether the whole stack passed the gate.
  """
  left_out, alone = evidence.get(without(name)), evidence.get(only(name))
  p = rule.adjusted(evidence)[name]
  verdict = rule.verdict(left_out, p)
  if verdict == CONFIRMED and not passed:
    verdict = UNDECIDED
  holm = statistics.holm(rule.raw(evidence))[rule.names.index(name)]
  tested = left_out is not None and left_out.n > 0
  return {
    'verdict': verdict,
    **effect(left_out),
    'n': left_out.n if left_out else 0,
    'p_adjusted': p if tested else None,
    'p_holm': float(holm) if tested else None,
    'leave_one_out': effect(left_out),
    'add_one_in': effect(alone),
  }


def effect(evidence: trial.Evidence | None) -> dict[str, float | None]:
  """Loss after minus loss before, with its repeated 95% interval."""
  interval = evidence.interval if evidence else None
  if interval is None:
    return {'effect': None, 'low': None, 'high': None}
  return {
    'effect': -interval.mean,
    'low': -interval.high,
    'high': -interval.low,
  }


def greedy_keeps(losses: Sequence[float]) -> int:
  """How many of some losses a greedy keep rule would have kept.

  The rule of most autonomous loops: whatever is below the best so far is an
  improvement. The first one is the baseline.
  """
  if not len(losses):
    return 0
  best = np.minimum.accumulate(np.asarray(losses, float))
  return int(np.sum(best[1:] < best[:-1]))
