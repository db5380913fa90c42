"""What the devices of a mesh tell each other in a compiled program.

Each collective names its groups of devices, by their place in the mesh; axes
along which the places of a group differ are those over which it goes. The
TPU's compiler hides some in fusions, together with what is computed meanwhile.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from evo import hlo

# What each device of a group of n sends, in sizes of the whole array.
_SENT = {
  'all-reduce': lambda n: 2 * (n - 1) / n,
  'all-gather': lambda n: (n - 1) / n,
  'reduce-scatter': lambda n: (n - 1) / n,
  'all-to-all': lambda n: (n - 1) / n,
  'ragged-all-to-all': lambda n: (n - 1) / n,
  'collective-broadcast': lambda n: 1,
  'collective-permute': lambda n: 1,
}
# Between slices a TPU's hosts carry the data, outside of any mesh axis.
BETWEEN_SLICES = 'slice'
# These groups are of replicas, of which there is one, unless they say so.
_OF_REPLICAS = ('all-reduce', 'all-gather', 'reduce-scatter')

_LISTED = re.compile(r'replica_groups=\{(\{[^=]*?\})\}')
_PAIRS = re.compile(r'source_target_pairs=\{(\{[^=]*?\})\}')
_IOTA = re.compile(
  r'replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?'
)


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective of a program.

  Attributes:
    kind: its opcode, such as `all-reduce`; `send` between slices.
    axes: of the mesh, over which it goes.
    sent: bytes that each device sends, once.
    times: that it takes place in one run.
  """

  kind: str
  axes: tuple[str, ...]
  sent: float
  times: int


def find(module: hlo.Module, mesh: dict[str, int]) -> list[Collective]:
  """All collectives of a program between different devices.

  Args:
    module: compiled for the mesh.
    mesh: sizes of its axes, in their order; where it spans several slices, of
      the part on one.

  Raises:
    ValueError: a collective is for more devices, or of an unknown form.
  """
  found = []
  for instruction, times in module.visits():
    for inner, scattered in _parts(module, instruction):
      kind = inner.opcode.removesuffix('-start')
      if kind == 'send' and 'megascale' in inner.text:
        sent = hlo.size(inner.shape)
        found.append(Collective(kind, (BETWEEN_SLICES,), sent, times))
      if kind in _SENT:
        kind = 'reduce-scatter' if scattered else kind
        groups = _groups(inner, math.prod(mesh.values()))
        if axes := _axes(groups, mesh):
          sent = _sent(kind, inner, groups.shape[1])
          found.append(Collective(kind, axes, sent, times))
  return found


def summary(found: Sequence[Collective]) -> list[dict[str, Any]]:
  """What they come to in one run, by kind and axes: JSON-able, sorted."""

  def key(collective: Collective) -> tuple[str, tuple[str, ...]]:
    return collective.kind, collective.axes

  return [
    {
      'kind': kind,
      'axes': list(axes),
      'times': sum(c.times for c in same),
      'bytes_sent': sum(c.times * c.sent for c in same),
    }
    for (kind, axes), group in itertools.groupby(sorted(found, key=key), key)
    for same in [list(group)]
  ]


def _parts(
  module: hlo.Module, instruction: hlo.Instruction
) -> list[tuple[hlo.Instruction, bool]]:
  """An instruction or what it fuses; with each whether a part is kept only."""
  scatters = 'calls=%all-reduce-scatter' in instruction.text
  return [
    (inner, scatters)
    for inner in (instruction, *module.fused(instruction))
    if not _goes_on(inner)
  ]


def _goes_on(instruction: hlo.Instruction) -> bool:
  """Whether it is a later part of a chain of fusions that hide one."""
  flag = re.search(r'"flag_start":"(-?\d+)"', instruction.text)
  return bool(flag) and flag[1] != '-1'


def _groups(instruction: hlo.Instruction, devices: int) -> np.ndarray:
  """Places `[group, device]` that exchange data; pairs count as groups."""
  text = instruction.text
  of_devices = 'use_global_device_ids=true' in text
  if instruction.opcode.startswith(_OF_REPLICAS) and not of_devices:
    return np.arange(devices)[None]
  if found := _IOTA.search(text):
    shape, lengths, order = (
      [int(n) for n in part.split(',')] if part else None
      for part in found.groups()
    )
    places = np.arange(math.prod(lengths)).reshape(lengths)
    return places.transpose(order).reshape(shape)
  if found := _LISTED.search(text) or _PAIRS.search(text):
    lists = re.findall(r'\{([\d,\s]*)\}', found[1])
    return np.array([[int(n) for n in one.split(',')] for one in lists])
  if 'replica_groups={}' in text:
    return np.arange(devices)[None]
  raise ValueError(
    f'{instruction.name} is {text[:80]!r}; expected groups of devices'
  )


def _axes(groups: np.ndarray, mesh: dict[str, int]) -> tuple[str, ...]:
  """Axes along which places of a group differ."""
  places = np.unravel_index(groups, tuple(mesh.values()))
  return tuple(
    axis
    for axis, place in zip(mesh, places, strict=True)
    if (place != place[:, :1]).any()
  )


def _sent(kind: str, instruction: hlo.Instruction, n: int) -> float:
  whole = hlo.size(instruction.shape)
  started = instruction.opcode.endswith('-start')
  if kind == 'reduce-scatter' and instruction.opcode.startswith(kind):
    whole *= n  # Its result is a part.
  if started and kind == 'all-gather':
    whole *= n / (n + 1)  # The operand is in the shape too.
  if started and kind == 'collective-permute':
    whole /= 2
  return whole * _SENT[kind](n)
