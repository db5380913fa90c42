"""Backward elimination: a stack without the changes that carry nothing.

What an ablation did not confirm is put back to the baseline, all of it at once
if that surely loses nothing worth having, else all but the strongest. That is a
test of non-inferiority: without evidence changes stay. Leaving changes out one
by one cannot tell, since of two that do the same either may go, but not both.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from evo import ablation, gate, trial, verification
from evo import space as space_lib

Configuration = space_lib.Configuration

PHASE = 'eliminate'
STACK, REDUCED = ablation.STACK, 'reduced'
CONTRASTS = {STACK: trial.Contrast(treatment=STACK, control=REDUCED)}


def attempts(
  rule: ablation.Rule, evidence: dict[str, trial.Evidence]
) -> Iterator[tuple[str, ...]]:
  """Changes to put back together: all that were not confirmed, then fewer.

  Where the stack cannot do without all of them, the strongest one is left in,
  then the two, four, eight strongest. Where nothing was left out one by one
  there is nothing to go by, and all that passed the gate stays; where nobody
  knows what is worth having, all that does no harm.

  Args:
    rule: of the ablation.
    evidence: that it found.
  """
  if not any(found.n for found in evidence.values()):
    return
  p = dict(zip(rule.names, rule.raw(evidence)))
  adjusted = rule.adjusted(evidence)
  verdicts = {
    name: rule.verdict(evidence.get(ablation.without(name)), adjusted[name])
    for name in rule.names
  }
  back = {ablation.REFUTED} | ({ablation.UNDECIDED} if rule.worth else set())
  weakest = sorted(
    (n for n in rule.names if verdicts[n] in back), key=lambda n: -p[n]
  )
  left_in = 0
  while left_in < len(weakest):
    yield tuple(weakest[: len(weakest) - left_in])
    left_in = 2 * left_in or 1


def reduced(
  space: space_lib.Space, stack: Configuration, names: Sequence[str]
) -> Configuration:
  """The stack with some changes put back to the baseline."""
  base = space.baseline
  return space.canonical(stack | {name: base[name] for name in names})


def accepted(evidence: trial.Evidence | None, worth: float) -> bool:
  """Whether the stack surely loses nothing worth having by what was put back.

  That is where the interval of what it loses, the loss without minus that with,
  lies below the smallest gain worth having: one in forty times at most by
  chance, in each attempt. Where nobody knows what is worth having it has to lie
  below 0. Not where the test did not end, or where a run failed: then the
  changes stay.
  """
  if evidence is None or not gate.finished(evidence, worth):
    return False
  return evidence.interval is not None and evidence.interval.high <= worth


def make(
  stack: Configuration,
  smaller: Configuration,
  segments: int,
  *,
  pairs: int,
  worth: float,
  **options: Any,
) -> trial.Trial:
  """Plans the runs of one attempt.

  Args:
    stack: with all changes that are left.
    smaller: with some of them put back.
    segments: of the budget.
    pairs: at most.
    worth: the smallest gain worth having.
    **options: of `Trial`: seeds, first member, splits.
  """
  return trial.Trial(
    verification.constants({STACK: stack, REDUCED: smaller}, segments),
    CONTRASTS,
    looks=gate.looks(pairs),
    settled=gate.settled(worth, decides=STACK),
    **options,
  )
