"""Bounds: what a campaign may use, and how many members may still start.

Everything is decided in members and FLOPs. Minutes become a plan in FLOPs
once the speed is known, and the plan is written in the ledger, so that a run
repeated from its ledger takes the same decisions whatever the clock says.
"""

import dataclasses

from evo import engine as engine_lib
from evo import member as member_lib

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
  exceeded and every lineage that begins can end.

  Attributes:
    started: members of the search, as `Bounds.members` counts them.
    executed: FLOPs of training dispatched so far.
    plan: the bound in FLOPs that minutes became: {'minutes', 'flops'}.
  """

  def __init__(
    self,
    bounds: Bounds,
    engine: engine_lib.Engine,
    evaluations: int,
    confirmation: int,
    confirmation_evaluations: int,
  ):
    """Sets up.

    Args:
      bounds: of the campaign.
      engine: knows what a member costs.
      evaluations: of a member of the search, at most.
      confirmation: runs of a confirmation.
      confirmation_evaluations: of each of its runs.
    """
    self._bounds, self._engine = bounds, engine
    self._member = self._most(evaluations)
    self._evaluations = evaluations
    self._confirmation = confirmation * self._most(confirmation_evaluations)
    self._expected = confirmation * self._typical(confirmation_evaluations)
    self.started, self.executed = 0, 0.0
    self.plan: Plan | None = None
    self._committed = 0.0

  def start(self, legs: list[member_lib.Leg], takes_over: bool) -> None:
    """Commits the runs that these legs of the search begin."""
    for leg in legs:
      if not leg.goes_on and not (takes_over and leg.source):
        self.started += 1
        self._committed += self._cost(leg)

  def confirm(self) -> None:
    """Commits a confirmation."""
    self._committed += self._expected

  def fresh(self) -> int | None:
    """How many more members may start; None is no bound."""
    bounds, room = self._bounds, []
    if bounds.members is not None:
      room.append(bounds.members - self.started)
    for limit in (bounds.flops, self.plan and self.plan['flops']):
      if limit is not None:
        spare = limit - self._committed - self._confirmation
        room.append(int(spare // self._member))
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
    """FLOPs of a run that begins with a leg."""
    species = self._engine.seats.species(leg)
    if species.refusal:
      return 0.0
    segments = self._engine.budget.segments - leg.start
    evaluations = self._evaluations * species.evaluation_flops
    return segments * species.segment_flops + evaluations
