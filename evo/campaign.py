"""The campaign: search, verify what was found, and go on from there."""

import json
from collections.abc import Callable
from typing import Any, Protocol

from etils import epath

from evo import (
  ablation,
  calibration,
  failure,
  gate,
  locked,
  transfer,
  verification,
)
from evo import allowance as allowance_lib
from evo import bounds as bounds_lib
from evo import engine as engine_lib
from evo import ledger as ledger_lib
from evo import loop as loop_lib
from evo import member as member_lib
from evo import phases as phases_lib
from evo import record as record_lib
from evo import space as space_lib
from evo import strategy as strategy_lib
from evo import verifier as verifier_lib

# Share of the minutes after which no larger scale is tried any more, so that
# the locked split can still be read.
_TRANSFERRED_BY = 0.93

# What a campaign does unless it is told more.
_CONFIRMED = phases_lib.Phases()

Arms = Callable[['Campaign'], dict[str, verification.Schedule]]


class Restart(Protocol):
  """Makes the strategy of a further cycle."""

  def __call__(
    self, space: space_lib.Space, **shared: Any
  ) -> strategy_lib.Strategy:
    """A strategy in this space, with options of `Strategy`."""
    ...


class Campaign:
  """A search with its verification, in one or more cycles.

  A cycle searches, puts its champion to the test, finds out which changes carry
  the gain, and puts the others back. What is left, the stack, is the baseline
  of the next cycle.

  Attributes:
    engine: runs the legs.
    strategy: of the cycle's search.
    loop: the rounds.
    legs: all legs of the searches, in order of asking.
    results: all results of the searches, in order.
    incumbents: results of members that were the best of their cycle at the end
      of their budget when they came in, with the FLOPs spent by then; oldest
      first. Without those that took over weights, but where schedules are what
      is found.
    confirmation: the last one, or None.
    noise: of the loss, once it was measured.
    stack: what was verified, as a configuration; None before.
    calibrates: whether the noise of the loss is measured.
    transferred: records of the runs at a larger scale.
    stop_reason: why the campaign ended, or None while it runs.
    allowance: what may still start.
  """

  def __init__(
    self,
    engine: engine_lib.Engine,
    strategy: strategy_lib.Strategy,
    workdir: epath.PathLike,
    *,
    bounds: bounds_lib.Bounds,
    phases: phases_lib.Phases = _CONFIRMED,
    seed: int = 0,
    arms: Arms | None = None,
    larger: Callable[[epath.Path], transfer.Larger] | None = None,
    restart: Restart | None = None,
    keep: int = 2,
    stop: Callable[[], str | None] = lambda: None,
    observe: Callable[['Campaign'], None] = lambda campaign: None,
  ):
    """Reads the ledger of the workdir, if there is one; nothing runs yet.

    Args:
      engine: runs the legs.
      strategy: of the first cycle's search.
      workdir: holds, or will hold, the ledger and the checkpoints.
      bounds: of the whole campaign.
      phases: what it does.
      seed: from which the seeds of the verification are folded.
      arms: schedules to train from scratch once the search is over, by name.
        By default baseline and champion, whose runs the bounds pay for, until
        the gate is settled; other ones get all pairs, on top of the bounds.
      larger: makes where the confirmed changes are tried at a larger scale,
        given a folder for it; None leaves that out.
      restart: makes the strategies of further cycles; None has one strategy
        search on from where it stands.
      keep: rounds whose checkpoints stay.
      stop: asked after each round for a reason to stop there.
      observe: called after each round.

    Raises:
      ValueError: the ledger is damaged, or of an earlier version.
    """
    self.engine, self.strategy = engine, strategy
    self.legs, self.results, self.incumbents = [], [], []
    self.confirmation, self.noise, self.stack = None, None, None
    self.stop_reason = None
    self.transferred: list[loop_lib.Record] = []
    self._elsewhere: dict[str, float] = {}  # As of `spent`.
    self._space, self._workdir = strategy.space, epath.Path(workdir)
    # What decides first; the search split beside it shows the screen's bias.
    splits = tuple(s for s in ('confirm', 'search') if s in engine.splits)
    self._pairs = phases.pairs if 'confirm' in engine.splits else 0
    self._phases, self._seed, self._arms = phases, seed, arms
    self._larger, self._restart = larger, restart
    locks = phases.locks and locked.SPLIT in engine.splits
    self._locked_runs = 2 * locked.PAIRS if locks else 0
    self._verified: tuple[int, member_lib.Result] | None = None
    self._cycle_from = 0  # Of the results.
    self._heirs: set[int] = set()  # Members that began from another's weights.
    self._stacked: int | None = None  # The champion that the stack is from.
    self._confirmed: tuple[str, ...] = ()  # Of its changes.
    self._stop, self._observe = stop, lambda: observe(self)
    self.allowance = allowance_lib.Allowance(
      bounds,
      engine,
      strategy,
      confirmation=0 if arms else 2 * self._pairs,
      confirmation_evaluations=len(splits),
      search_share=phases.search_share if phases.ablates else 1.0,
      held_share=phases.transfer_share if larger else 0.0,
      held_runs=self._locked_runs,
    )
    self.loop = loop_lib.Loop(
      engine,
      workdir,
      self.allowance,
      stop=stop,
      observe=self._observe,
      pinned=self._pinned,
      keep=keep,
    )
    self.calibrates = phases.calibrates and self._affords_calibration()
    self._verifier = verifier_lib.Verifier(
      self.loop, splits=splits, seed=seed, pairs=self._pairs
    )

  @property
  def best(self) -> member_lib.Result | None:
    """The last of the cycle's `incumbents`."""
    return self.incumbents[-1][1] if self.incumbents else None

  @property
  def champion(self) -> member_lib.Result | None:
    """The best of the last cycle that came to its gate, or of this one."""
    if self._verified and self._verified[0] < self.loop.cycle:
      return self._verified[1]
    return self.best

  @property
  def finished(self) -> int:
    """Members of the search that reached the end of their budget."""
    return sum(self._whole(result) for result in self.results)

  @property
  def baseline_loss(self) -> float | None:
    """Search loss of the first member, the baseline, at the end."""
    ends = (r for r in self.results if self._whole(r))
    return next((r.loss for r in ends if r.leg.member == 0), None)

  def progress(self) -> tuple[float, float | None]:
    """FLOPs trained so far, and about how many there will be if bounded."""
    return self.allowance.progress(self.loop.phase == loop_lib.SEARCH)

  def spent(self) -> dict[str, float]:
    """What the clock says, of the larger scale too."""
    return {
      kind: value + self._elsewhere.get(kind, 0)
      for kind, value in self.loop.clock.spent().items()
    }

  def run(self) -> None:
    """Runs until a bound, the strategy's end or a reason to stop."""
    loop = self.loop
    if self.calibrates:
      self.noise = self._verifier.calibrate(self._space, self.strategy)
    self._search_and_verify()
    loop.finish()
    self.stop_reason = loop.stop_reason or self.allowance.exhausted(self._least)
    if self.stack and loop.stop_reason is None:
      self._conclude()

  def schedule(self, result: member_lib.Result) -> verification.Schedule:
    """What stands for a member: what the strategy claims to have found.

    For a strategy that finds schedules (PBT) the configurations along the
    member's lineage, else its own configuration from start to end.
    """
    segments = self.engine.budget.segments
    if self.strategy.finds_schedules:
      return verification.lineage_schedule(
        self.legs, result.leg.member, segments
      )
    return verification.constant(result.leg.configuration, segments)

  def _search_and_verify(self) -> None:
    """All cycles."""
    loop, asked = self.loop, None
    while loop.stop_reason is None:
      self.allowance.begin_cycle(
        max(1, self._phases.cycles - loop.turn), self._gate_runs
      )
      loop.revise()
      # Asked on a replay too, since it may give free what is held.
      if loop.turn and not (self._room() or loop.replaying):
        break
      rounds = loop.run(loop_lib.SEARCH, self.strategy, self._searched)
      if loop.stop_reason or (loop.turn and not rounds):
        break
      if not (self._pairs and self.best):
        break
      if self.best is not asked:
        # Once for each champion: to ask again until it passes is no test.
        asked = self.best
        self._verify(loop.turn)
      loop.turn += 1

  @property
  def _least(self) -> int:
    """Members that a further search has to have room for."""
    return 2 * self.strategy.population if self._phases.ablates else 1

  @property
  def _gate_runs(self) -> int:
    """Of the next gate at most: two arms, or three once there is a stack."""
    return 0 if self._arms else (3 if self.loop.cycle else 2) * self._pairs

  def _room(self) -> bool:
    """Whether there is room for another search.

    What is held for a larger scale is free where there is nothing to try there.
    """
    if not self._fits() and not self.stack:
      self.allowance.release(self._locked_runs)
    return self._fits()

  def _fits(self) -> bool:
    fresh = self.allowance.fresh()
    return fresh is None or fresh >= self._least

  def _affords_calibration(self) -> bool:
    """Whether it takes half of the bounds at most, or was begun before."""
    if records := self.loop.records:
      return records[0]['phase'] == calibration.PHASE
    runs = self.allowance.verifications()
    return runs is None or runs >= 2 * calibration.RUNS

  def _verify(self, turn: int) -> None:
    """Puts the champion to the test; begins the next cycle if it passes."""
    found = self.best.leg.configuration
    ablates = self._phases.ablates
    if ablates and not ablation.changes(self.strategy.space, found):
      return
    verifier, worth = self._verifier, calibration.worth(self.noise)
    before = self.loop.round
    if self._arms is not None:
      arms = self._arms(self)
      self.confirmation = verifier.compare(arms, self.strategy, turn)
      return
    self.confirmation = verifier.confirm(
      self.duel(), self.strategy, turn, worth
    )
    if self.loop.round > before:
      self._verified = self.loop.cycle, self.best
    evidence = self.confirmation.evidence.get(gate.CHAMPION)
    passed = evidence is not None and gate.passed(evidence)
    if not ablates or self.loop.stop_reason or not passed:
      return
    trials = [r for r in self.results[self._cycle_from :] if self._whole(r)]
    stack, confirmed = verifier.reduce(
      found, trials, self.strategy, turn, worth
    )
    if self.loop.stop_reason is None:
      found = self._space.canonical(stack)
      # Where all was put back there is nothing to show.
      self.stack = found if ablation.changes(self._space, found) else None
      self._stacked = self.best.leg.member
      carried = self._confirmed if self._restart else ()
      self._confirmed = tuple(dict.fromkeys((*carried, *confirmed)))
      self._begin_cycle(stack)

  def duel(self) -> dict[str, verification.Schedule]:
    """Champion against baseline, and against where its cycle started from."""
    segments = self.engine.budget.segments
    arms = {gate.BASELINE: self._space.baseline}
    if self.loop.cycle:
      arms[gate.STACK] = self.strategy.space.baseline
    champion = self.schedule(self.best)
    if self._phases.ablates:
      # What is ablated and kept is a configuration, so that has to pass.
      configuration = self.best.leg.configuration
      champion = verification.constant(configuration, segments)
    return verification.constants(arms, segments) | {gate.CHAMPION: champion}

  def _begin_cycle(self, stack: space_lib.Configuration) -> None:
    """Starts the search anew from what was verified, on another seed."""
    if self._restart is None:
      return
    old, cycle = self.strategy, self.loop.cycle + 1
    space = self._space.rebase(stack)
    seed = member_lib.fold(self._seed, 'cycle', cycle)
    self.strategy = self._restart(
      space,
      seed=seed,
      initial=strategy_lib.near(space, old.population, seed),
      first_member=old.members,
    )
    self.loop.cycle, self.incumbents = cycle, []
    self._cycle_from = len(self.results)

  def _conclude(self) -> None:
    """A larger scale, and then the locked split, for the stack."""
    self.allowance.release(self._locked_runs)
    ended = self.stop_reason
    if self._larger:
      self._transfer()
    self.allowance.release()
    if self._locked_runs and self.stop_reason == ended:
      self._verifier.lock(self._space, self.stack, self.strategy)
      self.loop.finish()
      self.stop_reason = self.loop.stop_reason or self.stop_reason

  def _transfer(self) -> None:
    """Tries the stack at a larger scale."""
    # Another stack has other runs, though its champion be the same.
    digest = member_lib.fold(0, json.dumps(self.stack, sort_keys=True))
    name = f'champion-{self._stacked}-{digest:08x}'
    folder = self._workdir / transfer.PHASE / name
    if self.loop.replaying:
      # The locked split was read: what is not shown by now is not shown.
      self.transferred = ledger_lib.Ledger(folder / 'ledger').records
      record_lib.check(self.transferred, self.engine.budget.segments)
      events = ledger_lib.Events(folder / 'events.jsonl').read()
      rounds = [event for event in events if event['event'] == 'round']
      self._spent_elsewhere(rounds[-1] if rounds else {})
      return
    self.loop.phase = transfer.PHASE  # For those who watch.
    self.engine.release()
    try:
      loop = self._enlarge(folder)
    except Exception as error:
      if not failure.has_no_room(error):
        raise
      # No reason to leave out the locked split either.
      self.loop.log('no_room', phase=transfer.PHASE, reason=str(error))
      return
    self.allowance.charge(loop.flops)
    self._spent_elsewhere(loop.clock.spent())
    self.transferred = loop.records
    # Out of time is no reason to leave out the locked split.
    if loop.stop_reason != 'max_minutes':
      self.stop_reason = loop.stop_reason or self.stop_reason

  def _enlarge(self, folder: epath.Path) -> loop_lib.Loop:
    """The runs at the larger scale, in a loop of their own."""
    changed = ablation.changes(self._space, self.stack)
    return self._verifier.enlarge(
      self._space,
      self.stack,
      tuple(name for name in self._confirmed if name in changed),
      self._larger(folder),
      folder,
      strategy=self.strategy,
      stop=lambda: self._stop() or self.loop.late(_TRANSFERRED_BY),
      observe=self._transferring,
    )

  def _spent_elsewhere(self, spent: dict[str, Any]) -> None:
    # How many there are in all is known to the clock of the campaign.
    kinds = set(self.loop.clock.spent()) - {'seconds'}
    self._elsewhere = {kind: spent.get(kind, 0) for kind in kinds}

  def _transferring(self) -> None:
    """Notes the time, which this campaign's own rounds do not tell."""
    self.loop.log(transfer.PHASE, **self.loop.clock.spent())
    self._observe()

  def _searched(
    self, legs: list[member_lib.Leg], results: list[member_lib.Result]
  ) -> None:
    """Takes note of a round of the search."""
    self.allowance.start(legs)
    self.legs += legs
    self._heirs |= {leg.member for leg in legs if leg.inherits}
    self.results += results
    for result in results:
      better = self.best is None or result.loss < self.best.loss
      if self._whole(result) and self._claims(result) and better:
        spent = self.loop.flops + self.engine.in_flight
        self.incumbents.append((spent, result))
        if self.loop.live:
          self.engine.kept.save((result.leg.member, result.stop))

  def _claims(self, result: member_lib.Result) -> bool:
    """Whether training from scratch would repeat what a member went through.

    Of one that took weights over only the schedule would, not the configuration
    that most strategies claim.
    """
    heir = result.leg.member in self._heirs
    return self.strategy.finds_schedules or not heir

  def _whole(self, result: member_lib.Result) -> bool:
    return result.ok and result.stop == self.engine.budget.segments

  def _pinned(self) -> set[member_lib.Weights]:
    kept = (self.best, self.champion)
    champions = {(r.leg.member, r.stop) for r in kept if r}
    return self.strategy.pinned() | champions
