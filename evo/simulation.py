"""Simulation: a strategy on a task, with the rounds and slots of the engine.

What takes a campaign days takes seconds here: legs are runs of a function, and
time is counted in segments.
"""

import dataclasses
import math
import time
from typing import Any

from evo import member as member_lib
from evo import slots as slots_lib
from evo import strategy as strategy_lib
from evo import task as task_lib

Leg = member_lib.Leg
Result = member_lib.Result
Weights = member_lib.Weights


@dataclasses.dataclass
class Simulation:
  """What came of a simulation.

  Attributes:
    legs: in order of asking.
    results: in order of telling.
    truths: of each result's state, without noise.
    charges: members' worth of training done by all slots up to the end of the
      round of each result.
    asks: that returned legs.
    seconds: spent asking.
  """

  legs: list[Leg] = dataclasses.field(default_factory=list)
  results: list[Result] = dataclasses.field(default_factory=list)
  truths: list[float] = dataclasses.field(default_factory=list)
  charges: list[float] = dataclasses.field(default_factory=list)
  asks: int = 0
  seconds: float = dataclasses.field(default=0.0, compare=False)


def simulate(
  strategy: strategy_lib.Strategy,
  task: task_lib.Task,
  *,
  slots: int,
  charge: float,
  seed: int,
) -> Simulation:
  """Runs a strategy on a task until its charge has no room for more.

  A round is one segment of all slots; a slot is refilled in the round after
  its leg ended. The charge is never exceeded; as in `allowance.Allowance`, a
  member that starts commits its whole run where members finish, and each leg
  is paid for by itself where they may not.

  Args:
    strategy: that nobody has asked yet, with the segments of the task.
    task: to search.
    slots: legs at work at once.
    charge: members' worth of training: a segment costs 1 / segments.
    seed: of the task's noise.

  Returns:
    The same for the same arguments, but for `seconds`.

  Raises:
    ValueError: the segments differ, or a leg starts from a state that stands
      in no slot and was not kept and pinned.
  """
  segments = task.segments
  strategy_lib.require(
    'segments', strategy.segments, strategy.segments == segments, f'{segments}'
  )
  simulation, done = Simulation(), 0
  account, states = _Account(strategy, charge), _States(task, slots, seed)
  while True:
    began = time.perf_counter()
    n, fresh = account.offer(states.table.free())
    legs = strategy.ask(n, fresh) if n else []
    simulation.seconds += time.perf_counter() - began
    account.start(legs)
    states.start(legs)
    if not (at_work := slots - states.table.free()):
      break
    done += at_work
    ended = states.advance()
    strategy.tell([result for result, _ in ended])
    states.forget(strategy.pinned())
    simulation.legs += legs
    for result, truth in ended:
      simulation.results.append(result)
      simulation.truths.append(truth)
      simulation.charges.append(done / segments)
  simulation.asks = strategy.asks
  return simulation


class _Account:
  """The charge, in segments: what may still start."""

  def __init__(self, strategy: strategy_lib.Strategy, charge: float):
    self._strategy = strategy
    # Rounded first: .29 of 100 segments is 28.999999999999996 in floats.
    self._left = math.floor(round(charge * strategy.segments, 9))

  def offer(self, free: int) -> tuple[int, int]:
    """Legs to ask for, and how many members may start; see `Allowance`."""
    room = self._left // self._strategy.segments
    return free if self._strategy.finishes else min(free, room), room

  def start(self, legs: list[Leg]) -> None:
    """Commits what these legs begin."""
    strategy = self._strategy
    for leg in legs:
      if not strategy.finishes:
        self._left -= leg.stop - leg.start
      elif not (leg.goes_on or (strategy.takes_over and leg.source)):
        self._left -= strategy.segments - leg.start


class _States:
  """The states in the slots, and those kept for heirs."""

  def __init__(self, task: task_lib.Task, slots: int, seed: int):
    self.table = slots_lib.Table(slots, devices=1)
    self._task, self._seed = task, seed
    self._slots: list[Any] = [None] * slots
    self._kept: dict[Weights, Any] = {}

  def start(self, legs: list[Leg]) -> None:
    """Puts legs into free slots, with the states that they name."""
    filling = self.table.start(legs)
    self._slots = [self._slots[i] for i in filling.moves]
    for slot in filling.fresh:
      self._slots[slot] = self._task.state0
    for slot, weights in filling.restored.items():
      if weights not in self._kept:
        raise ValueError(
          f'member {self.table[slot].leg.member} starts from {weights}; '
          'expected a state that is held or was kept and pinned'
        )
      self._slots[slot] = self._kept[weights]

  def advance(self) -> list[tuple[Result, float]]:
    """Trains for one segment; results and truths in order of member id."""
    ended = []
    for slot, leg in enumerate(self.table.ending()):
      if leg:
        ended.append(self._run(slot, leg))
    ended.sort(key=lambda pair: pair[0].leg.member)
    self.table.settle([result for result, _ in ended])
    return ended

  def forget(self, pinned: set[Weights]) -> None:
    """Drops the kept states that nobody may need any more."""
    needed = pinned | {leg.source for leg in self.table.legs if leg}
    self._kept = {w: s for w, s in self._kept.items() if w in needed}

  def _run(self, slot: int, leg: Leg) -> tuple[Result, float]:
    """Runs a whole leg, at its end; a loss that is not finite is a failure."""
    rng = member_lib.generator(self._seed, 'task', leg.member, leg.start)
    state, loss, truth = self._task.train(self._slots[slot], leg, rng)
    self._slots[slot] = state
    if not math.isfinite(loss):
      return Result(leg, member_lib.DIVERGED, {}, stop=leg.stop), truth
    if leg.keep:
      self._kept[leg.member, leg.stop] = state
    metrics = dict.fromkeys(leg.splits, loss)
    return Result(leg, member_lib.OK, metrics, stop=leg.stop), truth
