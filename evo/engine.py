"""The engine: runs legs on one mesh and returns their results.

Species take turns on the whole mesh, one segment each in a round. Slots are
refilled when their leg ends, like continuous batching. Seats and tables of
slots are plain bookkeeping, so a ledger can be replayed through them without a
device; the arrays follow from a checkpoint.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from etils import epath

from evo import checkpoint as checkpoint_lib
from evo import failure as failure_lib
from evo import heirs as heirs_lib
from evo import hosts as hosts_lib
from evo import inheritance
from evo import kept as kept_lib
from evo import member as member_lib
from evo import mesh as mesh_lib
from evo import populations as populations_lib
from evo import program as program_lib
from evo import rounds as rounds_lib
from evo import seats as seats_lib
from evo import slots as slots_lib
from evo import space as space_lib
from evo import species as species_lib
from evo import trainee as trainee_lib

Budget = species_lib.Budget
Leg = member_lib.Leg
Result = member_lib.Result
Weights = member_lib.Weights


# Structures that are looked at one by one before a search.
_FEW = 64


class Engine:
  """Runs legs in the slots of the live species.

  Attributes:
    budget: of one member.
    size: legs at work at once.
    max_species: live at once.
    hosts: of the run.
    mesh: over which the slots lie.
    catalogue: of the structures seen.
    seats: which species are live, and whose legs are in which slots.
    checkpoints: of kept members and of all slots.
    kept: states of members.
    rounds: on the devices.
    meter: where the time went.
  """

  def __init__(
    self,
    trainee: trainee_lib.Trainee,
    space: space_lib.Space,
    budget: Budget,
    workdir: epath.PathLike,
    *,
    slots: int,
    mesh: jax.sharding.Mesh | None = None,
    mapped: bool = True,
    crossing: inheritance.Crossing | None = None,
    max_species: int = 4,
    memory: float | None = None,
    library: populations_lib.Library | None = None,
    hosts: hosts_lib.Hosts | None = None,
  ):
    """Puts the data on the devices; compiles and writes nothing yet.

    Args:
      trainee: what a member is.
      space: of its configurations.
      budget: of one member.
      workdir: checkpoints go to a folder in it.
      slots: legs at work at once; each species has as many slots.
      mesh: from `mesh.make`; by default as many devices as divide
        the slots.
      mapped: run a device's members one after another instead of vmapped.
      crossing: how a state passes to another structure; without it nothing
        does.
      max_species: live at once.
      memory: bytes of each device that may be used; by default what the
        device says it has, or its share of the machine's memory.
      library: compiled programs to share with other engines of the same
        trainee, budget, slots and mesh.
      hosts: of the run; all of them hold this engine, over one mesh.

    Raises:
      ValueError: the budget is too small for one step per segment, or the
        slots do not divide over the mesh.
    """
    self.budget, self.size = budget, slots
    self.hosts = hosts or hosts_lib.Hosts()
    self.meter = program_lib.Meter()
    self._trainee, self._space = trainee, space
    self.checkpoints = checkpoint_lib.Checkpoints(
      epath.Path(workdir) / 'checkpoints', hosts=self.hosts
    )
    self.mesh = mesh or mesh_lib.make(mesh_lib.of_members(slots))
    baseline = space.structure(space.baseline)
    varied = any(space.by_name[name].structural for name in space.free)
    self.catalogue = species_lib.Catalogue(
      trainee, budget, baseline, space.structures(most=_FEW)
    )
    self.max_species = max_species if varied else 1
    self.seats = seats_lib.Seats(
      space,
      self.catalogue,
      size=slots,
      devices=self.mesh.shape['member'],
    )
    self._populations = populations_lib.Populations(
      trainee,
      self.catalogue,
      tuple(space.hyperparameters(space.baseline)),
      slots=slots,
      segments=budget.segments,
      mesh=self.mesh,
      mapped=mapped,
      meter=self.meter,
      memory=memory,
      library={} if library is None else library,
      hosts=self.hosts,
    )
    self.kept = kept_lib.Kept(
      trainee, space, self.seats, self._populations, self.checkpoints
    )
    self._heirs = heirs_lib.Heirs(
      self.catalogue,
      self.seats,
      self._populations,
      crossing,
      self.kept.restore,
    )
    self.rounds = rounds_lib.Rounds(
      space,
      self.catalogue,
      self.seats,
      self._populations,
      self._heirs,
      self.meter,
    )

  @property
  def cost(self) -> trainee_lib.Cost:
    """Of a member of the baseline."""
    return self.catalogue.baseline.cost

  @property
  def steps(self) -> int:
    """Of training a member of the baseline for one segment."""
    return self.catalogue.baseline.steps

  @property
  def member_flops(self) -> float:
    """Charge of one whole member of the baseline, one evaluation included."""
    baseline = self.catalogue.baseline
    training = self.budget.segments * baseline.segment_flops
    return training + baseline.evaluation_flops

  @property
  def splits(self) -> tuple[str, ...]:
    """Splits that can be scored."""
    return tuple(name for name in self._trainee.data if name != 'train')

  @property
  def state_bytes(self) -> int:
    """Of the slots of as many species as may be live, if like the baseline."""
    return self.max_species * self._populations.baseline.total_bytes

  @property
  def split(self) -> dict[str, int]:
    """Axes that a member is split over; empty where it has one device."""
    return {
      axis: size
      for axis, size in self.mesh.shape.items()
      if axis != 'member' and size > 1
    }

  @property
  def legs(self) -> list[Leg]:
    """At work."""
    return self.seats.legs

  def free(self) -> int:
    """Legs that may start."""
    return self.seats.free()

  def idle(self) -> bool:
    """Whether no leg is at work."""
    return not self.seats.legs

  def work(self) -> tuple[float, int]:
    """FLOPs and tokens of training in the next segment."""
    species = [self.seats.species(leg) for leg in self.seats.legs]
    flops = sum(s.segment_flops for s in species if not s.refusal)
    return flops, sum(s.segment_tokens for s in species if not s.refusal)

  @property
  def in_flight(self) -> float:
    """FLOPs of training behind legs that are still at work."""
    return sum(
      (slot.done - slot.leg.start) * self.catalogue.species[id].segment_flops
      for id, table in self.seats.tables.items()
      for slot in table
      if slot.leg
    )

  def facts(self, leg: Leg) -> dict[str, Any]:
    """What the ledger says beside a leg; `inherited` is a share of weights."""
    share = self._heirs.share(leg) if leg.inherits else None
    return self.seats.species(leg).facts() | {'inherited': share}

  def start(self, legs: list[Leg], *, replay: bool = False) -> None:
    """Puts admitted legs into slots, with the weights that they name.

    Args:
      legs: at most `free()`.
      replay: keep the tables only; the arrays come from a checkpoint.
    """
    if replay:
      self.seats.start(legs)
    else:
      self._heirs.start(legs)
    for id in self.seats.leaving:
      self._populations.release(id)
    self.seats.leaving.clear()

  def settle(self, results: list[Result], *, replay: bool = False) -> None:
    """Advances all legs by one segment and frees the slots of `results`."""
    self.seats.settle(results)
    for result in results:
      if result.leg.keep and result.ok and not replay:
        self.kept.save((result.leg.member, result.stop))

  def release(self) -> None:
    """Gives the memory of all slots back."""
    for id in self.seats.tables:
      self._populations.release(id)

  def save(self, name: str, note: Callable[[], dict[str, Any]] = dict) -> None:
    """Saves all slots, whose they are, and who died in the last round.

    Args:
      name: of the checkpoint.
      note: gives what its note says beside that, once all before is written.
    """
    turns = list(self.rounds.last.values())
    states = {id: table.states for id, table in self.seats.tables.items()}

    def whole_note() -> dict[str, Any]:
      dead = set().union(*(turn.dead() for turn in turns))
      return note() | {'dead': sorted(dead), 'states': states}

    tree = self._populations.snapshot(list(self.seats.tables))
    self.checkpoints.save(name, tree, whole_note)

  def restore(self, name: str) -> None:
    """Reads all slots back; the tables must have been replayed up to there."""
    live = list(self.seats.tables)
    abstract = self._populations.abstract(live)
    states = self.checkpoints.restore(name, abstract)
    self._populations.restore(states, live)
    note = self.checkpoints.note(name)
    for id, table in self.seats.tables.items():
      rows = self._reseat(name, table, note['states'].get(str(id), []))
      if rows != list(range(len(rows))):
        self._populations[id].inherit(np.array(rows))
      self.rounds.resume(id, table.legs, note['dead'])

  def _reseat(
    self, name: str, table: slots_lib.Table, saved: list[Weights | None]
  ) -> list[int]:
    """Where the states of a table lie in a checkpoint."""
    try:
      return table.reseat(saved)
    except ValueError as error:
      raise failure_lib.Differs(f'checkpoint {name}: {error}') from error
