"""A decoder-only transformer in Flax NNX.

Modern by default: rotary positions, RMSNorm, normalised queries and keys,
squared ReLU, an untied head. Its structure also makes it exactly nanoGPT
(github.com/karpathy/nanoGPT, model.py): learned positions, LayerNorm, GELU by
the error function, tied head, dropout; or close to nanochat
(github.com/karpathy/nanochat, gpt.py): value embeddings, short windows, learned
factors on stream and embedding, soft-capped logits.

The modules only describe the computation. Weights are a nested dict of
float32 arrays with text keys (`weights['blocks']['0']['mlp']['up']['kernel']`)
and live outside, so that a population can carry a member axis on them and
Orbax can store them as they are.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from models import attention, layers, randomness, shardings
from models.compute import CPU, Compute
from models.structure import Structure

Weights = dict[str, Any]
Hyperparameters = dict[str, jax.Array]

# What may be kept of a block for the way back, by `Compute.kept`.
KEPT = {
  'products': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  'middles': jax.checkpoint_policies.save_only_these_names(
    'attended', 'hidden'
  ),
}


class MLP(nnx.Module):
  """Two linear layers with the activation between them.

  SwiGLU (arXiv:2002.05202) has a third, beside the first, whose SiLU
  multiplies it.
  """

  def __init__(self, structure: Structure):
    self.activation = structure.activation
    width, hidden, bias = structure.width, structure.hidden, structure.bias
    sd = layers.STANDARD_DEVIATION
    self.up = layers.Linear(width, hidden, bias, sd, 'up_init')
    gated = structure.activation == 'swiglu'
    self.gate = (
      layers.Linear(width, hidden, bias, sd, 'up_init') if gated else None
    )
    self.down = layers.Linear(hidden, width, bias, _last(structure), 'out_init')

  def __call__(self, x: jax.Array) -> jax.Array:
    if self.gate is None:
      hidden = checkpoint_name(self.up(x), 'hidden')
      return self.down(layers.activate(self.activation, hidden))
    y, gate = (
      checkpoint_name(hidden, 'hidden')
      for hidden in layers.linears(x, [self.up, self.gate])
    )
    return self.down(y * layers.activate('silu', gate))


class Block(nnx.Module):
  """Attention and MLP, one after the other or both of the same stream.

  Norms stand before them, after them or both.
  """

  def __init__(self, structure: Structure, index: int):
    self.structure = structure
    self.attention = attention.Attention(structure, index, _last(structure))
    self.mlp = MLP(structure)
    self.attention_norm = layers.Norm(structure)
    self.mlp_norm = layers.Norm(structure)
    sandwich = structure.placement == 'sandwich'
    self.attention_out_norm = layers.Norm(structure) if sandwich else None
    self.mlp_out_norm = layers.Norm(structure) if sandwich else None
    scalars = structure.scalars
    self.residual = (
      layers.parameter((), 0, 'residual_init') if scalars else None
    )
    self.x0 = layers.parameter((), 0, 'x0_init') if scalars else None

  def __call__(
    self,
    x: jax.Array,
    x0: jax.Array,
    inputs: attention.Inputs,
    index: int | jax.Array,
    key: jax.Array | None,
  ) -> jax.Array:
    """The stream behind the block, of the stream and how it began."""
    keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
    rate = inputs.hyperparameters['dropout_rate']
    if self.residual is not None:
      mixed = self.residual[...] * x.astype(jnp.float32)
      mixed += self.x0[...] * x0.astype(jnp.float32)
      x = mixed.astype(x.dtype)
    before, after = self._norms(self.attention_norm, self.attention_out_norm)
    y = after(self.attention(before(x), inputs, index, keys[0]))
    y = layers.drop(y, rate, keys[1])
    before, after = self._norms(self.mlp_norm, self.mlp_out_norm)
    if not self.structure.parallel:
      x += y
    z = layers.drop(after(self.mlp(before(x))), rate, keys[2])
    return x + y + z if self.structure.parallel else x + z

  def _norms(self, norm: layers.Norm, out_norm: layers.Norm | None) -> tuple:
    """What stands before a branch and what after it."""
    if self.structure.placement == 'post':
      return _same, norm
    return norm, _same if out_norm is None else out_norm


class Transformer(nnx.Module):
  """Tokens `[batch, length]` to a stream, and that to logits."""

  def __init__(self, structure: Structure):
    self.structure = structure
    vocabulary, width = structure.vocabulary, structure.width
    learned, tied = structure.position == 'learned', structure.tied
    sd = layers.STANDARD_DEVIATION

    def embedding(rows: int) -> nnx.Param:
      return layers.parameter((rows, width), sd, factor='embedding_init')

    self.embedding = embedding(vocabulary)
    self.positions = embedding(structure.context) if learned else None
    self.blocks = nnx.List(
      [Block(structure, i) for i in range(structure.depth)]
    )
    self.norm = layers.Norm(structure)
    self.head = (
      None
      if tied
      else layers.parameter((width, vocabulary), sd, factor='head_init')
    )

  def stream(
    self,
    tokens: jax.Array,
    hyperparameters: Hyperparameters,
    key: jax.Array | None,
    compute: Compute,
    length: jax.Array | None,
  ) -> jax.Array:
    """What the head reads, `[batch, length, width]`."""
    h, structure = hyperparameters, self.structure
    tokens = tokens.astype(jnp.int32)
    table = self.embedding[...].astype(compute.dtype)
    x = shardings.rows(table, tokens, compute.rows)
    turns = None
    if self.positions is not None:
      positions = self.positions[: tokens.shape[1]].astype(compute.dtype)
      x += layers.like(positions, x)
    else:
      turns = attention.turns(structure.head_dim, tokens.shape[1], h)
    if key is not None:
      x = layers.drop(x, h['dropout_rate'], jax.random.fold_in(key, 0))
    x = _split(x)
    inputs = attention.Inputs(tokens, h, turns, length, compute)
    if compute.scanned:
      x = self._scan(x, inputs, key)
    else:
      x0 = x
      for i, block in enumerate(self.blocks):
        x = block(x, x0, inputs, i, _block_key(key, i))
    return self.norm(x)

  def logits(self, x: jax.Array, hyperparameters: Hyperparameters) -> jax.Array:
    """Of the stream's end."""
    tied = self.head is None
    head = self.embedding[...].T if tied else self.head[...]
    logits = layers.product(x, head.astype(x.dtype))
    if not self.structure.capped:
      return logits
    return layers.cap(logits, hyperparameters['softcap'])

  def _scan(
    self, x: jax.Array, inputs: attention.Inputs, key: jax.Array | None
  ) -> jax.Array:
    """All blocks as one loop, each turn of it as many as differ."""
    period = 2 if self.structure.value_embeddings == 'alternate' else 1
    turns, x0 = self.structure.depth // period, x
    graphs, stacks = [], []
    for first in range(period):
      split = [
        nnx.split(b) for b in self.blocks[first : turns * period : period]
      ]
      graphs.append(split[0][0])
      states = [self._by_head(state) for _, state in split]
      stacks.append(_stack(states, inputs.compute))

    def turn(x: jax.Array, inner: tuple) -> tuple[jax.Array, None]:
      number, states = inner
      for i, (graph, state) in enumerate(zip(graphs, states)):
        index = number * period + i
        state = _map(shardings.gather, _flat(state))
        block = nnx.merge(graph, state)
        x = _split(block(x, x0, inputs, index, _block_key(key, index)))
      return x, None

    policy = KEPT[inputs.compute.kept]
    turn = jax.checkpoint(turn, policy=policy, prevent_cse=False)
    x, _ = jax.lax.scan(turn, x, (jnp.arange(turns), stacks))
    for i in range(turns * period, self.structure.depth):
      x = self.blocks[i](x, x0, inputs, i, _block_key(key, i))
    return x

  def _by_head(self, state: nnx.State) -> nnx.State:
    """A block's weights, those of attention with an axis of their own for heads.

    Else a TPU that is to write their gradients into the loop's stack copies the
    gradients of queries, keys and values, to make one axis of the two.
    """
    head_dim = self.structure.head_dim

    def split(path: tuple, x: jax.Array) -> jax.Array:
      match _names(path):
        case ('attention', 'q' | 'k' | 'v', 'kernel'):
          return x.reshape(x.shape[0], -1, head_dim)
        case ('attention', 'out', 'kernel'):
          return x.reshape(-1, head_dim, x.shape[1])
      return x

    return _map(split, state)


def init_weights(
  structure: Structure, seed: jax.Array, hyperparameters: Hyperparameters
) -> Weights:
  """Fresh weights.

  Every tensor has a key of its own, folded from the seed and its path. So it
  begins alike in members whose other tensors differ.

  Args:
    structure: of the member.
    seed: int32 scalar, may be traced.
    hyperparameters: complete, float32 scalars, may be traced; `init_scale` and
      the other names that end in `_init` are read. Constant beginnings (norms,
      biases) are left alone.

  Returns:
    A nested dict of float32 arrays.
  """
  h = hyperparameters
  parameters = {_names(path): p for path, p in _abstract(structure)[1]}
  random = {
    'weights/' + '/'.join(path): p.shape
    for path, p in parameters.items()
    if p.get_metadata('sd')
  }
  normals = randomness.named_normals(seed, random)
  flat = {}
  for path, p in parameters.items():
    mean, factor = p.get_metadata('mean'), p.get_metadata('factor')
    mean = h[mean] if isinstance(mean, str) else mean
    flat[path] = jnp.full(p.shape, mean, jnp.float32)
    if sd := p.get_metadata('sd'):
      scale = h['init_scale'] * (h[factor] if factor else 1)
      flat[path] += scale * sd * normals['weights/' + '/'.join(path)]
  return _nested(flat)


def apply(
  structure: Structure,
  weights: Weights,
  hyperparameters: Hyperparameters,
  tokens: jax.Array,
  key: jax.Array | None = None,
  compute: Compute = CPU,
  length: jax.Array | None = None,
) -> jax.Array:
  """Runs the transformer: `logits` of its `stream`.

  Returns:
    Logits `[batch, length, vocabulary]`, in float32 if capped.
  """
  x = stream(structure, weights, hyperparameters, tokens, key, compute, length)
  return logits(structure, weights, hyperparameters, x)


def stream(
  structure: Structure,
  weights: Weights,
  hyperparameters: Hyperparameters,
  tokens: jax.Array,
  key: jax.Array | None = None,
  compute: Compute = CPU,
  length: jax.Array | None = None,
) -> jax.Array:
  """Runs the transformer up to its head.

  Args:
    structure: of the member.
    weights: as from `init_weights`.
    hyperparameters: complete, float32 scalars, may be traced.
    tokens: integers `[batch, length]`, length at most the context.
    key: of dropout; none is dropped without it.
    compute: how it is computed.
    length: tokens of the pieces that sequences are cut into, a whole float32
      scalar from 1, may be traced: nothing is seen across a cut, positions run
      on. Sequences are whole without it.

  Returns:
    `[batch, length, width]` in the dtype of `compute`.
  """
  key = key if structure.dropout else None
  model = _model(structure, weights)
  return model.stream(tokens, hyperparameters, key, compute, length)


def logits(
  structure: Structure,
  weights: Weights,
  hyperparameters: Hyperparameters,
  x: jax.Array,
) -> jax.Array:
  """Logits `[batch, length, vocabulary]` of the end of a `stream`."""
  return _model(structure, weights).logits(x, hyperparameters)


def number_of_weights(structure: Structure) -> int:
  """All trained scalars, the embedding and learned positions among them."""
  return sum(math.prod(p.shape) for _, p in _abstract(structure)[1])


def _model(structure: Structure, weights: Weights) -> Transformer:
  """The transformer with these weights."""
  graph, parameters = _abstract(structure)
  flat = []
  for path, parameter in parameters:
    value = functools.reduce(dict.__getitem__, _names(path), weights)
    flat.append((path, parameter.replace(value)))
  return nnx.merge(graph, nnx.from_flat_state(flat))


@functools.lru_cache
def _abstract(structure: Structure) -> tuple[nnx.GraphDef, tuple]:
  """The graph and ((path, parameter), ...) without arrays."""
  graph, state = nnx.split(nnx.eval_shape(lambda: Transformer(structure)))
  return graph, tuple(nnx.to_flat_state(state))


def _nested(flat: dict[tuple[str, ...], jax.Array]) -> Weights:
  nested = {}
  for (*folders, name), value in flat.items():
    node = nested
    for folder in folders:
      node = node.setdefault(folder, {})
    node[name] = value
  return nested


def _names(path: tuple) -> tuple[str, ...]:
  # Orbax gives integer keys back as text, so they are text from the start.
  return tuple(str(part) for part in path)


def _last(structure: Structure) -> float:
  """Of what ends a residual branch: keeps the stream's variance near 1."""
  return layers.STANDARD_DEVIATION / math.sqrt(2 * structure.depth)


def _split(x: jax.Array) -> jax.Array:
  """The stream, its batch split over the devices of a member."""
  return shardings.constrain(x, 'batch', None, None)


def _block_key(
  key: jax.Array | None, index: int | jax.Array
) -> jax.Array | None:
  return None if key is None else jax.random.fold_in(key, index + 1)


def _stack(states: list[nnx.State], compute: Compute) -> nnx.State:
  """The weights of blocks with an axis in front; matrices as they are used."""

  def stack(*leaves: jax.Array) -> jax.Array:
    x = jnp.stack(leaves)
    return x.astype(compute.dtype) if x.ndim > 2 else x

  return jax.tree.map(stack, *states)


def _flat(state: nnx.State) -> nnx.State:
  """Undoes `Transformer._by_head`."""

  def join(path: tuple, x: jax.Array) -> jax.Array:
    match _names(path):
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


def _same(x: jax.Array) -> jax.Array:
  return x
