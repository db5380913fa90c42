"""Population-based training whose members are selected at several periods."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evo import space as space_lib
from evo import strategy
from evo.strategies import pbt

# A bracket has a donor, a loser, and between them one that may take over a
# migrant's weights and one that never does; the paper has four brackets.
_LEAST_MEMBERS = 4
_MOST_BRACKETS = 4


class MFPBT(pbt.PBT):
  """Multiple-frequencies PBT: brackets that select at different periods.

  Doulazmi et al., "Multiple-Frequencies Population-Based Training", arXiv
  2506.03225; https://github.com/WaelDLZ/MF-PBT (MIT),
  `hpo/utils/mf_pbt_genetics.py`. PBT is greedy: configurations that pay before
  the next selection win over those that pay later. Here the population is
  divided over brackets, and each selects by truncation among its own members
  only, the first at every interval and the others at multiples of it. A slow
  bracket sees what pays in the long run; a fast one adapts.

  Brackets help each other by migrants, at the selections of the one that
  takes them: members just above the replaced, as many as those, end where the
  best members of other brackets are better, and heirs take over the weights.
  From a faster bracket come weights only: the heir trains under the
  configuration of the best of its own bracket, so that greed does not spread
  (with the structure of the migrant, which its weights need, and with what
  they began with). From a slower one comes the configuration too. Neither is
  perturbed.

  A diverged member is replaced at the end of the interval, whether or not its
  bracket selects then: by an heir of the best of its bracket, or of all where
  no other of its bracket is sound.

  The paper's periods are 1, 10, 25 and 50 of a thousand intervals. Budgets of
  tens of segments have no room for them, so ours are spread evenly on a log
  scale from each interval to half of the budget. With fewer than eight members
  there is one bracket, which is PBT.
  """

  _intervals = 10

  def __init__(
    self,
    space: space_lib.Space,
    *,
    periods: Sequence[int] | None = None,
    **shared: Any,
  ):
    """Sets up.

    Args:
      space: what may change.
      periods: between the selections of each bracket, in intervals, ascending
        from 1; by default up to four, with at least four members each.
      **shared: of `PBT`; `interval` is a tenth of `segments` by default.
    """
    super().__init__(space, **shared)
    if periods is None:
      brackets = min(self.population // _LEAST_MEMBERS, _MOST_BRACKETS)
      longest = max(1, self.evaluations // 2)
      spread = np.geomspace(1, longest, max(1, brackets)).round().astype(int)
      periods = sorted({*spread.tolist()})  # Equal ones are one bracket.
    ok = list(periods) == sorted({1, *periods}) and min(periods) == 1
    strategy.require('periods', periods, ok, 'ascending integers from 1')
    self.periods = tuple(periods)

  def _select(
    self, losses: dict[int, float], rng: np.random.Generator
  ) -> dict[int, int | None]:
    """Truncation within each bracket that is due, and migrants."""
    donors: dict[int, int | None] = dict.fromkeys(losses)
    for bracket, period in enumerate(self.periods):
      own = {m: losses[m] for m in losses if self._bracket(m) == bracket}
      sound = any(math.isfinite(loss) for loss in own.values())
      chosen = super()._select(own if sound else losses, rng)
      due = self._stop % (period * self.interval) == 0
      donors |= {m: chosen[m] for m in own if due or math.isinf(own[m])}
      if due:
        staying = [m for m in own if chosen[m] is None]
        donors |= self._migrants(own, staying, losses)
    return donors

  def _migrants(
    self, own: dict[int, float], staying: list[int], losses: dict[int, float]
  ) -> dict[int, int]:
    """Better donors from other brackets, by member.

    Args:
      own: losses of the bracket.
      staying: its members that go on.
      losses: of all members.
    """
    ranked = sorted(losses, key=lambda m: (losses[m], m))
    others = [m for m in ranked if m not in own]
    count = max(1, int(self.quantile * len(own)))
    taken = {}
    for member in [m for m in ranked if m in staying][count:][-count:]:
      if others and losses[others[0]] < losses[member]:
        taken[member] = others.pop(0)  # Each gives its weights once.
    return taken

  def _heir(
    self, member: int, donor: int, rng: np.random.Generator
  ) -> pbt._Member:
    """As of PBT within a bracket; otherwise a migrant's, not perturbed."""
    bracket = self._bracket(member)
    own = [m for m in self._cohort if self._bracket(m) == bracket]
    leader = min(own, key=lambda m: (self._losses[m], m))
    heir = super()._heir(member, donor, rng)
    if heir.bracket != bracket and math.isfinite(self._losses[leader]):
      giver = leader if heir.bracket < bracket else donor
      structure = self.space.structure(heir.configuration)
      configuration = self.space.with_structure(
        self._cohort[giver].configuration, structure
      )
      configuration = self.space.with_start(configuration, heir.configuration)
      heir = dataclasses.replace(
        heir, parent=giver, configuration=configuration
      )
    return dataclasses.replace(heir, bracket=bracket)

  def _begin_cohort(self, size: int) -> None:
    """Deals the new members out to the brackets in turn."""
    super()._begin_cohort(size)
    for i, (id, member) in enumerate(self._cohort.items()):
      bracket = i % len(self.periods)
      self._cohort[id] = dataclasses.replace(member, bracket=bracket)

  def _bracket(self, member: int) -> int:
    return self._cohort[member].bracket
