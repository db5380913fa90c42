"""Evolution whose children are screened by a model of the loss."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import special, stats

from evo import member as member_lib
from evo import space as space_lib
from evo import strategy, surrogate
from evo.strategies import evolution

Configuration = member_lib.Configuration

# Members that were scored both early and at their end, before a forecast.
_LEAST_PAIRS = 6


class Hybrid(evolution.Evolution):
  """Evolution, a Gaussian process and learning curves, each where it is best.

  * Children are bred as in ageing evolution, many at once, and as many
    configurations are drawn from the space. Of all these and of what lies
    around the best of them, the one that is trained is that which
    `surrogate.Surrogate`, fitted to every member told so far, expects to
    improve most.
  * Losers end early. A member is scored at `check` of its budget; where a
    straight line from early to final losses, through the members that got to
    their end, gives it less than `hope` of becoming the best, it is left there
    and the model learns the loss that was forecast.
  * With `inherit_at` above 0 a child starts from its lineage's state, as in
    evolution.

  `evo/README.md` says what was tried and what each part was worth.
  """

  finishes = False

  def __init__(
    self,
    space: space_lib.Space,
    *,
    children: int = 256,
    check: float = 0.5,
    hope: float = 0.1,
    rows: int = 256,
    **shared: Any,
  ):
    """Sets up.

    Args:
      space: what may change.
      children: bred for each member that is trained; as many are drawn.
      check: share of the budget, in (0, 1], at which losers end; at 1 none do.
      hope: probability of a new best, in [0, 1), below which a member ends.
      rows: of the model; what it forgets beyond is in `surrogate.Surrogate`.
      **shared: of `Evolution`.
    """
    super().__init__(space, **shared)
    strategy.require('children', children, children >= 1, 'at least 1')
    strategy.require('check', check, 0 < check <= 1, 'a share in (0, 1]')
    strategy.require('hope', hope, 0 <= hope < 1, 'a share in [0, 1)')
    self.children, self.hope = children, hope
    self.check = max(1, self.inherited, round(check * self.segments))
    self._stages |= {self.check}
    self._scored |= {self.check}
    self.evaluations = len(self._scored)
    self._surrogate = surrogate.Surrogate(space, rows)
    self._fitted = False  # Since the last results.
    self._told: dict[int, tuple[Configuration, float]] = {}
    self._tried: set[tuple] = set()
    self._early: dict[int, float] = {}  # Losses at the check.
    # With those at the end; of members from scratch, and of heirs.
    self._pairs: dict[bool, list[tuple[float, float]]] = {True: [], False: []}

  def tell(self, results: list[strategy.Result]) -> None:
    super().tell(results)
    self._fitted = False
    self._tried |= {surrogate.key(r.leg.configuration) for r in results}

  def _pause(self, member: evolution.Member, result: strategy.Result) -> None:
    if result.stop == self.check:
      self._early[member.id] = result.loss
      forecast, chance = self._forecast(result.loss, member)
      if chance < self.hope:
        self._told[member.id] = member.configuration, forecast
        return
    super()._pause(member, result)

  def _end(self, member: evolution.Member) -> None:
    super()._end(member)
    self._told[member.id] = member.configuration, member.loss
    if member.id in self._early and math.isfinite(member.loss):
      root = member.origin == member.id
      self._pairs[root].append((self._early[member.id], member.loss))

  def _forecast(
    self, early: float, member: evolution.Member
  ) -> tuple[float, float]:
    """The loss expected at the end, and the probability of a new best.

    A line by least squares, and Student's distribution of what it predicts. Of
    members from scratch those alone tell, for they alone can be champions.
    """
    root = member.origin == member.id
    pairs = self._pairs[True] + ([] if root else self._pairs[False])
    x, y = np.array(pairs).reshape(-1, 2).T
    if len(x) < _LEAST_PAIRS or x.min() == x.max():
      return early, 1.0
    line = stats.linregress(x, y)
    residuals = y - line.intercept - line.slope * x
    freedom = len(x) - 2
    distance = (early - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2)
    spread = np.sum(residuals**2) / freedom * (1 + 1 / len(x) + distance)
    forecast = line.intercept + line.slope * early
    if spread == 0:
      return forecast, float(forecast < y.min())
    gap = (y.min() - forecast) / math.sqrt(spread)
    return forecast, float(special.stdtr(freedom, gap))

  def _breed(
    self, rng: np.random.Generator, space: space_lib.Space
  ) -> tuple[evolution.Member, Configuration]:
    """The configuration that the model expects most of, and its parent.

    Its parent is the sound member of the window that is most like it: whose
    state it will take over, where it inherits one. Then it is judged with what
    such a state began with.
    """
    if not self._fitted:
      self._fit()
    sound = [m for m in self._window if math.isfinite(m.loss)]
    likest = _likest(sound, space)

    def begun(configuration: Configuration) -> Configuration:
      if space.free == self.space.free:
        return configuration
      return space.with_start(configuration, likest(configuration).root)

    def vary(configuration: Configuration, step: float) -> Configuration:
      return begun(space.mutate(configuration, rng, step=step))

    candidates = [space.sample(rng) for _ in range(self.children)]
    candidates += [
      super(Hybrid, self)._breed(rng, space)[1] for _ in candidates
    ]
    candidates = [begun(configuration) for configuration in candidates]
    child = self._surrogate.search(candidates, vary, self._tried)
    self._surrogate.believe([child])
    self._tried.add(surrogate.key(child))
    return likest(child), child

  def _fit(self) -> None:
    """Fits the model to all members told, in order of id."""
    told = [self._told[member] for member in sorted(self._told)]
    configurations, losses = zip(*told)
    self._surrogate.fit(configurations, surrogate.targets(losses))
    pending = (*self._ready, *self._flying.values())
    self._surrogate.believe([m.configuration for m in pending])
    self._fitted = True


def _likest(
  members: Sequence[evolution.Member], space: space_lib.Space
) -> Callable[[Configuration], evolution.Member]:
  """Finds the member nearest to a configuration, over what is free."""
  labels = np.array([not space.by_name[n].has_scale for n in space.free_names])
  points = np.array([space.encode(m.configuration) for m in members])

  def find(configuration: Configuration) -> evolution.Member:
    apart = np.abs(points - space.encode(configuration))
    return members[int(np.where(labels, apart > 0, apart).sum(1).argmin())]

  return find
