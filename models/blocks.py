"""The blocks of a transformer, written out one after another or as one loop."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from models import attention, shardings
from models.block import Block
from models.compute import Compute

# What a loop may keep of a block for the way back, by `Compute.kept`.
KEPT = {
  'products': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  'middles': jax.checkpoint_policies.save_only_these_names(
    'attended', 'hidden'
  ),
}


def run(
  blocks: Sequence[Block],
  x: jax.Array,
  inputs: attention.Inputs,
  key: jax.Array | None,
) -> jax.Array:
  """The stream behind all blocks.

  Args:
    blocks: of one structure.
    x: the stream before them, `[batch, length, width]`.
    inputs: beside the stream; their `compute` says how.
    key: of dropout; none is dropped without it.
  """
  compute = inputs.compute
  if len(blocks) > compute.written_out or _kept(blocks, x) > compute.room:
    return _loop(blocks, x, inputs, key)
  return _write_out(blocks, x, x, range(len(blocks)), inputs, key)


def _kept(blocks: Sequence[Block], x: jax.Array) -> float:
  """About the bytes that a device keeps of blocks that are written out.

  Of each token 12 times the stream's width and twice the hidden channels; the
  compilers of TPUs were seen to come to that.
  """
  structure = blocks[0].structure
  of_token = 12 * structure.width + 2 * structure.hidden
  tokens = x.shape[0] * x.shape[1] / shardings.shards('batch')
  return len(blocks) * tokens * of_token * x.dtype.itemsize


def _write_out(
  blocks: Sequence[Block],
  x: jax.Array,
  x0: jax.Array,
  indices: range,
  inputs: attention.Inputs,
  key: jax.Array | None,
) -> jax.Array:
  """Some blocks one after another, each compiled for itself."""
  for i in indices:
    graph, state = nnx.split(blocks[i])
    state = _map(lambda _, w: _as_used(w, inputs.compute), state)
    state = _map(shardings.gather, state)
    x = _call(graph, state, x, x0, inputs, i, key)
  return x


def _loop(
  blocks: Sequence[Block],
  x: jax.Array,
  inputs: attention.Inputs,
  key: jax.Array | None,
) -> jax.Array:
  """All blocks as one loop, each turn of it as many as differ."""
  structure = blocks[0].structure
  period = 2 if structure.value_embeddings == 'alternate' else 1
  turns, x0 = len(blocks) // period, x
  if not turns:
    return _write_out(blocks, x, x0, range(len(blocks)), inputs, key)
  graphs, stacks = [], []
  for first in range(period):
    split = [nnx.split(b) for b in blocks[first : turns * period : period]]
    graphs.append(split[0][0])
    states = [_by_head(state, structure.head_dim) for _, state in split]
    stacks.append(_stack(states, inputs.compute))

  def turn(x: jax.Array, inner: tuple) -> tuple[jax.Array, None]:
    number, states = inner
    for i, (graph, state) in enumerate(zip(graphs, states)):
      index = number * period + i
      state = _flat(_map(shardings.gather, state))
      x = _call(graph, state, x, x0, inputs, index, key)
    return x, None

  policy = KEPT[inputs.compute.kept]
  turn = jax.checkpoint(turn, policy=policy, prevent_cse=False)
  x, _ = jax.lax.scan(turn, x, (jnp.arange(turns), stacks))
  left = range(turns * period, len(blocks))
  return _write_out(blocks, x, x0, left, inputs, key)


def _call(
  graph: nnx.GraphDef,
  state: nnx.State,
  x: jax.Array,
  x0: jax.Array,
  inputs: attention.Inputs,
  index: int | jax.Array,
  key: jax.Array | None,
) -> jax.Array:
  """A block, of weights that have been brought together."""
  block = nnx.merge(graph, state)
  key = None if key is None else jax.random.fold_in(key, index + 1)
  return shardings.of_stream(block(x, x0, inputs, index, key))


def _as_used(x: jax.Array, compute: Compute, stacked: int = 0) -> jax.Array:
  """Matrices of a block as products take them; what is small stays float32."""
  return x.astype(compute.dtype) if x.ndim - stacked > 1 else x


def _stack(states: list[nnx.State], compute: Compute) -> nnx.State:
  """The weights of blocks with an axis in front."""

  def stack(*leaves: jax.Array) -> jax.Array:
    return _as_used(jnp.stack(leaves), compute, stacked=1)

  return jax.tree.map(stack, *states)


def _by_head(state: nnx.State, head_dim: int) -> nnx.State:
  """A block's weights, those of attention with an axis of their own for heads.

  Else a TPU that is to write their gradients into the loop's stack copies the
  gradients of queries, keys and values, to make one axis of the two.
  """

  def split(path: tuple, x: jax.Array) -> jax.Array:
    match path:
      case ('attention', 'q' | 'k' | 'v', 'kernel'):
        return x.reshape(x.shape[0], -1, head_dim)
      case ('attention', 'out', 'kernel'):
        return x.reshape(-1, head_dim, x.shape[1])
    return x

  return _map(split, state)


def _flat(state: nnx.State) -> nnx.State:
  """Undoes `_by_head`."""

  def join(path: tuple, x: jax.Array) -> jax.Array:
    match path:
      case ('attention', 'q' | 'k' | 'v', 'kernel'):
        return x.reshape(x.shape[0], -1)
      case ('attention', 'out', 'kernel'):
        return x.reshape(-1, x.shape[-1])
    return x

  return _map(join, state)


def _map(
  function: Callable[[tuple, jax.Array], jax.Array], state: nnx.State
) -> nnx.State:
  """Of paths and arrays."""
  flat = nnx.to_flat_state(state)
  return nnx.from_flat_state(
    [(path, p.replace(function(path, p[...]))) for path, p in flat]
  )
