"""The table of slots: which leg is where, and whose state is held.

Plain bookkeeping without arrays, so that a ledger can be replayed through it
without a device.
"""

import dataclasses
from collections.abc import Sequence

from evo import member as member_lib

Leg = member_lib.Leg
Weights = member_lib.Weights


@dataclasses.dataclass
class Slot:
  """One slot.

  Attributes:
    leg: at work here, or None.
    done: segments behind the lineage of the state held here.
    holds: (member, segment) whose state is held here while no leg is.
  """

  leg: Leg | None = None
  done: int = 0
  holds: Weights | None = None


@dataclasses.dataclass
class Filling:
  """How slots come by the states that new legs start from.

  Attributes:
    moves: by slot, the slot whose state is copied here; its own if none is.
    fresh: slots to initialise.
    restored: by slot, a kept state to read back.
  """

  moves: list[int]
  fresh: list[int]
  restored: dict[int, Weights]

  @property
  def moved(self) -> bool:
    """Whether any state is copied between slots."""
    return self.moves != list(range(len(self.moves)))

  def any(self) -> bool:
    """Whether there is anything to do."""
    return bool(self.moved or self.fresh or self.restored)


class Table:
  """The slots of a population, spread evenly over devices."""

  def __init__(self, size: int, devices: int):
    self._slots = [Slot() for _ in range(size)]
    self._rows = size // devices
    self._others: Sequence[int] = [0] * devices

  def __len__(self) -> int:
    return len(self._slots)

  def __getitem__(self, i: int) -> Slot:
    return self._slots[i]

  @property
  def legs(self) -> list[Leg | None]:
    """At work in each slot."""
    return [slot.leg for slot in self._slots]

  @property
  def busy(self) -> list[Slot]:
    """Slots with a leg."""
    return [slot for slot in self._slots if slot.leg]

  def free(self) -> int:
    """Slots without a leg."""
    return self.legs.count(None)

  @property
  def held(self) -> dict[Weights, int]:
    """The slot of each state that is held while no leg is at work there."""
    return {slot.holds: i for i, slot in enumerate(self._slots) if slot.holds}

  @property
  def states(self) -> list[Weights | None]:
    """(member, segment) of the state in each slot, at work or held."""
    return [
      (slot.leg.member, slot.done) if slot.leg else slot.holds
      for slot in self._slots
    ]

  def reseat(self, saved: Sequence[Sequence[int] | None]) -> list[int]:
    """Where the states of these slots lie among saved ones.

    Slots are given out by how busy their devices are, so a table for another
    number of devices has the same legs elsewhere, and other states held for as
    long as nobody needs their place. Held states that were not saved are
    forgotten: who needs one that is not held reads it from storage.

    Args:
      saved: `states` of a table for some number of devices, at the same time.

    Returns:
      A saved slot for each slot.

    Raises:
      ValueError: the state of a leg at work was not saved.
    """
    place = {tuple(state): i for i, state in enumerate(saved) if state}
    rows = []
    for i, (slot, state) in enumerate(zip(self._slots, self.states)):
      if state not in place and slot.leg:
        raise ValueError(
          f'member {slot.leg.member} is not among those saved; expected a'
          ' checkpoint of the same run'
        )
      slot.holds = slot.holds if state in place else None
      rows.append(place.get(state, i))
    return rows

  @property
  def load(self) -> list[int]:
    """Legs at work on each device."""
    busy = [leg is not None for leg in self.legs]
    rows = self._rows
    return [sum(busy[d : d + rows]) for d in range(0, len(busy), rows)]

  def start(
    self, legs: list[Leg], others: Sequence[int] | None = None
  ) -> Filling:
    """Puts legs into free slots; all states are read before any is written.

    Args:
      legs: as many as there are free slots, at most.
      others: legs of other species at work on each device: devices run them
        too, so that the least busy one is the least busy with all.
    """
    self._others = others or [0] * len(self.load)
    held = self.held
    filling = Filling(list(range(len(self))), [], {})
    for leg, place in zip(legs, self._places(legs, held), strict=True):
      if leg.source is None:
        filling.fresh.append(place)
      elif leg.source in held:
        filling.moves[place] = held[leg.source]
      else:
        filling.restored[place] = leg.source
      self._slots[place] = Slot(leg=leg, done=leg.start)
    return filling

  def ending(self) -> list[Leg | None]:
    """Legs that the next segment brings to their end, by slot."""
    return [
      slot.leg if slot.leg and slot.done + 1 == slot.leg.stop else None
      for slot in self._slots
    ]

  def settle(self, results: list[member_lib.Result]) -> None:
    """Advances all legs by one segment and frees the slots of `results`."""
    ended = {result.leg.member: result for result in results}
    for i, slot in enumerate(self._slots):
      if slot.leg is None:
        continue
      result = ended.get(slot.leg.member)
      if result is None:
        slot.done += 1
      else:
        holds = (slot.leg.member, result.stop) if result.ok else None
        self._slots[i] = Slot(done=result.stop, holds=holds)

  def _places(self, legs: list[Leg], held: dict[Weights, int]) -> list[int]:
    """A free slot for each leg; a member that goes on stays where it is."""
    places = {
      leg.member: held[leg.source]
      for leg in legs
      if leg.goes_on and leg.source in held
    }
    taken = set(places.values())
    for leg in legs:
      if leg.member not in places:
        places[leg.member] = self._least_busy(taken)
        taken.add(places[leg.member])
    return [places[leg.member] for leg in legs]

  def _least_busy(self, taken: set[int]) -> int:
    """A free slot of the device with the fewest members at work."""
    rows = self._rows
    busy = [leg is not None or i in taken for i, leg in enumerate(self.legs)]
    load = [
      sum(busy[d * rows : (d + 1) * rows]) + other
      for d, other in enumerate(self._others)
    ]
    free = (i for i, at_work in enumerate(busy) if not at_work)
    return min(free, key=lambda i: (load[i // rows], i))
