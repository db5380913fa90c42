"""The mesh: every device of a run, along four axes.

`member` divides the population; the other three divide each member, and how is
the trainee's matter. Sizes of 1 are kept, so that one program serves all.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils

Sizes = dict[str, int]

AXES = ('member', 'data', 'fsdp', 'tensor')
MEMBER = jax.P('member')
SHARED = jax.P()

# Of a device's memory, what states may take; the rest is for activations.
_STATES = 0.5
# Bytes that training holds per byte of state: gradients are as large as the
# weights, which are a third of it.
_TRAINING = 4 / 3


def make(
  sizes: Sizes, devices: Sequence[jax.Device] | None = None
) -> jax.sharding.Mesh:
  """A mesh over all four axes, in one place.

  The axes within a member belong to the compiler (`Auto`) as soon as one of
  them is used: a trainee is written for one device and says only where its
  arrays lie. `member` is explicit always.

  Args:
    sizes: of the axes; those not named are 1.
    devices: exactly as many; by default the first ones, as many of each host.

  Raises:
    ValueError: not every host would have as many of its devices, or the
      members do not divide over slices.
  """
  shape = tuple(sizes.get(axis, 1) for axis in AXES)
  explicit, auto = jax.sharding.AxisType.Explicit, jax.sharding.AxisType.Auto
  inner = auto if math.prod(shape[1:]) > 1 else explicit
  total, hosts = math.prod(shape), jax.process_count() if not devices else 1
  if total % hosts:
    raise ValueError(
      f'the mesh has {total} devices; expected a multiple of the {hosts} hosts'
    )
  if devices is None:
    devices = [
      device
      for host in range(hosts)
      for device in jax.local_devices(host)[: total // hosts]
    ]
  kinds = (explicit, inner, inner, inner)
  grid = _arranged(shape, devices)
  return jax.sharding.Mesh(grid, AXES, axis_types=kinds)


def of_members(slots: int) -> Sizes:
  """As many devices as divide a population, as many of each host.

  Raises:
    ValueError: the population does not divide over the hosts.
  """

  def fits(sizes: Sizes) -> bool:
    members = sizes['member']
    alone = members == math.prod(sizes.values())
    return alone and slots % members == 0 and members % hosts == 0

  hosts = jax.process_count()
  (sizes,) = _most_used(jax.device_count(), fits)
  return sizes


def splits_members(mesh: jax.sharding.Mesh) -> bool:
  """Whether a member has more than one device."""
  return mesh.size > mesh.shape['member']


def describe(sizes: Sizes) -> str:
  """As the flag says it, such as `member:8,data:2`."""
  used = [f'{a}:{sizes[a]}' for a in AXES if sizes.get(a, 1) > 1]
  return ','.join(used) or 'member:1'


def factorisations(devices: int) -> Iterator[Sizes]:
  """All meshes of exactly so many devices."""
  for member in _divisors(devices):
    for data in _divisors(devices // member):
      for fsdp in _divisors(devices // member // data):
        tensor = devices // member // data // fsdp
        yield dict(zip(AXES, (member, data, fsdp, tensor)))


def nearest(sizes: Sizes, devices: int, fits: Callable[[Sizes], bool]) -> Sizes:
  """What is most like a mesh that does not do.

  Args:
    sizes: of that mesh.
    devices: at hand; as many of them are used as can be.
    fits: whether a mesh would do.

  Raises:
    ValueError: none does.
  """

  def distance(other: Sizes) -> tuple[float, ...]:
    away = sum(abs(math.log(other[a] / sizes.get(a, 1))) for a in AXES)
    return round(away, 6), -other['member'], -other['data']

  return min(_most_used(devices, fits), key=distance)


def choose(
  devices: int,
  slots: int,
  state_bytes: float,
  memory: float,
  fits: Callable[[Sizes], bool],
) -> tuple[Sizes, str]:
  """A mesh for a population, and why this one.

  As many members side by side as can be: they do not talk to each other. What
  is left divides each member's batch, or its weights too (`fsdp`) where the
  states of a device's members would take more than half of its memory.

  Args:
    devices: at hand; as many of them are used as can be.
    slots: members of the population.
    state_bytes: of one member.
    memory: of one device, bytes.
    fits: whether a mesh would do.

  Raises:
    ValueError: none does.
  """
  found = _most_used(devices, lambda s: s['tensor'] == 1 and fits(s))
  need = slots * state_bytes * _TRAINING
  room = [
    s for s in found if need / s['member'] / s['fsdp'] <= memory * _STATES
  ]
  # Where no mesh has room for it, the one that comes closest.
  best = max(
    room or found,
    key=lambda s: (
      not room and s['member'] * s['fsdp'],
      s['member'],
      s['data'],
    ),
  )
  used = math.prod(best.values())
  share = '' if used == devices else f' of {devices}'
  why = f'{used}{share} devices for {slots} members'
  if best['data'] > 1:
    why += f', the batch of each over {best["data"]}'
  if best['fsdp'] > 1:
    why += (
      f', the {state_bytes / 1e9:.2g} GB of each over {best["fsdp"]} of'
      f' {memory / 1e9:.3g} GB'
    )
  return best, why


def _most_used(devices: int, fits: Callable[[Sizes], bool]) -> list[Sizes]:
  """The meshes that fit, of as many devices as there are any for."""
  for used in range(devices, 0, -1):
    if found := list(filter(fits, factorisations(used))):
      return found
  raise ValueError(
    f'no mesh of at most {devices} devices does; expected a population and a'
    ' batch that divide over the hosts'
  )


def _arranged(
  shape: tuple[int, ...], devices: Sequence[jax.Device]
) -> np.ndarray:
  """Devices of a mesh; neighbours in it are neighbours in the machine.

  Several slices of a TPU lie along `member`, for nothing else may go from one
  to another during training.
  """
  # Of a single slice for which is only compiled, devices do not say so.
  slices = len({getattr(device, 'slice_index', 0) for device in devices})
  members, *inner = shape
  if members % slices:
    raise ValueError(
      f'member is {members}; expected a multiple of the {slices} slices'
    )
  if slices > 1:
    return mesh_utils.create_hybrid_device_mesh(
      (members // slices, *inner),
      (slices, *(1 for _ in inner)),
      devices,
      allow_split_physical_axes=True,
    )
  return mesh_utils.create_device_mesh(
    shape, devices, allow_split_physical_axes=True
  )


def _divisors(n: int) -> list[int]:
  return [d for d in range(1, n + 1) if n % d == 0]
