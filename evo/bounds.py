"""Bounds: what a campaign may use, and how many members may still start.

Everything is decided in members and FLOPs. Minutes become a plan in FLOPs
once the speed is known, and the plan is written in the ledger, so that a run
repeated from its ledger takes the same decisions whatever the clock says.
"""

import dataclasses

from evo import engine as engine_lib
from evo import member as member_lib
from evo import strategy as strategy_lib

# Share of the minutes that is planned for; the rest is for what was not
# foreseen: start-up, compiling the confirmation, the report.
_CLOCK_MARGIN = 0.92

Plan = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Bounds:
  """What a campaign may use at most; None is no bound.

  Attributes:
    members: trained to the end of their budget in the search. A member that
      takes over another's run by an exploit is not counted again.
    flops: charged in all, the confirmation included.
    minutes: of wall clock, the confirmation included.
  """

  members: int | None = None
  flops: float | None = None
  minutes: float | None = None


class Allowance:
  """Keeps account of what was started, and tells what still may be.

  A member that starts commits the FLOPs of its whole run, so a bound is never
  exceeded and every lineage that begins can end. A strategy that may leave
  members unfinished pays leg by leg.

  Attributes:
    started: members of the search, as `Bounds.members` counts them.
    executed: FLOPs of training dispatched so far.
    plan: the bound in FLOPs that minutes became: {'minutes', 'flops'}.
  """

  def __init__(
    self,
    bounds: Bounds,
    engine: engine_lib.Engine,
    strategy: strategy_lib.Strategy,
    confirmation: int = 0,
    confirmation_evaluations: int = 1,
  ):
    """Sets up.

    Args:
      bounds: of the campaign.
      engine: knows what a member costs.
      strategy: says how often its members are evaluated and whether they
        finish.
      confirmation: runs of a confirmation.
      confirmation_evaluations: of each of its runs.
    """
    self._bounds, self._engine, self._strategy = bounds, engine, strategy
    self._evaluations = strategy.evaluations
    self._member = self._most(self._evaluations)
    self._confirmation = confirmation * self._most(confirmation_evaluations)
    self._expected = confirmation * self._typical(confirmation_evaluations)
    self.started, self.executed = 0, 0.0
    self.plan: Plan | None = None
    self._committed = 0.0

  @property
  def minutes(self) -> float | None:
    """The bound on wall clock."""
    return self._bounds.minutes

  def start(self, legs: list[member_lib.Leg]) -> None:
    """Commits what these legs of the search begin."""
    strategy = self._strategy
    for leg in legs:
      begins = not (leg.goes_on or (strategy.takes_over and leg.source))
      self.started += begins
      if begins or not strategy.finishes:
        self._committed += self._cost(leg)

  def offer(self, free: int) -> tuple[int, int | None]:
    """Legs to ask for, and how many more members may start.

    Args:
      free: slots.
    """
    if self._strategy.finishes:
      return free, self.fresh()
    room = [self._room(limit) for limit in self._limits()]
    return max(0, min([free, *room])), self.fresh()

  def confirm(self) -> None:
    """Commits a confirmation."""
    self._committed += self._expected

  def fresh(self) -> int | None:
    """How many more members may start; None is no bound."""
    bounds, room = self._bounds, []
    if bounds.members is not None:
      room.append(bounds.members - self.started)
    room += [self._room(limit) for limit in self._limits()]
    if bounds.minutes is not None and self.plan is None:
      # Until the speed is known, only what fits side by side.
      room.append(self._engine.size - self.started)
    return max(0, min(room)) if room else None

  def replan(self, seconds: float, speed: float) -> None:
    """Plans the minutes that are left.

    Args:
      seconds: gone so far.
      speed: FLOPs of training a second.
    """
    minutes = self._bounds.minutes
    if minutes is None:
      return
    left = max(0.0, 60 * minutes * _CLOCK_MARGIN - seconds)
    self.plan = {'minutes': minutes, 'flops': self.executed + speed * left}

  def exhausted(self) -> str:
    """Which bound left no room for another member; `done` if none did."""
    bounds = self._bounds
    if bounds.members is not None and self.started >= bounds.members:
      return 'max_members'
    if self.fresh() != 0:
      return 'done'
    planned = self.plan and self.plan['flops']
    if bounds.flops is None or (planned and planned < bounds.flops):
      return 'max_minutes'
    return 'max_flops'

  def progress(self, searching: bool) -> tuple[float, float | None]:
    """FLOPs trained so far, and about how many there will be if bounded."""
    bounds, totals = self._bounds, []
    if bounds.members is not None:
      missing = (bounds.members - self.started) * searching
      totals.append(
        self._committed * (1 + missing / max(1, self.started))
        + self._expected * searching
      )
    if self.plan:
      totals.append(self.plan['flops'])
    if bounds.flops is not None:
      totals.append(bounds.flops)
    # Totals hold evaluations, which are not followed one by one.
    share = self._engine.budget.flops / self._typical(self._evaluations)
    return self.executed, min(totals) * share if totals else None

  def _limits(self) -> list[float]:
    """Bounds in FLOPs."""
    limits = (self._bounds.flops, self.plan and self.plan['flops'])
    return [limit for limit in limits if limit is not None]

  def _room(self, limit: float) -> int:
    """Whole members that a bound in FLOPs still has room for."""
    spare = limit - self._committed - self._confirmation
    return int(spare // self._member)

  def _most(self, evaluations: int) -> float:
    """FLOPs that a run of the whole budget may cost, whatever its structure."""
    engine = self._engine
    return engine.budget.flops + (
      evaluations * engine.catalogue.evaluation_flops
    )

  def _typical(self, evaluations: int) -> float:
    """FLOPs of a run of the whole budget with the baseline's structure."""
    evaluation = self._engine.catalogue.baseline.evaluation_flops
    return self._engine.budget.flops + evaluations * evaluation

  def _cost(self, leg: member_lib.Leg) -> float:
    """FLOPs of what a leg begins: a run, or itself alone."""
    species = self._engine.seats.species(leg)
    if species.refusal:
      return 0.0
    stop, evaluations = leg.stop, len(leg.splits)
    if self._strategy.finishes:
      stop, evaluations = self._engine.budget.segments, self._evaluations
    training = (stop - leg.start) * species.segment_flops
    return training + evaluations * species.evaluation_flops
