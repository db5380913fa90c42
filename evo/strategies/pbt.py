"""Population-based training with truncation selection."""

import dataclasses
import math
from typing import Any

import numpy as np

from evo import member as member_lib
from evo import space as space_lib
from evo import strategy


@dataclasses.dataclass(frozen=True)
class _Member:
  """A member of the cohort.

  Attributes:
    parent: the member that its configuration was copied from, or None.
    configuration: in effect during the current interval.
    source: where its weights come from at the start of the interval.
    bracket: of the members that it is selected among; only one here.
  """

  parent: int | None
  configuration: member_lib.Configuration
  source: member_lib.Weights | None
  bracket: int = 0


class PBT(strategy.Strategy):
  """Population-based training, synchronous.

  Jaderberg et al., "Population Based Training of Neural Networks", arXiv
  1711.09846. A cohort starts together; after each interval, when every member
  has been told, the worst are ended and each is replaced by a new member that
  takes over the weights of one of the best (exploit) and a perturbed copy of
  its configuration (explore). Nothing is selected after the last interval: no
  training would follow to tell whether the copy was any good.

  Defaults are those of Ray Tune and Syne Tune: a quarter replaced by the best
  quarter, a quarter of the parameters drawn anew, the rest times .8 or 1.25.
  The paper's populations are of 10 to 80. Short intervals are greedy: what
  pays now wins over what pays later, a small learning rate above all, so a
  fifth of the budget is the default.

  When a cohort reaches the end of its budget, the next one starts from newly
  drawn configurations, with new ids, as long as `fresh` allows.

  Nothing is kept for heirs: a whole interval is asked at once, while all of
  its donors are still on the devices.
  """

  takes_over = True
  finds_schedules = True
  _intervals = 5  # By default.

  def __init__(
    self,
    space: space_lib.Space,
    *,
    interval: int | None = None,
    quantile: float = 0.25,
    resample: float = 0.25,
    factors: tuple[float, float] = (0.8, 1.25),
    step: float = 0.1,
    exploit: bool = True,
    explore: bool = True,
    **shared: Any,
  ):
    """Sets up.

    Args:
      space: what may change.
      interval: segments between selections; a fifth of `segments` by default.
        The last interval is shorter where they do not divide.
      quantile: share of the cohort that is replaced, and that may be donors.
      resample: of `Space.perturb`, probability of a new draw.
      factors: of `Space.perturb`, for parameters on a log scale.
      step: of `Space.perturb`, for the others: standard deviation as a share
        of the range. Additive, because a factor never moves a zero.
      exploit: False never copies: every member explores at every interval
        (the explore-only control).
      explore: False copies configurations unchanged (exploit only).
      **shared: of `Strategy`. The population is the largest cohort.
    """
    super().__init__(space, **shared)
    # Weights go from member to member, so structures have to stay.
    self._explorable = space.traced().continued()
    if explore:
      names = self._explorable.free_names
      self.require_free(names, 'traced, and acts beyond the start')
    segments = self.segments
    if interval is None:
      interval = max(1, segments // self._intervals)
    strategy.require('interval', interval, interval >= 1, 'at least 1')
    strategy.require(
      'quantile', quantile, 0 < quantile <= 0.5, 'a share in (0, .5]'
    )
    self.interval = interval
    self.quantile = quantile
    self.resample = resample
    self.factors = factors
    self.step = step
    self.exploit = exploit
    self.explore = explore
    self.evaluations = -(-segments // interval)
    self._cohort: dict[int, _Member] = {}  # In order of id.
    self._start = 0  # Of the current interval, in segments.
    self._stop = 0  # Of the current interval.
    self._waiting: list[int] = []  # Members not yet asked in this interval.
    self._flying: set[int] = set()
    self._losses: dict[int, float] = {}  # Told, at `_stop`.

  def _ask(
    self, n: int, fresh: int | None, rng: np.random.Generator
  ) -> list[strategy.Leg]:
    if not self._waiting and not self._flying:
      self._advance(rng)
      if not self._cohort:
        self._begin_cohort(strategy.startable(n, fresh))
    asked, self._waiting = self._waiting[:n], self._waiting[n:]
    self._flying.update(asked)
    return [self._leg(member) for member in asked]

  def tell(self, results: list[strategy.Result]) -> None:
    for result in results:
      member = result.leg.member
      self._flying.remove(member)
      self._losses[member] = strategy.selection_loss(result)
      # As it was run: a proposal without a seat gets another structure.
      self._cohort[member] = dataclasses.replace(
        self._cohort[member], configuration=result.leg.configuration
      )

  def _select(
    self, losses: dict[int, float], rng: np.random.Generator
  ) -> dict[int, int | None]:
    """Truncation: the worst quantile copies the best.

    Args:
      losses: by member, at the same segment, in order of id; infinite for
        failures. At least one is finite.
      rng: of this ask.

    Returns:
      The donor of each member, None where the member goes on. Failures have
      one always and are one never.
    """
    ranked = sorted(losses, key=lambda m: (losses[m], m))
    count = int(self.quantile * len(ranked))
    if len(ranked) >= 2:
      count = max(1, count)
    sound = [m for m in ranked if math.isfinite(losses[m])]
    donors = sound[: max(1, count)]
    # Failures rank last, so those beyond the quantile follow the sound ones.
    losers = set(ranked[min(len(ranked) - count, len(sound)) :])
    return {
      m: donors[rng.integers(len(donors))] if m in losers else None
      for m in losses
    }

  def _advance(self, rng: np.random.Generator) -> None:
    """Selects, and readies the next interval; empties a finished cohort."""
    losses = {m: self._losses[m] for m in self._cohort}
    sound = {m for m, loss in losses.items() if math.isfinite(loss)}
    if self._stop == self.segments or not sound:
      self._cohort = {}
    elif self.exploit:
      self._exploit(self._select(losses, rng), rng)
    else:
      # Nobody takes over the run of a failure here: it just ends.
      self._cohort = {m: self._go_on(m, rng) for m in sorted(sound)}
    self._ready(self._stop)

  def _exploit(
    self, donors: dict[int, int | None], rng: np.random.Generator
  ) -> None:
    """Replaces each member that has a donor by a new one."""
    cohort = {
      m: dataclasses.replace(self._cohort[m], source=(m, self._stop))
      for m, donor in donors.items()
      if donor is None
    }
    for member, donor in donors.items():
      if donor is not None:
        cohort[self._new_id()] = self._heir(member, donor, rng)
    self._cohort = cohort

  def _heir(self, member: int, donor: int, rng: np.random.Generator) -> _Member:
    """The new member that replaces one and takes over a donor's weights."""
    del member  # Any heir of a donor is the same here.
    # Of the donor before selection, even where it is replaced itself.
    return dataclasses.replace(
      self._cohort[donor],
      parent=donor,
      configuration=self._explored(self._cohort[donor], rng),
      source=(donor, self._stop),
    )

  def _go_on(self, member: int, rng: np.random.Generator) -> _Member:
    """The member itself, explored but not copied."""
    return dataclasses.replace(
      self._cohort[member],
      configuration=self._explored(self._cohort[member], rng),
      source=(member, self._stop),
    )

  def _explored(
    self, member: _Member, rng: np.random.Generator
  ) -> member_lib.Configuration:
    if not self.explore:
      return member.configuration
    return self._explorable.perturb(
      member.configuration,
      rng,
      factors=self.factors,
      step=self.step,
      resample=self.resample,
    )

  def _begin_cohort(self, size: int) -> None:
    """Starts a cohort of new members from scratch."""
    for _ in range(min(size, self.population)):
      member = self._new_id()
      configuration = self.initial_configuration(member)
      self._cohort[member] = _Member(None, configuration, None)
    self._ready(0)

  def _ready(self, start: int) -> None:
    """Puts the whole cohort up for the interval from `start`."""
    self._start = start
    self._stop = min(start + self.interval, self.segments)
    self._waiting, self._losses = list(self._cohort), {}

  def _leg(self, member: int) -> strategy.Leg:
    chosen = self._cohort[member]
    return strategy.Leg(
      member=member,
      parent=chosen.parent,
      configuration=chosen.configuration,
      source=chosen.source,
      start=self._start,
      stop=self._stop,
      seed=self.member_seed,
    )
