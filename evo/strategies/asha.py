"""Asynchronous successive halving: stop most members early."""

import dataclasses
from typing import Any

import numpy as np

from evo import member as member_lib
from evo import space as space_lib
from evo import strategy
from evo.strategies import rungs


@dataclasses.dataclass
class _Rung:
  """Members that came to a rung.

  Attributes:
    losses: of all of them, by id; infinite for failures.
    contenders: configurations, by id, of those that may still go on.
  """

  losses: dict[int, float] = dataclasses.field(default_factory=dict)
  contenders: dict[int, member_lib.Configuration] = dataclasses.field(
    default_factory=dict
  )


class ASHA(rungs.Rungs):
  """Asynchronous successive halving (ASHA).

  Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv
  1810.05934, algorithm 2. A free slot goes to the highest rung where one of
  the best floor(results / eta) has not gone on yet, the best of them first; if
  there is none, to a new random member at the lowest rung. So no slot waits,
  at the price of early promotions that hindsight would not repeat. The paper
  advises an eta of 4; 3, Syne Tune's, leaves more rungs in a short budget.

  A failure counts among the results of the rung that it was on its way to, as
  the worst: it never goes on, and lets others go on sooner.

  In the paper anyone may go on some day, so that states are kept without end.
  Here a rung keeps those that may go on now and the best `spare` others; who
  falls behind that is out for good. Its state would be wanted only if most of
  the next eta * spare members did worse than it: in a simulation of 2,200
  members with 8 slots and spares, 24 states were kept instead of 1,900, at
  most 3 of 740 promotions from the first rung fell away.

  A search that ends should have something to show: where no member may start,
  nothing is in flight and none has come to the end of its budget, the best of
  the highest rung goes on although there are too few for eta.
  """

  def __init__(
    self, space: space_lib.Space, *, spare: int | None = None, **shared: Any
  ):
    """Sets up.

    Args:
      space: what may change.
      spare: states kept at each rung beside those that may go on at once; the
        population by default.
      **shared: of `Rungs`: `eta`, `grace`; and of `Strategy`.
    """
    super().__init__(space, **shared)
    spare = self.population if spare is None else spare
    strategy.require('spare', spare, spare >= 0, 'at least 0')
    self.spare = spare
    self._rungs = {stop: _Rung() for stop in self.rungs}

  def _ask(
    self, n: int, fresh: int | None, rng: np.random.Generator
  ) -> list[strategy.Leg]:
    del rng  # Members are drawn by their number.
    legs = self._promote(n)
    for _ in range(strategy.startable(n - len(legs), fresh)):
      member = self._new_id()
      configuration = self.initial_configuration(member)
      legs.append(self._launch(member, configuration, self.rungs[0]))
    if n and not legs and not self._flying:
      legs = self._finish()
    return legs

  def tell(self, results: list[strategy.Result]) -> None:
    super().tell(results)
    for rung in self._rungs.values():
      self._trim(rung)

  def _stood(self, result: strategy.Result) -> None:
    member, rung = result.leg.member, self._rungs[result.leg.stop]
    rung.losses[member] = strategy.selection_loss(result)
    if result.leg.keep:  # A failure, too, until the rung is trimmed.
      # As it was run: a proposal without a seat gets another structure.
      rung.contenders[member] = result.leg.configuration

  def _waiting(self) -> set[member_lib.Weights]:
    return {
      (member, stop)
      for stop, rung in self._rungs.items()
      for member in rung.contenders
    }

  def _promote(self, n: int) -> list[strategy.Leg]:
    """Sends on at most n members, those of the highest rungs first."""
    legs = []
    for stop in reversed(self.rungs[:-1]):
      rung = self._rungs[stop]
      for member in self._promotable(rung)[: n - len(legs)]:
        legs.append(self._go_on(member, stop))
    return legs

  def _finish(self) -> list[strategy.Leg]:
    """Sends on the best of the highest rung, unless one is through."""
    if rungs.best(self._rungs[self.segments].losses, 1):
      return []
    for stop in reversed(self.rungs[:-1]):
      rung = self._rungs[stop]
      losses = {m: rung.losses[m] for m in rung.contenders}
      for member in rungs.best(losses, 1):
        return [self._go_on(member, stop)]
    return []

  def _promotable(self, rung: _Rung) -> list[int]:
    """Members that may go on now, the best first."""
    top = rungs.best(rung.losses, len(rung.losses) // self.eta)
    return [member for member in top if member in rung.contenders]

  def _go_on(self, member: int, stop: int) -> strategy.Leg:
    """The leg from a rung to the next."""
    configuration = self._rungs[stop].contenders.pop(member)
    following = self.rungs[self.rungs.index(stop) + 1]
    return self._launch(member, configuration, following, start=stop)

  def _trim(self, rung: _Rung) -> None:
    """Gives up failures, and members that are too far behind."""
    chosen = self._promotable(rung)
    losses = {m: rung.losses[m] for m in rung.contenders if m not in chosen}
    kept = {*chosen, *rungs.best(losses, self.spare)}
    rung.contenders = {m: c for m, c in rung.contenders.items() if m in kept}
