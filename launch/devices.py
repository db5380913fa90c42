"""The devices of a run as a mesh: what --mesh says, or what suits the population."""

import functools
import math
from typing import Any

import jax
import numpy as np

from evo import hosts as hosts_lib
from evo import mesh as mesh_lib
from evo import populations
from evo import space as space_lib
from models import language_model


def parse(text: str) -> mesh_lib.Sizes | None:
  """Parses --mesh; None is `auto`.

  Raises:
    ValueError: not of the form AXIS:SIZE,AXIS:SIZE.
  """
  if text == 'auto':
    return None
  sizes = {}
  for part in text.split(','):
    axis, _, size = part.partition(':')
    known = axis in mesh_lib.AXES and axis not in sizes
    if not known or not size.isdecimal() or int(size) < 1:
      raise ValueError(
        f'--mesh={text}; expected auto or AXIS:SIZE,..., such as'
        f' member:8,data:2, of the axes {", ".join(mesh_lib.AXES)}'
      )
    sizes[axis] = int(size)
  return sizes


def of_run(
  given: dict[str, Any],
  trainee: language_model.LanguageModel,
  space: space_lib.Space,
  hosts: hosts_lib.Hosts,
) -> tuple[jax.sharding.Mesh, str]:
  """The mesh of the flags over the devices of this run, and why it is this.

  Raises:
    ValueError: the flags name one that cannot be.
  """
  # On CPUs there are as many devices as the mesh asks for.
  asked, made = parse(given['mesh']), jax.default_backend() == 'cpu'
  devices = jax.device_count()
  if asked and made:
    devices = min(devices, math.prod(asked.values()))
  memory = hosts.agree(populations.device_memory())
  sizes, why = choose(given, trainee, space, devices, memory, hosts.count)
  return mesh_lib.make(sizes), why


def choose(
  given: dict[str, Any],
  trainee: language_model.LanguageModel,
  space: space_lib.Space,
  devices: int,
  memory: float,
  hosts: int = 1,
) -> tuple[mesh_lib.Sizes, str]:
  """The sizes of the flags, or the best ones, and why.

  Args:
    given: the flags.
    trainee: what members are.
    space: whose baseline has to divide.
    devices: at hand.
    memory: of one of them, bytes.
    hosts: that have as many of the devices each.

  Raises:
    ValueError: the flags name a mesh that cannot be; it says which could.
  """
  slots, asked = given['population'], parse(given['mesh'])
  refusal = functools.partial(_refusal, trainee, space, slots, hosts)
  if asked is None:
    return mesh_lib.choose(
      devices,
      slots,
      _state_bytes(trainee, space),
      memory,
      lambda sizes: not refusal(sizes),
    )
  count = math.prod(asked.values())
  other = mesh_lib.nearest(asked, devices, lambda sizes: not refusal(sizes))
  wrong = refusal(asked)
  if not math.prod(other.values()) <= count <= devices:
    wrong = f'has {count} devices; expected {devices}'
  if wrong:
    raise ValueError(
      f'--mesh={given["mesh"]}: {wrong}, such as {mesh_lib.describe(other)}'
    )
  return asked, 'as --mesh says'


def _refusal(
  trainee: language_model.LanguageModel,
  space: space_lib.Space,
  slots: int,
  hosts: int,
  sizes: mesh_lib.Sizes,
) -> str | None:
  """Why a mesh does not do, if it does not."""
  members = sizes.get('member', 1)
  if slots % members:
    return (
      f'population is {slots}; expected a multiple of member, which is'
      f' {members}'
    )
  if math.prod(sizes.values()) % hosts:
    return f'expected a multiple of the {hosts} hosts'
  return trainee.refusal(space.structure(space.baseline), sizes)


def _state_bytes(
  trainee: language_model.LanguageModel, space: space_lib.Space
) -> int:
  """Of one member of the baseline."""
  structure = space.structure(space.baseline)
  names = space.hyperparameters(space.baseline)
  state = jax.eval_shape(
    lambda: trainee.init(
      structure, dict.fromkeys(names, np.float32(0)), np.int32(0)
    )
  )
  leaves = jax.tree.leaves(state)
  return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
