"""The campaign: search, then confirm what was found."""

from collections.abc import Callable
from typing import Any

from etils import epath

from evo import ablation, calibration, gate, transfer, trial, verification
from evo import bounds as bounds_lib
from evo import engine as engine_lib
from evo import loop as loop_lib
from evo import member as member_lib
from evo import strategy as strategy_lib

CONFIRM = gate.PHASE

Arms = Callable[['Campaign'], dict[str, verification.Schedule]]


class Campaign:
  """A search with its confirmation.

  Attributes:
    engine: runs the legs.
    strategy: of the search.
    loop: the rounds.
    legs: all legs of the search, in order of asking.
    results: all results of the search, in order.
    incumbents: results of members that were the best at the end of their
      budget when they came in, with the FLOPs spent by then; oldest first.
    confirmation: the last one, or None.
    noise: of the loss, once it was measured.
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
    seed: int = 0,
    pairs: int = 4,
    arms: Arms | None = None,
    calibrates: bool = False,
    ablates: bool = False,
    larger: Callable[[epath.Path], transfer.Larger] | None = None,
    search_share: float = 0.5,
    stop: Callable[[], str | None] = lambda: None,
    observe: Callable[['Campaign'], None] = lambda campaign: None,
  ):
    """Reads the ledger of the workdir, if there is one; nothing runs yet.

    Args:
      engine: runs the legs.
      strategy: of the search.
      workdir: holds, or will hold, the ledger and the checkpoints.
      bounds: of the whole campaign.
      seed: from which the seeds of the confirmation are folded.
      pairs: seeds that champion and baseline are confirmed on at most, see
        `gate.looks`; 0 leaves the confirmation out.
      arms: schedules to train from scratch once the search is over, by name.
        By default baseline and champion, whose runs the bounds pay for, until
        the gate is settled; other ones get all pairs, on top of the bounds.
      calibrates: whether the noise of the loss is measured first.
      ablates: whether the changes of a champion that passed are tested.
      larger: makes where the confirmed changes are tried at a larger scale,
        given a folder for it; None leaves that out, as does an ablation that confirms nothing.
      search_share: of the FLOPs that a bound leaves; the rest is for what
        follows the search. All of them where no changes are tested.
      stop: asked after each round for a reason to stop there.
      observe: called after each round.

    Raises:
      ValueError: the ledger is damaged.
    """
    self.engine, self.strategy = engine, strategy
    self.legs, self.results, self.incumbents = [], [], []
    self.confirmation, self.stop_reason = None, None
    # What decides first; the search split beside it shows the screen's bias.
    self._confirm_splits = tuple(
      split for split in ('confirm', 'search') if split in engine.splits
    )
    self._pairs = pairs if 'confirm' in engine.splits else 0
    self._seed, self._arms, self._ablates = seed, arms, ablates
    self._calibrates, self._larger = calibrates, larger
    self._workdir, self._stop = epath.Path(workdir), stop
    self._observe = lambda: observe(self)
    self._confirmed: tuple[str, ...] = ()
    self.transferred: list[loop_lib.Record] = []
    self.noise: calibration.Noise | None = None
    self.allowance = bounds_lib.Allowance(
      bounds,
      engine,
      strategy,
      confirmation=0 if arms else 2 * self._pairs,
      confirmation_evaluations=len(self._confirm_splits),
      search_share=search_share if ablates else 1.0,
    )
    self.loop = loop_lib.Loop(
      engine,
      workdir,
      self.allowance,
      stop=stop,
      observe=self._observe,
      pinned=self._pinned,
    )

  @property
  def best(self) -> member_lib.Result | None:
    """Result of the best member that reached the end of its budget."""
    return self.incumbents[-1][1] if self.incumbents else None

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

  def run(self) -> None:
    """Runs until a bound, the strategy's end or a reason to stop."""
    loop, cycle, verified = self.loop, 0, None
    if self._calibrates:
      self._calibrate()
    while loop.stop_reason is None:
      self.allowance.begin_cycle()
      rounds = loop.run(loop_lib.SEARCH, self.strategy, self._searched)
      if loop.stop_reason or (cycle and not rounds):
        break
      if not (self._pairs and self.best):
        break
      if self.best is not verified:
        # Once for each champion: to ask again until it passes is no test.
        verified, self._confirmed = self.best, ()
        self._confirm(cycle)
        if self._ablates and loop.stop_reason is None:
          self._ablate(cycle)
      cycle += 1
      if not loop.replaying and self.allowance.fresh() == 0:
        break
    loop.finish()
    self.stop_reason = loop.stop_reason or self.allowance.exhausted()
    if self._larger and self._confirmed and loop.stop_reason is None:
      self._transfer()

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

  def _calibrate(self) -> None:
    """Measures the noise; its runs count down from -1."""
    arms = calibration.arms(self.strategy.space)
    asker = verification.Confirmation(
      verification.constants(arms, self.engine.budget.segments),
      seeds=self._fresh_seeds(calibration.PHASE, 0, calibration.SEEDS),
      first_member=-calibration.SEEDS * len(arms),
      splits=self._confirm_splits,
    )
    self._verify(calibration.PHASE, asker)
    if self.loop.stop_reason is None:
      losses = {arm: asker.losses(arm) for arm in arms}
      self.noise = calibration.noise(
        losses[calibration.BASELINE], losses.get(calibration.NUDGED)
      )

  @property
  def _worth(self) -> float:
    return calibration.worth(self.noise)

  def _confirm(self, cycle: int) -> None:
    """The gate, or the arms that were asked for."""
    seeds = self._fresh_seeds(CONFIRM, cycle, self._pairs)
    if self._arms is None:
      asker = trial.Trial(
        duel(self),
        gate.CONTRASTS,
        seeds=seeds,
        looks=gate.looks(self._pairs),
        settled=gate.settled(self._worth),
        first_member=self.strategy.members,
        splits=self._confirm_splits,
      )
    else:
      asker = verification.Confirmation(
        self._arms(self),
        seeds=seeds,
        first_member=self.strategy.members,
        splits=self._confirm_splits,
      )
    self.confirmation = asker
    self._verify(CONFIRM, asker, charged=self._arms is None)

  def _ablate(self, cycle: int) -> None:
    """Tests each change of the champion, if it passed the gate."""
    space, stack = self.strategy.space, self.best.leg.configuration
    names = ablation.changes(space, stack)
    evidence = self.confirmation.evidence.get(gate.CHAMPION)
    if not names or evidence is None or not gate.passed(evidence):
      return
    rule = ablation.Rule(names, self._worth)
    pairs = ablation.looks(self._pairs)[-1]
    asker = ablation.make(
      space,
      stack,
      rule,
      self.engine.budget.segments,
      seeds=self._fresh_seeds(ablation.PHASE, cycle, pairs),
      first_member=self.strategy.members,
      splits=self._confirm_splits,
    )
    self._verify(ablation.PHASE, asker)
    self._confirmed = rule.confirmed(asker.evidence)

  def _transfer(self) -> None:
    """Tries the confirmed changes at a larger scale, in a loop of its own."""
    member, found = self.best.leg.member, self.best.leg.configuration
    # Another champion has other runs.
    folder = self._workdir / transfer.PHASE / f'champion-{member}'
    larger = self._larger(folder)
    space, engine = self.strategy.space, larger.engine
    stack = space.baseline | {name: found[name] for name in self._confirmed}
    evaluations = len(self._confirm_splits)
    allowance = bounds_lib.Allowance(
      bounds_lib.Bounds(flops=self.allowance.left()),
      engine,
      self.strategy,
      confirmation_evaluations=evaluations,
    )
    loop = loop_lib.Loop(
      engine,
      folder,
      allowance,
      stop=self._stop,
      observe=self._observe,
    )
    asker = transfer.make(
      space,
      space.canonical(stack),
      self._confirmed,
      larger,
      seeds=self._fresh_seeds(transfer.PHASE, member, transfer.PAIRS),
      splits=self._confirm_splits,
    )
    loop.run(
      transfer.PHASE,
      asker,
      lambda legs, results: allowance.verify(legs, evaluations),
    )
    loop.finish()
    self.transferred = loop.records
    self.stop_reason = loop.stop_reason or self.stop_reason

  def _fresh_seeds(self, phase: str, cycle: int, n: int) -> list[int]:
    """Seeds that nothing else in the campaign uses."""
    return [member_lib.fold(self._seed, phase, cycle, i) for i in range(n)]

  def _verify(
    self, phase: str, asker: loop_lib.Asker, charged: bool = True
  ) -> None:
    """Runs a verification; its members' ids follow those of the search."""
    evaluations = len(self._confirm_splits)

    def account(
      legs: list[member_lib.Leg], results: list[member_lib.Result]
    ) -> None:
      del results
      if charged:
        self.allowance.verify(legs, evaluations)

    self.loop.run(phase, asker, account)
    self.strategy.members = max(self.strategy.members, asker.members)

  def _searched(
    self, legs: list[member_lib.Leg], results: list[member_lib.Result]
  ) -> None:
    """Takes note of a round of the search."""
    self.allowance.start(legs)
    self.legs += legs
    self.results += results
    for result in results:
      better = self.best is None or result.loss < self.best.loss
      if self._whole(result) and better:
        spent = self.loop.flops + self.engine.in_flight
        self.incumbents.append((spent, result))
        if self.loop.live:
          self.engine.keep((result.leg.member, result.stop))

  def _whole(self, result: member_lib.Result) -> bool:
    return result.ok and result.stop == self.engine.budget.segments

  def _pinned(self) -> set[member_lib.Weights]:
    champion = {(self.best.leg.member, self.best.stop)} if self.best else set()
    return self.strategy.pinned() | champion


def duel(campaign: Campaign) -> dict[str, Any]:
  """Champion against baseline."""
  space, segments = campaign.strategy.space, campaign.engine.budget.segments
  return {
    'baseline': verification.constant(space.baseline, segments),
    'champion': campaign.schedule(campaign.best),
  }
