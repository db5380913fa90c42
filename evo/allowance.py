"""The allowance of a campaign: what may still start within its bounds.

Everything is decided in members and FLOPs. Minutes become a plan in FLOPs
once the speed is known, and the plan is written in the ledger, so that a run
repeated from its ledger takes the same decisions whatever the clock says.
"""

import contextlib
import math
from collections.abc import Iterator

from evo import bounds as bounds_lib
from evo import disk as disk_lib
from evo import engine as engine_lib
from evo import member as member_lib
from evo import strategy as strategy_lib

# Share of the minutes in which all training shall have ended, the report apart.
_TRAINED_BY = 0.97
# Share of what is left of these that is planned for: structures that are not
# known yet have to be compiled, and may be slower.
_FORESEEN = 0.95

# Populations that the search of a cycle trains at least: with fewer it has
# hardly begun to select.
_SHORTEST = 4

Plan = dict[str, float]


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
    bounds: bounds_lib.Bounds,
    engine: engine_lib.Engine,
    strategy: strategy_lib.Strategy,
    confirmation: int = 0,
    confirmation_evaluations: int = 1,
    search_share: float = 1.0,
    held_share: float = 0.0,
    held_runs: int = 0,
  ):
    """Sets up.

    Args:
      bounds: of the campaign.
      engine: knows what a member costs.
      strategy: says how often its members are evaluated and whether they
        finish.
      confirmation: runs of a confirmation.
      confirmation_evaluations: of each of its runs.
      search_share: of the FLOPs of a cycle that the search may commit; what
        is left is for what follows the confirmation.
      held_share: of a bound in FLOPs that is held back until `release`.
      held_runs: runs of a confirmation that are held back too.
    """
    self._bounds, self._engine, self._strategy = bounds, engine, strategy
    self._evaluations = strategy.evaluations
    self._member = self._most(self._evaluations)
    self._confirmation = confirmation * self._most(confirmation_evaluations)
    self._expected = confirmation * self._typical(confirmation_evaluations)
    self._verified = self._most(confirmation_evaluations)
    self._usual = self._typical(confirmation_evaluations)
    self._search_share, self._cycle, self._turns = search_share, (0, 0.0), 1
    self._held_share = held_share
    self._held = held_runs * self._verified
    # Runs that a verification leaves to the next, and whether it keeps to the
    # share of its cycle.
    self._reserved, self._keeps_share = 0, False
    self.started, self.executed = 0, 0.0
    self.plan: Plan | None = None
    self._committed = 0.0
    self._verifying = 0.0  # Of it, for verification.

  @property
  def minutes(self) -> float | None:
    """The bound on wall clock."""
    return self._bounds.minutes

  @property
  def disk(self) -> disk_lib.Disk | None:
    """The bound on disk."""
    return self._bounds.disk

  @property
  def shares(self) -> bool:
    """Whether a search leaves FLOPs to what follows its confirmation."""
    return self._search_share < 1

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

  def begin_cycle(
    self, turns: int = 1, confirmation: int | None = None
  ) -> None:
    """Begins another search, of its share of what is left.

    Args:
      turns: cycles, this one included, that share what is left, if there is
        enough for all of them.
      confirmation: runs of its confirmation; None is as many as before.
    """
    self._cycle, self._turns = (self.started, self._committed), turns
    if confirmation is not None:
      self._confirmation = confirmation * self._verified

  @contextlib.contextmanager
  def sharing(self, runs: int) -> Iterator[None]:
    """Keeps a verification to the share of its cycle.

    Args:
      runs: of that share that it leaves to what follows.
    """
    self._reserved, self._keeps_share = runs * self._verified, True
    yield
    self._reserved, self._keeps_share = 0, False

  def release(self, held_runs: int = 0) -> None:
    """Gives free what was held back, but for so many runs."""
    self._held_share, self._held = 0.0, held_runs * self._verified

  def verify(self, legs: list[member_lib.Leg], evaluations: int) -> None:
    """Commits the runs that these legs of a verification begin."""
    segments = self._engine.budget.segments
    for leg in legs:
      if not leg.goes_on:
        cost = self._run_cost(leg, segments, evaluations)
        self._committed += cost
        self._verifying += cost

  def charge(self, flops: float) -> None:
    """Commits what was spent elsewhere."""
    self._committed += flops
    self._verifying += flops

  def left(self) -> float | None:
    """FLOPs that nothing has committed; None is no bound."""
    limits = self._limits()
    return max(0.0, min(limits) - self._committed) if limits else None

  def verifications(self) -> int | None:
    """How many runs of a verification may still start; None is no bound."""
    left = self._left_to_verify()
    return None if left is None else int(left // self._verified)

  def expected(self) -> int | None:
    """About how many runs of a verification there is room for, likewise.

    With the structure of the baseline: the bound is on the costliest.
    """
    left = self._left_to_verify()
    return None if left is None else int(left // (1.1 * self._usual))

  def fresh(self) -> int | None:
    """How many more members may start; None is no bound."""
    bounds, room = self._bounds, []
    if bounds.members is not None:
      before, _ = self._cycle
      left = bounds.members - before
      own = math.ceil(left / self._shared_by(left))
      room.append(before + own - self.started)
    room += [self._room(limit) for limit in self._limits()]
    if bounds.minutes is not None and self.plan is None:
      # Until the speed is known, only what fits side by side.
      room.append(self._engine.size - self.started)
    return max(0, min(room)) if room else None

  def replan(self, seconds: float, speed: float, charged: float) -> None:
    """Plans the minutes that are left.

    Args:
      seconds: gone so far.
      speed: FLOPs of training a second.
      charged: FLOPs so far, with those of evaluation, which a plan has to pay
        for as well.
    """
    minutes = self._bounds.minutes
    if minutes is None:
      return
    left = _FORESEEN * max(0.0, 60 * minutes * _TRAINED_BY - seconds)
    rate = speed * charged / self.executed
    self.plan = {'minutes': minutes, 'flops': charged + rate * left}

  def exhausted(self, least: int = 1) -> str:
    """Which bound left no room for so many members; `done` if none did."""
    bounds, fresh = self._bounds, self.fresh()
    if bounds.members is not None and self.started >= bounds.members:
      return 'max_members'
    if fresh is None or fresh >= least:
      return 'done'
    if bounds.flops is None and bounds.minutes is None:
      return 'max_members'
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
        (self._committed - self._verifying)
        * (1 + missing / max(1, self.started))
        + max(self._expected, self._verifying)
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
    return [
      limit * (1 - self._held_share) - self._held
      for limit in limits
      if limit is not None
    ]

  def _room(self, limit: float) -> int:
    """Whole members that a bound in FLOPs still has room for."""
    _, before = self._cycle
    own = before + self._search_share * (self._own(limit) - before)
    spare = min(own, limit - self._confirmation) - self._committed
    return int(spare // self._member)

  def _own(self, limit: float) -> float:
    """Where the share of this cycle ends."""
    _, before = self._cycle
    members = self._search_share * (limit - before) / self._member
    return before + (limit - before) / self._shared_by(members)

  def _left_to_verify(self) -> float | None:
    ends = [
      (self._own(limit) if self._keeps_share else limit) - self._reserved
      for limit in self._limits()
    ]
    return max(0.0, min(ends) - self._committed) if ends else None

  def _shared_by(self, members: float) -> int:
    """Cycles that share room for so many members: rather fewer than too short."""
    least = _SHORTEST * self._engine.size
    return max(1, min(self._turns, int(members // least)))

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
    if not self._strategy.finishes:
      return self._run_cost(leg, leg.stop, len(leg.splits))
    segments = self._engine.budget.segments
    return self._run_cost(leg, segments, self._evaluations)

  def _run_cost(
    self, leg: member_lib.Leg, stop: int, evaluations: int
  ) -> float:
    """FLOPs from the start of a leg on."""
    species = self._engine.seats.species(leg)
    if species.refusal:
      return 0.0
    training = (stop - leg.start) * species.segment_flops
    return training + evaluations * species.evaluation_flops
