"""Seats: which species are live, and what becomes of proposals without one.

Plain bookkeeping without arrays: a function of the legs and results so far, so
that a ledger can be replayed through it without a device.
"""

import dataclasses

from evo import member as member_lib
from evo import slots as slots_lib
from evo import space as space_lib
from evo import species as species_lib

Leg = member_lib.Leg
Result = member_lib.Result
Weights = member_lib.Weights


# Compiling has to stay small against training: beyond the first ones, a new
# species has to be paid for by so many members for each slot. On two cores a
# species compiles for about as long as two to three members train.
_MEMBERS_PER_SPECIES = 4


class Seats:
  """The live species and their tables of slots.

  Attributes:
    tables: of slots, by id of the live species, in order of id.
    species_of: id of the species of every member so far.
    leaving: ids of species that lost their seat since the last `start`.
  """

  def __init__(
    self,
    space: space_lib.Space,
    catalogue: species_lib.Catalogue,
    *,
    size: int,
    devices: int,
  ):
    """All seats are free.

    Args:
      space: of the configurations.
      catalogue: of structures; new ones are added to it.
      size: legs at work at once, and slots of each species.
      devices: over which slots are spread.
    """
    self._space, self._catalogue = space, catalogue
    self._size, self._devices = size, devices
    self.tables: dict[int, slots_lib.Table] = {}
    self.species_of: dict[int, int] = {}
    self.leaving: list[int] = []
    self._configurations: dict[int, member_lib.Configuration] = {}
    self._refused: list[Leg] = []
    self._used: dict[int, int] = {}  # Round of the last leg, by species.
    self._round = 0

  @property
  def legs(self) -> list[Leg]:
    """At work, those of refused structures among them."""
    busy = [leg for table in self.tables.values() for leg in table.legs if leg]
    return busy + self._refused

  def free(self) -> int:
    """Legs that may start."""
    return self._size - len(self.legs)

  def species(self, leg: Leg) -> species_lib.Species:
    """Of a leg that was admitted."""
    return self._catalogue.species[self.species_of[leg.member]]

  def admit(
    self, legs: list[Leg], *, limit: int, repair: bool = True
  ) -> list[Leg]:
    """Finds a species for each leg, in order; returns them as they will run.

    A live species takes in whatever has its structure. A new one takes a free
    seat, or that of the species that has been without work for longest, and
    may do so `limit` times and once more for every `4 * size` members. A leg
    that finds no seat gets the structure of the live species nearest to its
    own; where that leaves a copy of its parent's configuration, it is mutated
    once more. A member that goes on always finds its species.

    Args:
      legs: asked, at most `free()`.
      limit: seats.
      repair: False admits every structure, whatever the limit: a confirmation
        must train what it confirms.
    """
    needed = {self._origin(leg) for leg in legs if leg.source}
    admitted = []
    for leg in legs:
      if not leg.goes_on:
        leg = self._place(leg, needed, limit, repair)
      species = self._catalogue.add(self._space.structure(leg.configuration))
      self.species_of[leg.member] = species.id
      self._configurations[leg.member] = leg.configuration
      if not species.refusal:
        self._seat(species.id, needed, limit)
      needed.add(species.id)
      admitted.append(leg)
    self.tables = dict(sorted(self.tables.items()))
    return admitted

  def start(self, legs: list[Leg]) -> dict[int, slots_lib.Filling]:
    """Puts admitted legs into slots; returns what to fill, by species."""
    groups: dict[int, list[Leg]] = {}
    for leg in legs:
      if self.species(leg).refusal:
        self._refused.append(leg)
      else:
        groups.setdefault(self.species_of[leg.member], []).append(leg)
    return {
      id: self.tables[id].start(group, self._load_beside(id))
      for id, group in sorted(groups.items())
    }

  def refuse(self, id: int, reason: str) -> None:
    """Marks a live species as infeasible; its legs end with this round."""
    self._catalogue.refuse(self._catalogue.species[id], reason)

  def infeasible(self) -> list[Result]:
    """Results of the legs at work whose structure is infeasible.

    Charged are the segments that they trained before it turned out.
    """
    results = [
      Result(leg, member_lib.INFEASIBLE, {}, stop=leg.start)
      for leg in self._refused
    ]
    for id, table in self.tables.items():
      species = self._catalogue.species[id]
      if species.refusal:
        results += [species.lost(slot.leg, slot.done) for slot in table.busy]
    return results

  def settle(self, results: list[Result]) -> None:
    """Advances all legs by one segment and frees the slots of `results`."""
    for id, table in self.tables.items():
      if any(table.legs):
        self._used[id] = self._round
      table.settle(results)
    self._refused = []
    for result in results:
      if result.status == member_lib.INFEASIBLE:
        species = self.species(result.leg)
        if not species.refusal:  # Known from the ledger.
          self.refuse(species.id, 'did not fit before')
        if self.tables.pop(species.id, None):
          self.leaving.append(species.id)
    self._round += 1

  def find(self, weights: Weights) -> tuple[int, int] | None:
    """(species, slot) that holds a state; None if no slot does."""
    for id, table in self.tables.items():
      if weights in table.held:
        return id, table.held[weights]
    return None

  def _load_beside(self, id: int) -> list[int]:
    """Legs of the other species at work on each device."""
    loads = [t.load for other, t in self.tables.items() if other != id]
    return [sum(load) for load in zip(*loads)] if loads else []

  def _origin(self, leg: Leg) -> int:
    return self.species_of[leg.source[0]]

  def _place(self, leg: Leg, needed: set[int], limit: int, repair: bool) -> Leg:
    """The leg as it can be run: its own structure, or the nearest live one."""
    structure = self._space.structure(leg.configuration)
    known = self._catalogue.find(structure)
    if (known and (known.refusal or known.id in self.tables)) or not repair:
      return leg
    room = len(self.tables) < limit or self._idle(needed) is not None
    compiled = sum(s.steps > 0 for s in self._catalogue.species)
    paid = len(self.species_of) // (_MEMBERS_PER_SPECIES * self._size)
    affordable = compiled < limit + paid
    if not self.tables or (room and (known or affordable)):
      return leg
    return self._repaired(leg)

  def _repaired(self, leg: Leg) -> Leg:
    live = [self._catalogue.species[id].structure for id in self.tables]
    nearest = self._space.nearest(leg.configuration, live)
    changed = self._space.with_structure(leg.configuration, nearest)
    if leg.source:
      lineage = self._configurations[leg.source[0]]
      changed = self._space.with_start(changed, lineage)
    parent = self._configurations.get(leg.parent)
    if parent is not None and changed == self._space.canonical(parent):
      rng = member_lib.generator(leg.seed, 'repair', leg.member)
      space = self._space.traced()
      space = space.continued() if leg.source else space
      changed = space.mutate(changed, rng)
    return dataclasses.replace(leg, configuration=changed)

  def _seat(self, id: int, needed: set[int], limit: int) -> None:
    if id in self.tables:
      return
    if len(self.tables) >= limit:
      idle = self._idle(needed)
      if idle is not None:
        del self.tables[idle]
        self.leaving.append(idle)
    self.tables[id] = slots_lib.Table(self._size, self._devices)

  def _idle(self, needed: set[int]) -> int | None:
    """The live species that has been without work for longest, if any."""
    idle = [
      id
      for id, table in self.tables.items()
      if id not in needed and not any(table.legs)
    ]
    return min(idle, key=lambda id: (self._used.get(id, -1), id), default=None)
