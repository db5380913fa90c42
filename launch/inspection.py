"""A species' programs, compiled for chips that need not be there."""

import dataclasses
import time
from collections.abc import Callable
from concurrent import futures

import jax

from evo import collectives, estimate, hlo
from evo import population as population_lib
from evo import program as program_lib
from evo import species as species_lib
from launch import topology as topology_lib
from models import kernels

# What a search runs: training, its evaluation, and how slots begin.
PROGRAMS = ('segment', 'search', 'refill', 'inherit')

Report = Callable[[str, float], None]


class _NoRoom(Exception):
  """The compiler has no room for a program; it says for which, and why."""


@dataclasses.dataclass(frozen=True)
class Compiled:
  """One program.

  Attributes:
    memory: that a call takes on each chip.
    time: of a call.
    collectives: in a call.
    seconds: that it took to compile.
  """

  memory: program_lib.Memory
  time: estimate.Time
  collectives: list[collectives.Collective]
  seconds: float


@dataclasses.dataclass(frozen=True)
class Inspection:
  """A species.

  Attributes:
    species: what is inspected.
    slots: for which its programs were compiled.
    programs: by name; empty where the compiler has no room for them.
    refusal: why they were not compiled for the whole population, or None.
  """

  species: species_lib.Species
  slots: int
  programs: dict[str, Compiled]
  refusal: str | None

  @property
  def state(self) -> int:
    """Bytes of the slots on each chip, as they lie in its memory."""
    return self.programs['inherit'].memory.arguments

  @property
  def seconds(self) -> float:
    """That all compiling took, one program after another."""
    return sum(program.seconds for program in self.programs.values())


def inspect(
  species: species_lib.Species,
  make: Callable[[int], population_lib.Population],
  slots: int,
  topology: topology_lib.Topology,
  mesh: jax.sharding.Mesh,
  report: Report,
) -> Inspection:
  """Compiles the programs of a species.

  Where there is no room for all slots, those of one slot for each place along
  `member` are tried, which tells how many there is room for.

  Args:
    species: to inspect.
    make: its population of so many slots, over `mesh`.
    slots: of the run.
    topology: of the mesh.
    mesh: over which the slots lie.
    report: is told the name of each program, and seconds, once compiled.
  """
  refusal = None
  for size in dict.fromkeys((slots, mesh.shape['member'])):
    try:
      programs = _compile(make(size), topology, mesh, report)
    except _NoRoom as error:
      refusal = refusal or str(error)
    else:
      return Inspection(species, size, programs, refusal)
  return Inspection(species, 0, {}, refusal)


def _compile(
  population: population_lib.Population,
  topology: topology_lib.Topology,
  mesh: jax.sharding.Mesh,
  report: Report,
) -> dict[str, Compiled]:
  """The programs of a population, side by side."""
  # Each slice has a program of its own.
  sizes = dict(mesh.shape) | {'member': mesh.shape['member'] // topology.slices}
  rings = topology.rings(mesh)

  def compiled(name: str) -> Compiled:
    begin = time.monotonic()
    try:
      program = population.program(name)
    except jax.errors.JaxRuntimeError as error:
      raise _NoRoom(f'{name}: {_refusal(error)}') from error
    seconds = time.monotonic() - begin
    module = hlo.Module(program.text())
    found = collectives.find(module, sizes)
    taken = estimate.of_program(
      module, topology.chip, found, kernels.flops, rings
    )
    report(name, seconds)
    return Compiled(program.memory(), taken, found, seconds)

  with futures.ThreadPoolExecutor() as pool:
    return dict(zip(PROGRAMS, pool.map(compiled, PROGRAMS)))


def _refusal(error: jax.errors.JaxRuntimeError) -> str:
  """What the compiler says where a program has no room.

  Raises:
    jax.errors.JaxRuntimeError: it says something else.
  """
  kind, _, text = str(error).partition(': ')
  if kind != 'RESOURCE_EXHAUSTED':
    raise error
  return text.splitlines()[0]
