"""How states pass from member to member.

Within a species whole rows are copied, on the devices. Between species a state
is mapped on the host: which leg takes over which state is planned by
`slots.Table` and `seats.Seats`, what becomes of each tensor is the trainee's
`Crossing`.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from evo import trainee as trainee_lib

PyTree = Any


class Crossing(Protocol):
  """How a state passes to a member of another structure."""

  def inherit(
    self,
    old: trainee_lib.Structure,
    new: trainee_lib.Structure,
    state: PyTree,
    fresh: PyTree,
  ) -> PyTree:
    """The state that a child begins with.

    Args:
      old: structure of the state.
      new: structure of the child.
      state: that is inherited, arrays on the host without a member axis.
      fresh: as the child would begin otherwise, likewise.

    Returns:
      A state shaped as `fresh`.
    """
    ...

  def share(
    self, old: trainee_lib.Structure, new: trainee_lib.Structure
  ) -> float:
    """Share of the child's weights that come from the parent, in [0, 1]."""
    ...


def ring_copy(
  state: PyTree, parent: jax.Array, *, axis: str, devices: int
) -> PyTree:
  """Copies rows between the slots of a population; runs in `shard_map`.

  A copy of every shard travels once around the ring of devices, and a row is
  taken when the visiting shard holds its parent: the memory of one more shard
  instead of a gather of the whole population, no arithmetic that could spread
  a NaN, and parents stay traced. All rows are read before any is written.

  Args:
    state: this device's rows, leaves `[slot / devices, ...]`.
    parent: global slot from which each local row is copied, int32
      `[slot / devices]`; a row that stays names itself.
    axis: mesh axis over which slots are sharded.
    devices: size of that axis.

  Returns:
    The rows after copying, shaped like `state`.
  """
  rows = parent.shape[0]
  me = jax.lax.axis_index(axis)
  ring = [(i, (i + 1) % devices) for i in range(devices)]

  def copy(leaf: jax.Array) -> jax.Array:
    def take(k: jax.Array, visiting: jax.Array, out: jax.Array) -> jax.Array:
      local = parent - ((me - k) % devices) * rows
      here = (local >= 0) & (local < rows)
      taken = visiting[jnp.clip(local, 0, rows - 1)]
      return jnp.where(
        here.reshape((rows,) + (1,) * (leaf.ndim - 1)), taken, out
      )

    def hop(k: jax.Array, carry: tuple[jax.Array, jax.Array]):
      visiting = jax.lax.ppermute(carry[0], axis, ring)
      return visiting, take(k, visiting, carry[1])

    # A loop: of a long ring, written out, compiling takes minutes.
    carry = leaf, take(jnp.int32(0), leaf, leaf)
    return jax.lax.fori_loop(1, devices, hop, carry)[1]

  return jax.tree.map(copy, state)
