"""Transfer: does what was confirmed hold at a larger scale?

The same baseline and the same changes, for members that are larger and train
for longer. Their runs have a ledger of their own, in a folder of the workdir.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from evo import ablation, trial, verification
from evo import engine as engine_lib
from evo import space as space_lib

Configuration = space_lib.Configuration

PHASE = 'transfer'
PAIRS = 6  # Of the whole stack against the baseline.
SINGLE = 3  # Of the stack against itself without one change.


@dataclasses.dataclass(frozen=True)
class Larger:
  """Where a stack is tried again.

  Attributes:
    engine: of larger members.
    enlarge: a configuration as a larger member has it.
  """

  engine: engine_lib.Engine
  enlarge: Callable[[Configuration], Configuration]


def make(
  space: space_lib.Space,
  stack: Configuration,
  names: Sequence[str],
  larger: Larger,
  *,
  seeds: Sequence[int],
  splits: tuple[str, ...],
) -> trial.Trial:
  """Plans the runs.

  Args:
    space: of the search.
    stack: with the confirmed changes and no others.
    names: of these changes.
    larger: where they are tried.
    seeds: `PAIRS` of them, none used before.
    splits: scored at the end; the first one decides.
  """
  base = space.canonical(space.baseline)
  arms = {ablation.BASELINE: base, ablation.STACK: stack}
  for name in names:
    arms[ablation.without(name)] = space.canonical(stack | {name: base[name]})
  enlarged = {arm: larger.enlarge(values) for arm, values in arms.items()}
  return trial.Trial(
    verification.constants(enlarged, larger.engine.budget.segments),
    contrasts(names),
    seeds=seeds,
    looks=(SINGLE, PAIRS),
    settled=lambda evidence: set(evidence) - {ablation.STACK},
    first_member=0,
    splits=splits,
  )


def extent(names: Sequence[str], runs: int | None) -> list[str]:
  """The changes that so many runs can try one by one, beside the stack.

  Args:
    names: the most wanted first.
    runs: that may start; None is no bound.
  """
  if runs is None:
    return list(names)
  return list(names)[: max(0, (runs - 2 * PAIRS) // SINGLE)]


def contrasts(names: Sequence[str]) -> dict[str, trial.Contrast]:
  """What is compared: the stack with the baseline, and without each change."""
  stack = ablation.STACK
  return {stack: trial.Contrast(stack, ablation.BASELINE)} | {
    ablation.without(name): trial.Contrast(stack, ablation.without(name))
    for name in names
  }


def looks(name: str) -> tuple[int, ...]:
  """Pairs after which a contrast is looked at: nothing stops one early."""
  return (PAIRS if name == ablation.STACK else SINGLE,)


def sign(evidence: trial.Evidence) -> str | None:
  """Whether a change still helps: `same`, `opposite` or None if it cannot say.

  `same` where every pair gains, `opposite` where every pair loses.
  """
  if not evidence.n or any(map(math.isnan, evidence.gains)):
    return None
  if all(gain > 0 for gain in evidence.gains):
    return 'same'
  return 'opposite' if all(gain < 0 for gain in evidence.gains) else None
