"""Bayesian optimisation: a Gaussian process chooses what improves most."""

import math
from typing import Any

import numpy as np

from evo import member as member_lib
from evo import space as space_lib
from evo import strategy, surrogate

Configuration = member_lib.Configuration


class GP(strategy.Strategy):
  """Gaussian-process search with the logarithm of the expected improvement.

  Jones, Schonlau and Welch (1998) as of Ament et al., arXiv 2310.20708. Every
  member trains from scratch for the whole budget; after the initial ones each
  is the candidate that `surrogate.Surrogate` scores best. Candidates are drawn
  from the space and mutated from the best members as evolution's children are,
  then from the best candidates in ever smaller steps: conditions and choices
  need no further care, and a proposal is always one of those drawn, so that
  rounding can change it only where two are as good as equal.

  No slot waits: members in flight count as observed at what the model expects
  of them. Failures count as bad, not as infinitely bad (`surrogate.targets`).

  A configuration is never tried twice unless all candidates have been: losses
  are noisy, but the model pools the noise over neighbours, and members share
  seeds, so that a second try would give the same loss.
  """

  def __init__(
    self,
    space: space_lib.Space,
    *,
    draws: int = 256,
    rows: int = 256,
    **shared: Any,
  ):
    """Sets up.

    Args:
      space: what may change.
      draws: candidates drawn from the space for each member, and as many
        mutated from the best members.
      rows: of the model; what it forgets beyond is in `surrogate.Surrogate`.
      **shared: of `Strategy`. As many members as the population start first.
    """
    super().__init__(space, **shared)
    strategy.require('draws', draws, draws >= 1, 'at least 1')
    self.draws = draws
    self._surrogate = surrogate.Surrogate(space, rows)
    self._flying: dict[int, Configuration] = {}
    self._told: dict[int, tuple[Configuration, float]] = {}
    self._tried: set[tuple] = set()

  def _ask(
    self, n: int, fresh: int | None, rng: np.random.Generator
  ) -> list[strategy.Leg]:
    legs, fitted = [], False
    for _ in range(strategy.startable(n, fresh)):
      member = self._new_id()
      if self.early(member) or not self._best():
        configuration = self.initial_configuration(member)
      else:
        if not fitted:
          self._fit()
          fitted = True
        configuration = self._proposed(rng)
        self._surrogate.believe([configuration])
      legs.append(self._leg(member, configuration))
    return legs

  def tell(self, results: list[strategy.Result]) -> None:
    for result in results:
      member = result.leg.member
      del self._flying[member]
      # As it was run: a proposal without a seat gets another structure.
      configuration = result.leg.configuration
      self._told[member] = configuration, strategy.selection_loss(result)
      self._tried.add(surrogate.key(configuration))

  def _leg(self, member: int, configuration: Configuration) -> strategy.Leg:
    self._flying[member] = configuration
    self._tried.add(surrogate.key(configuration))
    return self._from_scratch(member, configuration)

  def _fit(self) -> None:
    # By id: what came in one batch must not depend on the slots it ran in.
    told = [self._told[member] for member in sorted(self._told)]
    configurations, losses = zip(*told)
    self._surrogate.fit(configurations, surrogate.targets(losses))
    self._surrogate.believe(list(self._flying.values()))

  def _best(self) -> list[Configuration]:
    """The best four told, failures excepted."""
    sound = [
      (loss, member)
      for member, (_, loss) in self._told.items()
      if math.isfinite(loss)
    ]
    return [self._told[member][0] for _, member in sorted(sound)[:4]]

  def _proposed(self, rng: np.random.Generator) -> Configuration:
    """The best candidate that has not been tried."""

    def vary(configuration: Configuration, step: float) -> Configuration:
      return self.space.mutate(configuration, rng, step=step)

    best = self._best()
    candidates = [self.space.sample(rng) for _ in range(self.draws)]
    candidates += [vary(best[i % len(best)], 0.15) for i in range(self.draws)]
    return self._surrogate.search(candidates, vary, self._tried)
