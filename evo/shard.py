"""A shard: the slots of one place along the mesh's `member` axis.

Its functions run on the devices, inside `shard_map`: leading axes are the
shard's own slots, and none has a collective over `member` but `inherit`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from evo import inheritance
from evo import trainee as trainee_lib

PyTree = Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Slots:
  """What the slots are to do, one entry per slot.

  Attributes:
    hyperparameters: float32 `[slot]` each.
    seed: of the member, int32 `[slot]`.
    step: training steps behind the lineage, int32 `[slot]`.
    active: whether the slot is at work, bool `[slot]`. Idle slots keep their
      state; where members are mapped they also cost nothing.
  """

  hyperparameters: dict[str, Any]
  seed: Any
  step: Any
  active: Any


@dataclasses.dataclass(frozen=True)
class Shard:
  """The functions of a shard.

  Attributes:
    trainee: what a member is.
    structure: shared by all members.
    steps: of training in one segment.
    size: slots of the shard.
    shards: along the mesh's `member` axis.
    mapped: run the members one after another instead of vmapped.
    specs: how the arrays of one member's state are split over the devices that
      it has; None where it has one.
  """

  trainee: trainee_lib.Trainee
  structure: trainee_lib.Structure
  steps: int
  size: int
  shards: int
  mapped: bool
  specs: PyTree | None = None

  def refill(self, state: PyTree, slots: Slots, fresh: jax.Array) -> PyTree:
    """Initialises the slots where `fresh`, bool `[slot]`, is set."""

    def fill(j: int, state: PyTree) -> PyTree:
      def init(state: PyTree) -> PyTree:
        hyperparameters = jax.tree.map(lambda x: x[j], slots.hyperparameters)
        row = self.trainee.init(self.structure, hyperparameters, slots.seed[j])
        return _write(state, self._split(row), j)

      return jax.lax.cond(fresh[j], init, lambda state: state, state)

    return jax.lax.fori_loop(0, fresh.shape[0], fill, state)

  def inherit(self, state: PyTree, parent: jax.Array) -> PyTree:
    """Copies rows between slots; see `inheritance.ring_copy`."""
    return inheritance.ring_copy(
      state, parent, axis='member', devices=self.shards
    )

  def place(self, state: PyTree, row: PyTree, slot: jax.Array) -> PyTree:
    """Writes a member's state, without a member axis, into a slot."""
    j = slot - jax.lax.axis_index('member') * self.size
    here, j = (j >= 0) & (j < self.size), jnp.clip(j, 0, self.size - 1)
    kept = jax.tree.map(lambda x: x[j], state)
    row = jax.tree.map(lambda new, old: jnp.where(here, new, old), row, kept)
    return _write(state, row, j)

  def copy(self, state: PyTree) -> PyTree:
    """The same in other memory."""
    return jax.tree.map(jnp.copy, state)

  def segment(
    self, data: PyTree, state: PyTree, slots: Slots, total: jax.Array
  ) -> tuple[PyTree, jax.Array]:
    """Trains the active slots.

    Args:
      data: of the training split.
      state: leaves `[slot, ...]`.
      slots: what they are to do.
      total: steps of training in the whole budget, float32 scalar.

    Returns:
      The new state, and mean training losses `[slot]`.
    """

    def member(state: PyTree, slot: Slots) -> tuple[PyTree, jax.Array]:
      def step(state: PyTree, k: jax.Array) -> tuple[PyTree, jax.Array]:
        now = slot.step + k
        state, loss = self.trainee.step(
          self.structure,
          data,
          slot.hyperparameters,
          state,
          slot.seed,
          now,
          now / total,
        )
        return self._split(state), loss

      def train(state: PyTree) -> tuple[PyTree, jax.Array]:
        state, losses = jax.lax.scan(step, state, jnp.arange(self.steps))
        return state, jnp.mean(losses)

      def rest(state: PyTree) -> tuple[PyTree, jax.Array]:
        return state, jnp.float32(0)

      return jax.lax.cond(slot.active, train, rest, state)

    if not self.mapped:
      return jax.vmap(member)(state, slots)

    # Not `jax.lax.map`, whose result is a second state of all slots.
    def train_one(
      j: jax.Array, carry: tuple[PyTree, jax.Array]
    ) -> tuple[PyTree, jax.Array]:
      state, losses = carry
      row, loss = member(*jax.tree.map(lambda x: x[j], (state, slots)))
      return _write(state, row, j), losses.at[j].set(loss)

    losses = jnp.zeros(slots.active.shape[0], jnp.float32)
    return jax.lax.fori_loop(0, losses.size, train_one, (state, losses))

  def evaluate(self, data: PyTree, state: PyTree, slots: Slots) -> jax.Array:
    """Metrics `[slot]` of the active slots on one split's data."""

    def member(state: PyTree, slot: Slots) -> jax.Array:
      def score(state: PyTree) -> jax.Array:
        return self.trainee.evaluate(
          self.structure, data, slot.hyperparameters, state
        )

      def rest(state: PyTree) -> jax.Array:
        return jnp.float32(0)

      return jax.lax.cond(slot.active, score, rest, state)

    if self.mapped:
      return jax.lax.map(lambda row: member(*row), (state, slots))
    return jax.vmap(member)(state, slots)

  def _split(self, row: PyTree) -> PyTree:
    """One member's state, on its devices as `specs` says."""
    if self.specs is None:
      return row
    return jax.lax.with_sharding_constraint(row, self.specs)


def _write(state: PyTree, row: PyTree, j: jax.Array) -> PyTree:
  return jax.tree.map(
    lambda x, r: jax.lax.dynamic_update_index_in_dim(x, r, j, 0), state, row
  )
