"""The populations of the live species: one memory, compiled side by side."""

import contextlib
import gc
import os
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import jax
import numpy as np

from evo import hosts as hosts_lib
from evo import mesh as mesh_lib
from evo import placement
from evo import population as population_lib
from evo import program as program_lib
from evo import species as species_lib
from evo import trainee as trainee_lib

PyTree = Any
Population = population_lib.Population


Library = dict[trainee_lib.Structure, Population]


class Populations:
  """Populations by the id of their species, made when first asked for.

  Those of species that leave give their arrays back and keep their programs.

  Attributes:
    baseline: that of the baseline's structure.
  """

  def __init__(
    self,
    trainee: trainee_lib.Trainee,
    catalogue: species_lib.Catalogue,
    names: tuple[str, ...],
    *,
    slots: int,
    segments: int,
    mesh: jax.sharding.Mesh,
    mapped: bool,
    meter: program_lib.Meter,
    memory: float | None,
    library: Library,
    hosts: hosts_lib.Hosts,
  ):
    """Puts the data on the devices.

    Args:
      trainee: what a member is.
      catalogue: of structures.
      names: of the hyperparameters.
      slots: of each population.
      segments: of a member's budget.
      mesh: from `mesh.make`.
      mapped: run a device's members one after another instead of vmapped.
      meter: counts compilations and their seconds.
      memory: bytes of each device that may be used; None is what the device
        says it has, or its share of the machine's memory.
      library: populations made before, by structure; new ones are added.
      hosts: of the run.
    """
    self._trainee, self._catalogue, self._names = trainee, catalogue, names
    self._slots, self._segments = slots, segments
    self._mesh, self._mapped, self._meter = mesh, mapped, meter
    # What is refused must not depend on which host looks.
    self._hosts = hosts
    self._memory = memory or hosts.agree(device_memory())
    self._data = placement.put(
      trainee.data, jax.NamedSharding(mesh, mesh_lib.SHARED)
    )
    self._library = library
    # Live species that were found to fit beside each other.
    self._admitted: set[int] = set()
    self.baseline = self._population(catalogue.baseline)

  def __getitem__(self, id: int) -> Population:
    return self._population(self._catalogue.species[id])

  def release(self, id: int) -> None:
    """Gives the arrays of a species back."""
    self._admitted.discard(id)
    self[id].release()

  def compile(self, live: list[int]) -> dict[int, str]:
    """Compiles what is new among the live species, side by side.

    What fits does not depend on what is allocated by now, so that a run that
    goes on refuses what it refused before.

    Returns:
      Why, by species, those that do not fit beside the others are refused.
    """
    species = self._catalogue.species
    waiting = [
      id
      for id in live
      if not species[id].refusal
      and not (self[id].compiled and id in self._admitted)
    ]
    if not waiting:
      return {}
    begin = time.monotonic()
    with _no_collection(), futures.ThreadPoolExecutor() as pool:
      failures = list(pool.map(self._compile, waiting))
    self._meter.compiling += time.monotonic() - begin
    # What is refused must not depend on which host it failed on.
    reasons = {}
    for id, failure in zip(waiting, failures):
      reason = self._hosts.any(failure)
      if not reason and id not in self._admitted:
        reason = self._refusal(id)
      if reason:
        reasons[id] = reason
      else:
        self._admitted.add(id)
    return reasons

  def row(self, id: int, slot: int) -> PyTree:
    """The state of one slot, on the host."""
    return host_row(self[id].take(slot))

  def snapshot(self, live: list[int]) -> PyTree:
    """Copies of all slots that later segments leave alone; does not wait."""
    return {f'species-{id}': self[id].snapshot() for id in live}

  def abstract(self, live: list[int]) -> PyTree:
    """Shapes, dtypes and shardings of a snapshot."""
    return {f'species-{id}': self[id].abstract_state() for id in live}

  def restore(self, snapshot: PyTree, live: list[int]) -> None:
    """Puts a snapshot back in place."""
    for id in live:
      self[id].state = snapshot[f'species-{id}']
    self._admitted |= set(live)

  def _compile(self, id: int) -> str | None:
    """Compiles a species; says why if it fails twice.

    Whatever the trainee or the compiler raises counts against the structure,
    unless it is the baseline's.
    """
    for attempt in range(2):
      try:
        self[id].compile(('search',))
        return None
      except Exception as error:
        if attempt and self._catalogue.is_baseline(id):
          raise
        reason = f'it cannot be compiled: {error}'
    return reason

  def _population(self, species: species_lib.Species) -> Population:
    if species.structure not in self._library:
      self._library[species.structure] = self._make(species)
    return self._library[species.structure]

  def _make(self, species: species_lib.Species) -> Population:
    return Population(
      self._trainee,
      species.structure,
      self._names,
      slots=self._slots,
      steps=species.steps,
      total_steps=species.steps * self._segments,
      mesh=self._mesh,
      data=self._data,
      mapped=self._mapped,
      meter=self._meter,
    )

  def _refusal(self, id: int) -> str | None:
    """Why a species does not fit beside those that were admitted, if so."""
    together = [self[id]]
    together += [self[each] for each in self._admitted if self[each].compiled]
    states = sum(each.state_bytes for each in together)
    # Each has its turn, while the others' states stay.
    need = max(states + each.peak_bytes - each.state_bytes for each in together)
    if need <= self._memory:
      return None
    most = f'expected at most {self._memory:.3g}'
    return f'needs {need:.3g} bytes of memory; {most}'


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
  """Tracing makes many objects that stay: walking them is a quarter of it."""
  enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if enabled:
      gc.enable()


def host_row(rows: PyTree) -> PyTree:
  """The one row of arrays `[1, ...]`, on every host; all of them ask for it."""

  def fetch(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array):
      # One by one: a device may have no room for a whole member.
      leaf = placement.readable(leaf)
    return np.asarray(leaf)[0]

  return jax.tree.map(fetch, rows)


def device_memory() -> float:
  """Bytes that each device has; CPU devices share the machine's memory."""
  stats = jax.local_devices()[0].memory_stats()
  if stats:
    return float(stats['bytes_limit'])
  pages, size = os.sysconf('SC_PHYS_PAGES'), os.sysconf('SC_PAGE_SIZE')
  return float(pages * size) / jax.local_device_count()
