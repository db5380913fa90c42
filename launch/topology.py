"""Topologies of TPUs, whose compiler runs on any x86-64 Linux machine.

A topology is named by its chips and how they are arranged, as in Google
Cloud's documentation (cloud.google.com/tpu/docs): `v5e:16x16`, `v5p:4x4x8`,
and several slices of one as `2xv5e:16x16`.
"""

import dataclasses
import importlib.util
import math
import os
import re

import jax
import numpy as np
from jax.experimental import topologies

from evo import chips
from evo import mesh as mesh_lib

_FLAT = ('1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
# Beyond a cube of 4x4x4 chips whole cubes are put together.
_SMALL = ('2x2x1', '2x2x2', '2x2x4', '2x4x4')
_CUBES = [
  (x, y, z)
  for x in range(4, 25, 4)
  for y in range(x, 25, 4)
  for z in range(y, 29, 4)
]
_MOST = {'v4': 4096, 'v5p': 8960}  # Chips.
# Lines of so many chips end where they begin: in slices of whole cubes all do,
# of flat ones the longest.
_CUBE, _LOOP = 4, 16
# What Google Cloud calls them, and what it counts: some by their cores.
_ACCELERATORS = {
  'v4': ('v4', 2),
  'v5e': ('v5litepod', 1),
  'v5p': ('v5p', 2),
  'v6e': ('v6e', 1),
}
_FORM = re.compile(r'(?:([1-9]\d*)x)?(v\w+):(\d+(?:x\d+)+)')


@dataclasses.dataclass(frozen=True)
class Topology:
  """Chips that a run may have.

  Attributes:
    chip: each of them.
    arrangement: of a slice, such as `16x16`.
    slices: how many of these.
  """

  chip: chips.Chip
  arrangement: str
  slices: int = 1

  @property
  def name(self) -> str:
    """As `parse` takes it."""
    times = f'{self.slices}x' if self.slices > 1 else ''
    return f'{times}{self.chip.name}:{self.arrangement}'

  @property
  def accelerator(self) -> str:
    """Google Cloud's name of the type of a slice."""
    name, counted = _ACCELERATORS[self.chip.name]
    return f'{name}-{counted * _count(self.arrangement)}'

  @property
  def chips(self) -> int:
    """All of them."""
    return _count(self.arrangement) * self.slices

  def mesh(self, sizes: mesh_lib.Sizes) -> jax.sharding.Mesh:
    """A mesh for which programs can be compiled, but not run.

    Args:
      sizes: of as many devices as there are chips; slices lie along `member`.
    """
    options = {'chip_config_name': self.chip.configuration}
    if self.arrangement == '1x1':
      options['chips_per_host_bounds'] = (1, 1, 1)
    if self.slices > 1:
      options['num_slices'] = self.slices
    devices = topologies.get_topology_desc(
      platform='tpu',
      topology_name=f'{self.chip.name}:{self.arrangement}',
      **options,
    ).devices
    return mesh_lib.make(sizes, devices)

  def rings(self, mesh: jax.sharding.Mesh) -> frozenset[str]:
    """Axes of a mesh whose chips a closed path of links joins, in any order.

    There data goes both ways at once (jax-ml.github.io/scaling-book/tpus).

    Args:
      mesh: as from `mesh`.
    """
    return frozenset(
      axis
      for i, (axis, size) in enumerate(mesh.shape.items())
      if all(
        self._is_ring([device.coords for device in line])
        for line in np.moveaxis(mesh.devices, i, 0).reshape(size, -1).T
      )
    )

  def _is_ring(self, places: list[tuple[int, ...]]) -> bool:
    """Whether a closed path of links goes once through all of these chips.

    They are all of a line whose ends are joined, or a block of an even number:
    there and back along neighbouring lines.
    """
    count = len(places)
    varied = [len(set(along)) for along in zip(*places)]
    spans = [max(along) - min(along) + 1 for along in zip(*places)]
    if not math.prod(varied) == math.prod(spans) == count:
      return False
    if sum(n > 1 for n in varied) > 1:
      return count % 2 == 0
    lengths = [int(n) for n in self.arrangement.split('x')]
    if self.chip.name in _MOST:
      closed = all(n % _CUBE == 0 for n in lengths)
    else:
      closed = count == _LOOP
    return closed and any(n == m == count for n, m in zip(varied, lengths))


def parse(text: str) -> Topology:
  """The topology of a name.

  Raises:
    ValueError: there is none of this name; it says which there are.
  """
  form = _FORM.fullmatch(text)
  if not form or form[2] not in chips.CHIPS:
    known = ', '.join(chips.CHIPS)
    raise ValueError(
      f'--topology={text}; expected chips ({known}) and their arrangement, such'
      ' as v5e:16x16, v5p:4x4x8 or 2xv5e:16x16'
    )
  slices, name, arrangement = int(form[1] or 1), form[2], form[3]
  known = _arrangements(name)
  if arrangement not in known:
    count = _count(arrangement)
    near = sorted(known, key=lambda a: abs(math.log(_count(a) / (count or 1))))
    raise ValueError(
      f'--topology={text}, of {count} chips; expected {name}:{near[0]}, of'
      f' {_count(near[0])}, or another one that exists, such as'
      f' {", ".join(near[1:4])}'
    )
  return Topology(chips.CHIPS[name], arrangement, slices)


def prepare_backend(topology: Topology) -> None:
  """Lets JAX compile for TPUs on a machine without one, before it starts.

  Args:
    topology: for which.

  Raises:
    ValueError: the compiler is not installed.
  """
  if importlib.util.find_spec('libtpu') is None:
    raise ValueError(
      "the TPU's compiler is not installed; expected pip install '.[tpu]', on"
      ' x86-64 Linux'
    )
  os.environ |= {
    # Else the library asks for the machine's own TPU.
    'TPU_SKIP_MDS_QUERY': '1',
    'TPU_WORKER_HOSTNAMES': 'localhost',
    'TPU_WORKER_ID': '0',
    'TPU_ACCELERATOR_TYPE': topology.accelerator,
    # Compilers need no chip, so they may run side by side.
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  }
  jax.config.update('jax_platforms', 'cpu')


def _arrangements(name: str) -> list[str]:
  """Those of a slice of these chips."""
  if name not in _MOST:
    return list(_FLAT)
  cubes = ['x'.join(map(str, c)) for c in _CUBES if math.prod(c) <= _MOST[name]]
  return [*_SMALL, *cubes]


def _count(arrangement: str) -> int:
  return math.prod(int(n) for n in arrangement.split('x'))
