"""Population-based training with binary tournaments."""

import math

import numpy as np

from evo.strategies import pbt


class PBTTournament(pbt.PBT):
  """PBT in which each member meets one other, and copies it if worse.

  The binary tournament of Jaderberg et al., arXiv 1711.09846. About half of
  the members are replaced at each selection, by donors of any rank, so it
  keeps more variety than truncation and forgets more of the best. `quantile`
  has no effect. All decisions are taken on the losses before selection: a
  donor may lose its own tournament, and its state is still what is copied.
  """

  def _select(
    self, losses: dict[int, float], rng: np.random.Generator
  ) -> dict[int, int | None]:
    """Draws an opponent for each member; see `PBT._select`."""
    donors = {}
    for member, loss in losses.items():
      others = [m for m in losses if m != member]
      if math.isinf(loss):
        # Replaced always: it meets only members that can be a donor.
        others = [m for m in others if math.isfinite(losses[m])]
      other = others[rng.integers(len(others))] if others else member
      donors[member] = other if losses[other] < loss else None
    return donors
