"""Random search: the null that every other strategy has to beat."""

import numpy as np

from evo import strategy


class Random(strategy.Strategy):
  """Independent draws, each trained from scratch for the whole budget.

  Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR
  13 (2012). Nothing is selected, so it also measures the winner's curse of
  picking the best of many noisy members.
  """

  def _ask(
    self, n: int, fresh: int | None, rng: np.random.Generator
  ) -> list[strategy.Leg]:
    del rng  # Members are drawn by their number.
    return [self._leg() for _ in range(strategy.startable(n, fresh))]

  def tell(self, results: list[strategy.Result]) -> None:
    """Learns nothing: draws do not depend on losses."""
    del results

  def _leg(self) -> strategy.Leg:
    member = self._new_id()
    return self._from_scratch(member, self.initial_configuration(member))
