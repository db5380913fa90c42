"""Rounds on the devices: each live species trains a segment in its turn."""

import contextlib
import time
from collections.abc import Iterator

import jax
import numpy as np

from evo import failure as failure_lib
from evo import heirs as heirs_lib
from evo import member as member_lib
from evo import population as population_lib
from evo import populations as populations_lib
from evo import program as program_lib
from evo import seats as seats_lib
from evo import space as space_lib
from evo import species as species_lib
from evo import turn as turn_lib

Leg = member_lib.Leg
Result = member_lib.Result


class Rounds:
  """Dispatches rounds, waits for them and reads them.

  Attributes:
    last: turns by species of the round before, whose losses were not yet
      looked at.
  """

  def __init__(
    self,
    space: space_lib.Space,
    catalogue: species_lib.Catalogue,
    seats: seats_lib.Seats,
    populations: populations_lib.Populations,
    heirs: heirs_lib.Heirs,
    meter: program_lib.Meter,
  ):
    """Nothing is dispatched yet.

    Args:
      space: of the configurations.
      catalogue: of the structures seen.
      seats: whose legs are in which slots.
      populations: of the live species.
      heirs: fills the slots of legs that begin.
      meter: where the time goes.
    """
    self._space, self._catalogue, self._seats = space, catalogue, seats
    self._populations, self._heirs = populations, heirs
    self._now: dict[int, turn_lib.Turn] = {}  # Dispatched, not yet collected.
    self.last: dict[int, turn_lib.Turn] = {}
    self._stopwatch = turn_lib.Stopwatch(meter)

  def compile(self, most: int | None = None) -> None:
    """Compiles the live species, side by side; a second call is free.

    Args:
      most: of them, those that came first; all by default.
    """
    refused = self._populations.compile(list(self._seats.tables)[:most])
    for id, reason in refused.items():
      self._seats.refuse(id, reason)

  def dispatch(self) -> None:
    """Starts one segment of each species, and the evaluations that end it.

    Species that are compiled go first: what is new compiles while they train.

    Raises:
      failure.Failed: a species cannot be trained.
    """
    self._now = {}
    live = list(self._seats.tables)
    ready = [id for id in live if self._populations[id].compiled]
    for id in ready:
      self._dispatch(id)
    self.compile()
    for id in live:
      if id not in ready:
        self._dispatch(id)
    self._heirs.forget()

  def check(self) -> None:
    """Waits for the end of the round before the one just dispatched.

    Raises:
      failure.Failed: a species was not trained, and its states are lost.
    """
    self._wait(self.last)

  def collect(self) -> list[Result]:
    """Results of the round just dispatched; waits only if a leg ends in it.

    A member whose training loss is not finite is culled one round later, so
    that nothing has to wait for it.
    """
    this, self._now = self._now, {}
    dead = self._dead()
    if any(turn.metrics for turn in this.values()):
      self._wait(this)
    self.last = this
    results = self._seats.infeasible()
    for id, turn in this.items():
      metrics = turn.read() if turn.metrics else {}
      table, species = self._seats.tables[id], self._catalogue.species[id]
      for slot, ends in zip(table, table.ending()):
        leg = slot.leg
        if leg and leg.member in dead:
          results.append(species.result(leg, slot.done + 1, None))
        elif ends:
          losses = {s: metrics[leg.member][s] for s in leg.splits}
          results.append(species.result(leg, slot.done + 1, losses))
    # By id, so that a record does not tell which slots the members were in.
    return sorted(results, key=lambda result: result.leg.member)

  def resume(self, id: int, legs: list[Leg | None], dead: list[int]) -> None:
    """Takes a species' last turn from a checkpoint.

    Args:
      id: of the species.
      legs: in its slots.
      dead: members whose training loss was not finite.
    """
    losses = [np.nan if x and x.member in dead else 0.0 for x in legs]
    self.last[id] = turn_lib.Turn(legs, np.array(losses), {})

  def _dispatch(self, id: int) -> None:
    """One species' turn."""
    population, table = self._populations[id], self._seats.tables[id]
    if self._catalogue.species[id].refusal or not any(table.legs):
      return
    with _failing(id):
      slots = self._arrays(id, table.legs)
      self._heirs.fill(id, slots)
      begin = time.monotonic()
      losses = population.segment(slots)
      metrics = self._evaluate(id)
    self._now[id] = turn_lib.Turn(table.legs, losses, metrics)
    self._stopwatch.start(self._now[id], begin)

  def _evaluate(self, id: int) -> dict[str, jax.Array]:
    """Scores of the legs that end, by split."""
    ending, metrics = self._seats.tables[id].ending(), {}
    for split in sorted({s for leg in ending if leg for s in leg.splits}):
      scored = [leg if leg and split in leg.splits else None for leg in ending]
      slots = self._arrays(id, scored)
      metrics[split] = self._populations[id].evaluate(slots, split)
    return metrics

  def _wait(self, turns: dict[int, turn_lib.Turn]) -> None:
    for id, turn in turns.items():
      with _failing(id):
        self._stopwatch.stop(turn)

  def _arrays(self, id: int, legs: list[Leg | None]) -> population_lib.Slots:
    baseline = self._space.hyperparameters(self._space.baseline)
    table, steps = self._seats.tables[id], self._catalogue.species[id].steps
    rows = [
      self._space.hyperparameters(leg.configuration) if leg else baseline
      for leg in legs
    ]
    return population_lib.Slots(
      hyperparameters={
        name: np.array([row[name] for row in rows], np.float32)
        for name in baseline
      },
      seed=np.array([leg.seed if leg else 0 for leg in legs], np.int32),
      step=np.array([slot.done * steps for slot in table], np.int32),
      active=np.array([leg is not None for leg in legs]),
    )

  def _dead(self) -> set[int]:
    """Members at work that were already lost in the round before."""
    self._wait(self.last)
    working = {leg.member: leg for leg in self._seats.legs}
    dead = set()
    for turn in self.last.values():
      legs = {leg.member: leg for leg in turn.legs if leg}
      dead |= {m for m in turn.dead() if working.get(m) is legs[m]}
    return dead


@contextlib.contextmanager
def _failing(id: int) -> Iterator[None]:
  """What the devices report within counts against a species."""
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    raise failure_lib.Failed(id, str(error)) from error
