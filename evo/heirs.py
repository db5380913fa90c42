"""Heirs: how the slots of new legs come by the states that they begin with.

A state is initialised, copied from another slot, read back from storage, or
mapped from another species by way of the host.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from evo import inheritance
from evo import member as member_lib
from evo import population as population_lib
from evo import populations as populations_lib
from evo import seats as seats_lib
from evo import slots as slots_lib
from evo import species as species_lib

Leg = member_lib.Leg
PyTree = Any


class Heirs:
  """Fills the slots of legs that start."""

  def __init__(
    self,
    catalogue: species_lib.Catalogue,
    seats: seats_lib.Seats,
    populations: populations_lib.Populations,
    crossing: inheritance.Crossing | None,
    restore: Callable[[member_lib.Weights], PyTree],
  ):
    """Sets up.

    Args:
      catalogue: of the species.
      seats: of the legs.
      populations: of the live species.
      crossing: how a state passes to another structure; without it nothing
        does.
      restore: reads a kept state to the host.
    """
    self._catalogue, self._seats = catalogue, seats
    self._populations, self._crossing = populations, crossing
    self._restore = restore
    self._filling: dict[int, slots_lib.Filling] = {}
    self._foreign: dict[int, PyTree] = {}  # Rows of other species, by member.

  def start(self, legs: list[Leg]) -> None:
    """Gives admitted legs slots, and reads what they take from other species.

    Args:
      legs: that start.
    """
    # Read before any slot is filled.
    self._foreign = {leg.member: self._read(leg) for leg in legs}
    self._filling = self._seats.start(legs)

  def fill(self, id: int, slots: population_lib.Slots) -> None:
    """Gives the slots of a species' new legs their states.

    Args:
      id: of the species.
      slots: of its population, the new legs in theirs.
    """
    population, table = self._populations[id], self._seats.tables[id]
    population.allocate()
    filling = self._filling.pop(id, None)
    if not filling or not filling.any():
      return
    if filling.moved:
      population.inherit(np.array(filling.moves))
    # None of a species that was retired, whose states are lost.
    legs = {place: table[place].leg for place in filling.restored}
    lost = {p for p, leg in legs.items() if self._origin(leg).refusal}
    foreign = {
      place: self._foreign[leg.member]
      for place, leg in legs.items()
      if self._foreign[leg.member] is not None
    }
    begun = [*filling.fresh, *foreign, *lost]
    fresh = np.isin(np.arange(len(table)), begun)
    if fresh.any():
      population.refill(slots, fresh)
    for place in sorted(filling.restored.keys() - lost):
      row = foreign.get(place)
      if row is None:
        row = self._restore(filling.restored[place])
      else:
        fresh_row = self._populations.row(id, place)
        row = self._cross(legs[place], row, fresh_row)
      population.place(place, row)
    # Waiting here keeps the filling of slots out of the training time.
    jax.block_until_ready(population.state)

  def forget(self) -> None:
    """Lets go of what was read for the legs that have started."""
    self._filling, self._foreign = {}, {}

  def share(self, leg: Leg) -> float:
    """Share of a leg's weights that it takes from its source, in [0, 1]."""
    old, new = self._origin(leg), self._seats.species(leg)
    if old == new:
      return 1.0
    if self._crossing is None or old.refusal or new.refusal:
      return 0.0
    return self._crossing.share(old.structure, new.structure)

  def _read(self, leg: Leg) -> PyTree | None:
    """The state that a leg takes over from another species, on the host."""
    if leg.source is None or self._origin(leg) == self._seats.species(leg):
      return None
    if self._seats.species(leg).refusal or self._origin(leg).refusal:
      return None
    held = self._seats.find(leg.source)
    if held is None:
      return self._restore(leg.source)
    return self._populations.row(*held)

  def _cross(self, leg: Leg, row: PyTree, fresh: PyTree) -> PyTree:
    """A state of another species as this leg's species takes it over."""
    if self._crossing is None:
      return fresh
    old, new = self._origin(leg), self._seats.species(leg)
    return self._crossing.inherit(old.structure, new.structure, row, fresh)

  def _origin(self, leg: Leg) -> species_lib.Species:
    """The species that a leg's weights come from."""
    return self._catalogue.species[self._seats.species_of[leg.source[0]]]
