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
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models import attention, layers, randomness
from models.structure import Structure

Weights = dict[str, Any]
Hyperparameters = dict[str, jax.Array]


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
      return self.down(layers.activate(self.activation, self.up(x)))
    y, gate = layers.linears(x, [self.up, self.gate])
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
    y = after(self.attention(before(x), inputs, keys[0]))
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
  """Tokens `[batch, length]` to logits `[batch, length, vocabulary]`."""

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

  def __call__(
    self,
    tokens: jax.Array,
    hyperparameters: Hyperparameters,
    key: jax.Array | None,
    dtype: jnp.dtype,
    length: jax.Array | None,
  ) -> jax.Array:
    h, structure = hyperparameters, self.structure
    tokens = tokens.astype(jnp.int32)
    embedding = self.embedding[...].astype(dtype)
    x = embedding[tokens]
    turns = None
    if self.positions is not None:
      x += layers.like(self.positions[: tokens.shape[1]].astype(dtype), x)
    else:
      turns = attention.turns(structure.head_dim, tokens.shape[1], h)
    if key is not None:
      x = layers.drop(x, h['dropout_rate'], jax.random.fold_in(key, 0))
    x0, inputs = x, attention.Inputs(tokens, h, turns, length)
    for i, block in enumerate(self.blocks):
      block_key = None if key is None else jax.random.fold_in(key, i + 1)
      x = block(x, x0, inputs, block_key)
    x = self.norm(x)
    head = embedding.T if self.head is None else self.head[...].astype(dtype)
    logits = layers.product(x, head)
    return layers.cap(logits, h['softcap']) if structure.capped else logits


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
  dtype: jnp.dtype = jnp.float32,
  length: jax.Array | None = None,
) -> jax.Array:
  """Runs the transformer.

  Args:
    structure: of the member.
    weights: as from `init_weights`.
    hyperparameters: complete, float32 scalars, may be traced.
    tokens: integers `[batch, length]`, length at most the context.
    key: of dropout; none is dropped without it.
    dtype: of the computation; norms and softmax are float32 always.
    length: tokens of the pieces that sequences are cut into, a whole float32
      scalar from 1, may be traced: nothing is seen across a cut, positions run
      on. Sequences are whole without it.

  Returns:
    Logits `[batch, length, vocabulary]` in `dtype`, in float32 if capped.
  """
  graph, parameters = _abstract(structure)
  flat = []
  for path, parameter in parameters:
    value = functools.reduce(dict.__getitem__, _names(path), weights)
    flat.append((path, parameter.replace(value)))
  model = nnx.merge(graph, nnx.from_flat_state(flat))
  key = key if structure.dropout else None
  return model(tokens, hyperparameters, key, dtype, length)


def number_of_weights(structure: Structure) -> int:
  """All trained scalars, the embedding and learned positions among them."""
  return sum(math.prod(p.shape) for _, p in _abstract(structure)[1])


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


def _same(x: jax.Array) -> jax.Array:
  return x
