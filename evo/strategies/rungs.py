"""Rungs: what strategies that stop members early have in common."""

import abc
import math
from typing import Any

from evo import member as member_lib
from evo import space as space_lib
from evo import strategy


class Rungs(strategy.Strategy):
  """Members are told at rungs of the budget, and few of them go on.

  Rungs stand at floor(segments / eta**k) segments, down to `grace`; a member
  that stops at one keeps its state there until it goes on or is out. Losses
  are compared within a rung only. A schedule that follows the budget is at
  its beginning at the low rungs: what pays only once a learning rate has
  decayed is not seen there.

  Attributes:
    rungs: in segments, ascending; the last is the whole budget.
    eta: one in so many members goes on at each rung.
  """

  finishes = False

  def __init__(
    self,
    space: space_lib.Space,
    *,
    eta: int = 3,
    grace: int = 1,
    **shared: Any,
  ):
    """Sets up.

    Args:
      space: what may change.
      eta: one in so many members goes on at each rung.
      grace: segments that the lowest rung has at least.
      **shared: of `Strategy`.
    """
    super().__init__(space, **shared)
    ok = isinstance(eta, int) and eta >= 2
    strategy.require('eta', eta, ok, 'an integer of at least 2')
    ok = 1 <= grace <= self.segments
    strategy.require('grace', grace, ok, f'1 to {self.segments} segments')
    rungs = [self.segments]
    while rungs[0] // eta >= grace:
      # Floors of floors: the same as of the whole quotient.
      rungs.insert(0, rungs[0] // eta)
    self.eta = eta
    self.rungs = tuple(rungs)
    self.evaluations = len(rungs)
    self._flying: dict[int, member_lib.Leg] = {}

  def tell(self, results: list[strategy.Result]) -> None:
    # By id: what came in one batch must not depend on the slots it ran in.
    for result in sorted(results, key=lambda r: r.leg.member):
      del self._flying[result.leg.member]
      self._stood(result)

  def pinned(self) -> set[member_lib.Weights]:
    flying = self._flying.values()
    sources = {leg.source for leg in flying if leg.source}
    coming = {(leg.member, leg.stop) for leg in flying if leg.keep}
    return sources | coming | self._waiting()

  @abc.abstractmethod
  def _stood(self, result: strategy.Result) -> None:
    """Takes the result of a member that came to a rung, or failed before."""

  @abc.abstractmethod
  def _waiting(self) -> set[member_lib.Weights]:
    """States of members that stand at a rung and may still go on."""

  def _launch(
    self,
    member: int,
    configuration: member_lib.Configuration,
    stop: int,
    start: int = 0,
  ) -> strategy.Leg:
    """The leg of a member up to a rung, from another one or from scratch."""
    leg = strategy.Leg(
      member=member,
      parent=None,
      configuration=configuration,
      source=(member, start) if start else None,
      start=start,
      stop=stop,
      seed=self.member_seed,
      keep=stop < self.segments,
    )
    self._flying[member] = leg
    return leg


def best(losses: dict[int, float], count: int) -> list[int]:
  """The members of the `count` lowest losses, ties by id; never failures."""
  ranked = sorted(losses, key=lambda member: (losses[member], member))
  return [m for m in ranked[:count] if math.isfinite(losses[m])]
