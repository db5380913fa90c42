"""The verifier: runs the phases that put to the test what a search found."""

import functools
from collections.abc import Callable, Sequence

from etils import epath

from evo import (
  ablation,
  calibration,
  elimination,
  gate,
  locked,
  promise,
  transfer,
  trial,
  verification,
)
from evo import allowance as allowance_lib
from evo import bounds as bounds_lib
from evo import loop as loop_lib
from evo import member as member_lib
from evo import space as space_lib
from evo import strategy as strategy_lib

Configuration = space_lib.Configuration
Strategy = strategy_lib.Strategy


class Verifier:
  """Phases of one campaign, in its loop and paid for by its allowance.

  Their members' ids follow those of the search, and their seeds are used by
  nothing else. A phase that the budget or a reason to stop cuts short leaves
  open what it has not shown.
  """

  def __init__(
    self, loop: loop_lib.Loop, *, splits: tuple[str, ...], seed: int, pairs: int
  ):
    """Sets up.

    Args:
      loop: of the campaign.
      splits: scored at the end of a run; the first one decides.
      seed: from which the seeds of the runs are folded.
      pairs: the most that a gate may take.
    """
    self._loop, self._splits = loop, splits
    self._seed, self._pairs = seed, pairs
    self._segments = loop.engine.budget.segments

  def calibrate(
    self, space: space_lib.Space, strategy: Strategy
  ) -> calibration.Noise | None:
    """Measures the noise of the loss; its runs count down from -1."""
    arms = calibration.arms(space)
    asker = verification.Confirmation(
      verification.constants(arms, self._segments),
      seeds=self._seeds(calibration.PHASE, 0, calibration.SEEDS),
      first_member=-calibration.SEEDS * len(arms),
      splits=self._splits,
    )
    self._run(calibration.PHASE, asker, strategy)
    if self._loop.stop_reason:
      return None
    losses = {arm: asker.losses(arm) for arm in arms}
    return calibration.noise(
      losses[calibration.BASELINE], losses.get(calibration.NUDGED)
    )

  def compare(
    self, arms: dict[str, verification.Schedule], strategy: Strategy, turn: int
  ) -> verification.Confirmation:
    """Trains arms that were asked for, whatever they show; charged to nobody."""
    asker = verification.Confirmation(
      arms,
      seeds=self._seeds(gate.PHASE, turn, self._pairs),
      first_member=strategy.members,
      splits=self._splits,
    )
    self._run(gate.PHASE, asker, strategy, charged=False)
    return asker

  def confirm(
    self,
    arms: dict[str, verification.Schedule],
    strategy: Strategy,
    turn: int,
    worth: float,
  ) -> trial.Trial:
    """The gate.

    Args:
      arms: those of `gate.contrasts`.
      strategy: of the search, which gives out ids.
      turn: number of this verification.
      worth: the smallest gain worth having.
    """
    asker = trial.Trial(
      arms,
      gate.contrasts(first=gate.STACK not in arms),
      seeds=self._seeds(gate.PHASE, turn, self._pairs),
      looks=gate.looks(self._pairs),
      settled=gate.settled(worth),
      first_member=strategy.members,
      splits=self._splits,
    )
    self._run(gate.PHASE, asker, strategy)
    return asker

  def reduce(
    self,
    stack: Configuration,
    trials: Sequence[member_lib.Result],
    strategy: Strategy,
    turn: int,
    worth: float,
  ) -> tuple[Configuration, tuple[str, ...]]:
    """Tests each change of a stack and puts back what carries nothing.

    Args:
      stack: that passed the gate.
      trials: of its search; they say what is tested first.
      strategy: of the search; its space has the baseline of the changes.
      turn: number of this verification.
      worth: the smallest gain worth having.

    Returns:
      What is left of the stack, and the names of its confirmed changes, the
      surest first.
    """
    space = strategy.space
    rule = ablation.Rule(ablation.changes(space, stack), worth)
    least = 2 * ablation.looks(self._pairs)[0]  # Of the elimination.
    with self._loop.allowance.sharing(least):
      evidence = self._ablate(stack, rule, trials, strategy, turn)
    p = dict(zip(rule.names, rule.raw(evidence)))
    confirmed = tuple(sorted(rule.confirmed(evidence), key=p.__getitem__))
    tried: list[Configuration] = []
    for i, names in enumerate(elimination.attempts(rule, evidence)):
      smaller = elimination.reduced(space, stack, names)
      if self._loop.stop_reason:
        break
      if smaller in tried:
        continue  # What depends on a change that is put back goes with it.
      tried.append(smaller)
      pairs = ablation.looks(self._pairs)[-1]
      asker = elimination.make(
        stack,
        smaller,
        self._segments,
        pairs=pairs,
        worth=worth,
        seeds=self._seeds(f'{elimination.PHASE}/{i}', turn, pairs),
        first_member=strategy.members,
        splits=self._splits,
      )
      self._run(elimination.PHASE, asker, strategy)
      found = asker.evidence.get(elimination.STACK)
      if elimination.accepted(found, worth):
        return smaller, confirmed
    return stack, confirmed

  def lock(
    self, space: space_lib.Space, stack: Configuration, strategy: Strategy
  ) -> None:
    """Reads the locked split."""
    asker = locked.make(
      space,
      stack,
      self._segments,
      seeds=self._seeds(locked.PHASE, 0, locked.PAIRS),
      first_member=strategy.members,
    )
    self._run(locked.PHASE, asker, strategy)

  def enlarge(
    self,
    space: space_lib.Space,
    stack: Configuration,
    confirmed: tuple[str, ...],
    larger: transfer.Larger,
    folder: epath.Path,
    *,
    strategy: Strategy,
    stop: Callable[[], str | None],
    observe: Callable[[], None],
  ) -> loop_lib.Loop:
    """Tries a stack at a larger scale, in a loop of its own.

    Args:
      space: with the baseline of the whole campaign.
      stack: what was verified.
      confirmed: names of its changes to leave out one by one.
      larger: where it is tried.
      folder: of the ledger of these runs.
      strategy: of the search.
      stop: asked after each round for a reason to stop there.
      observe: called after each round.

    Returns:
      The loop, after its end.
    """
    evaluations = len(self._splits)
    own = self._loop.allowance
    allowance = allowance_lib.Allowance(
      bounds_lib.Bounds(flops=own.left(), disk=own.disk),
      larger.engine,
      strategy,
      confirmation_evaluations=evaluations,
    )
    loop = loop_lib.Loop(
      larger.engine,
      folder,
      allowance,
      stop=stop,
      observe=observe,
      keep=self._loop.keep,
    )
    runs = allowance.expected()
    names = loop.decide('names', lambda: transfer.extent(confirmed, runs))
    asker = transfer.make(
      space,
      stack,
      names,
      larger,
      seeds=self._seeds(transfer.PHASE, 0, transfer.PAIRS),
      splits=self._splits,
    )
    loop.run(
      transfer.PHASE,
      asker,
      lambda legs, results: allowance.verify(legs, evaluations),
    )
    loop.finish()
    return loop

  def _ablate(
    self,
    stack: Configuration,
    rule: ablation.Rule,
    trials: Sequence[member_lib.Result],
    strategy: Strategy,
    turn: int,
  ) -> dict[str, trial.Evidence]:
    """Leaves out one change after the other, as many as the budget allows."""
    # The champion's structure may be slower than those of its search.
    self._loop.replan()
    runs = self._loop.allowance.expected()
    space = strategy.space
    order = functools.partial(promise.order, space, stack, trials=trials)

    def decided() -> list:
      tested = ablation.extent(space, stack, runs, order)
      return [list(tested.names), tested.alone]

    names, alone = self._loop.decide(ablation.PHASE, decided)
    if not names:
      return {}
    pairs = ablation.looks(self._pairs)[-1]
    asker = ablation.make(
      space,
      stack,
      rule,
      self._segments,
      seeds=self._seeds(ablation.PHASE, turn, pairs),
      tested=ablation.Extent(tuple(names), alone),
      first_member=strategy.members,
      splits=self._splits,
    )
    self._run(ablation.PHASE, asker, strategy)
    return asker.evidence

  def _seeds(self, phase: str, turn: int, n: int) -> list[int]:
    """Seeds that nothing else in the campaign uses."""
    return [member_lib.fold(self._seed, phase, turn, i) for i in range(n)]

  def _run(
    self,
    phase: str,
    asker: verification.Confirmation,
    strategy: Strategy,
    charged: bool = True,
  ) -> None:
    """Runs a verification."""
    evaluations = len(self._splits)

    def account(
      legs: list[member_lib.Leg], results: list[member_lib.Result]
    ) -> None:
      del results
      if charged:
        self._loop.allowance.verify(legs, evaluations)

    self._loop.run(phase, asker, account)
    strategy.members = max(strategy.members, asker.members)
