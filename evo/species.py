"""Species: what members that share a structure share, and what they cost."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from evo import member as member_lib
from evo import trainee as trainee_lib

Leg = member_lib.Leg
Result = member_lib.Result

# They are counted in 32 bits.
_MOST_STEPS = 2**31
# Where structures are too many to look at, one whose evaluation would cost
# more than this share of a member's training (and more than the baseline's
# does) is infeasible: so a bound on FLOPs can be kept without knowing what will
# be proposed.
_MOST_EVALUATION = 0.25


@dataclasses.dataclass(frozen=True)
class Budget:
  """What one member may spend.

  Attributes:
    flops: of training one member; steps follow from its structure.
    segments: into which it is cut; legs begin and end on these.
  """

  flops: float
  segments: int

  def steps(self, cost: trainee_lib.Cost) -> int:
    """Training steps in one segment, rounded down."""
    return int(self.flops / cost.flops_per_step * (1 + 1e-9)) // self.segments


@dataclasses.dataclass(frozen=True)
class Species:
  """A structure and what follows from it.

  Attributes:
    id: by first appearance in the ledger.
    structure: that its members share.
    cost: of a member; None where the structure is impossible.
    steps: of training in one segment; 0 where it is infeasible.
    refusal: why it is infeasible, or None.
  """

  id: int
  structure: trainee_lib.Structure
  cost: trainee_lib.Cost | None
  steps: int
  refusal: str | None = None

  @property
  def segment_flops(self) -> float:
    """Of training one member for one segment."""
    return self.steps * self.cost.flops_per_step if self.steps else 0.0

  @property
  def segment_tokens(self) -> int:
    """That one member sees in one segment."""
    return self.steps * self.cost.tokens_per_step if self.steps else 0

  @property
  def evaluation_flops(self) -> float:
    """Of the costliest evaluation of one member."""
    return max(self.cost.flops_per_evaluation.values()) if self.steps else 0.0

  def result(
    self, leg: Leg, stop: int, metrics: dict[str, float] | None
  ) -> Result:
    """The result of a leg; `metrics` is None where the member was culled."""
    segments = stop - leg.start
    ok = metrics is not None and all(map(math.isfinite, metrics.values()))
    metrics = metrics or {}
    return Result(
      leg=leg,
      status=member_lib.OK if ok else member_lib.DIVERGED,
      metrics=metrics if ok else {},
      flops=segments * self.segment_flops
      + sum(self.cost.flops_per_evaluation[split] for split in metrics),
      tokens=segments * self.segment_tokens,
      stop=stop,
    )

  def lost(self, leg: Leg, stop: int) -> Result:
    """The result of a leg that turned out to be infeasible."""
    segments = stop - leg.start
    return Result(
      leg,
      member_lib.INFEASIBLE,
      {},
      flops=segments * self.segment_flops,
      tokens=segments * self.segment_tokens,
      stop=stop,
    )

  def facts(self) -> dict[str, Any]:
    """What the ledger says of it beside each leg."""
    cost = self.cost
    return {
      'species': self.id,
      'steps_per_segment': self.steps,
      'weights': cost and cost.weights,
      'flops_per_token': cost and cost.flops_per_step / cost.tokens_per_step,
    }


class Catalogue:
  """All structures seen, in order of appearance.

  Attributes:
    species: by id.
    evaluation_flops: the most that an evaluation of one member may cost.
  """

  def __init__(
    self,
    trainee: trainee_lib.Trainee,
    budget: Budget,
    baseline: trainee_lib.Structure,
    reachable: Sequence[trainee_lib.Structure] | None,
  ):
    """Begins without any species.

    Args:
      trainee: what a member is.
      budget: of one member.
      baseline: its structure.
      reachable: all structures that members may have; None where they are too
        many.

    Raises:
      ValueError: the budget is too small or too large for the baseline, or its
        structure is impossible.
    """
    self._trainee, self._budget = trainee, budget
    self._by_structure: dict[trainee_lib.Structure, Species] = {}
    cost = trainee.cost(baseline)
    if budget.steps(cost) < 1:
      raise ValueError(
        f'the budget is {budget.flops:.3g} FLOPs a member; expected at least'
        f' {budget.segments * cost.flops_per_step:.3g}, one step in each'
        f' of {budget.segments} segments'
      )
    steps = budget.segments * budget.steps(cost)
    if steps >= _MOST_STEPS:
      raise ValueError(
        f'the budget is {budget.flops:.3g} FLOPs a member, {steps:.3g} steps;'
        f' expected fewer than {_MOST_STEPS:,}'
      )
    own = max(cost.flops_per_evaluation.values())
    most = _MOST_EVALUATION * budget.flops
    self.evaluation_flops = max(own, most)
    if reachable is not None:
      described = [self._describe(structure, 0) for structure in reachable]
      self.evaluation_flops = max(s.evaluation_flops for s in described)
    self.baseline = self._describe(baseline, 0)

  @property
  def species(self) -> list[Species]:
    return list(self._by_structure.values())

  def is_baseline(self, id: int) -> bool:
    """Whether a species has the structure of the baseline."""
    return self.species[id].structure == self.baseline.structure

  def find(self, structure: trainee_lib.Structure) -> Species | None:
    """The species of a structure that was seen before."""
    return self._by_structure.get(structure)

  def add(self, structure: trainee_lib.Structure) -> Species:
    """The species of a structure, which gets the next id if it is new."""
    if structure not in self._by_structure:
      made = self._describe(structure, len(self._by_structure))
      self._by_structure[structure] = made
    return self._by_structure[structure]

  def refuse(self, species: Species, reason: str) -> None:
    """Marks a species as infeasible from now on."""
    self._by_structure[species.structure] = dataclasses.replace(
      species, refusal=reason
    )

  def _describe(self, structure: trainee_lib.Structure, number: int) -> Species:
    try:
      cost = self._trainee.cost(structure)
    except ValueError as error:
      return Species(number, structure, None, 0, str(error))
    steps = self._budget.steps(cost)
    evaluation = max(cost.flops_per_evaluation.values())
    refusal = None
    if steps < 1:
      refusal = f'a step costs {cost.flops_per_step:.3g} FLOPs; expected less'
      refusal += ' than a segment'
    elif evaluation > self.evaluation_flops:
      refusal = f'an evaluation costs {evaluation:.3g} FLOPs; expected at most'
      refusal += f' {self.evaluation_flops:.3g}'
    return Species(number, structure, cost, 0 if refusal else steps, refusal)
