"""What an exploit costs: beside a training step, and beside a gather."""

import time
from typing import Any

import jax
import numpy as np

from evo import mesh as mesh_lib
from launch.benchmarks import recipe
from launch.benchmarks.figure import Figure, Observe, in_turn
from launch.benchmarks.options import Options

MINUTES = 1
_MEMBERS, _STEPS, _TURNS = 8, 10, 9


def measure(options: Options, observe: Observe) -> list[Figure]:
  """Milliseconds of a step and of exploits, and their ratios."""
  members = recipe.Members(recipe.Recipe.make(options.folder), _MEMBERS, _STEPS)
  rows = np.arange(_MEMBERS)
  # A quarter takes over from another quarter, as in PBT: from slots of the
  # same device where there are several, and then all from other devices.
  near = np.where(rows % 4 == 0, rows + 1, rows)
  far = np.roll(rows, _MEMBERS // 2)
  gather = _gather(members)
  for parents in (near, far):
    members.inherit(parents)
  gather(far)
  found = in_turn(
    {
      'step': lambda: 1e3 * members.train() / _STEPS,
      'near': lambda: 1e3 * members.inherit(near),
      'far': lambda: 1e3 * members.inherit(far),
      'gather': lambda: 1e3 * gather(far),
    },
    _TURNS,
    observe,
  )
  step = Figure(f'a step of all {_MEMBERS} members', 'ms', found['step'])
  near, far, gathered = (
    Figure(name, 'ms', found[key])
    for name, key in (
      ('a quarter takes over from neighbours', 'near'),
      ('all take over from other devices', 'far'),
      ('the same by a gather of all', 'gather'),
    )
  )
  return [
    step,
    near,
    far,
    gathered,
    near.over(step, 'a quarter / a step', 'at most 1'),
    far.over(step, 'all / a step', 'at most 1'),
    far.over(gathered, 'all / a gather'),
  ]


def _gather(members: recipe.Members):
  """Takes over states by gathering those of all members on every device."""
  mesh = jax.tree.leaves(members.population.state)[0].sharding.mesh

  def gather(state: Any, parents: jax.Array) -> Any:
    def take(leaf: jax.Array) -> jax.Array:
      return jax.lax.all_gather(leaf, 'member', tiled=True)[parents]

    return jax.tree.map(take, state)

  member = mesh_lib.MEMBER
  program = jax.jit(
    jax.shard_map(
      gather, mesh=mesh, in_specs=(member, member), out_specs=member
    ),
    donate_argnums=0,
  )

  def seconds(parents: np.ndarray) -> float:
    sharding = jax.NamedSharding(mesh, member)
    placed = jax.device_put(parents.astype(np.int32), sharding)
    begin = time.monotonic()
    members.population.state = program(members.population.state, placed)
    jax.block_until_ready(members.population.state)
    return time.monotonic() - begin

  return seconds
