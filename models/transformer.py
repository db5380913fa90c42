"""A decoder-only transformer in Flax NNX.

Modern by default: rotary positions, RMSNorm, normalised queries and keys,
squared ReLU, an untied head. Its structure also makes it exactly nanoGPT
(github.com/karpathy/nanoGPT, model.py): learned positions, LayerNorm, GELU by
the error function, tied head, dropout.

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

from models import layers, randomness
from models.structure import Structure

Weights = dict[str, Any]

# nanoGPT's, of every random tensor but those that end a residual branch.
STANDARD_DEVIATION = 0.02


class Attention(nnx.Module):
  """Causal self-attention, `heads * head_dim` wide."""

  def __init__(self, structure: Structure):
    self.structure = structure
    inner = structure.heads * structure.head_dim
    self.qkv = layers.Linear(
      structure.width, 3 * inner, structure.bias, STANDARD_DEVIATION
    )
    self.out = layers.Linear(
      inner, structure.width, structure.bias, _last(structure)
    )

  def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
    heads, head_dim = self.structure.heads, self.structure.head_dim
    qkv = self.qkv(x).reshape(*x.shape[:2], 3, heads, head_dim)
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    if self.structure.position == 'rope':
      q, k = layers.rotate(q), layers.rotate(k)
    if self.structure.qk_norm:
      q, k = layers.root_mean_square_norm(q), layers.root_mean_square_norm(k)
    y = layers.attend(q, k, v, self.structure.dropout, key)
    return self.out(y.reshape(*x.shape[:2], heads * head_dim))


class MLP(nnx.Module):
  """Two linear layers with the activation between them."""

  def __init__(self, structure: Structure):
    self.activation = structure.activation
    self.up = layers.Linear(
      structure.width, structure.hidden, structure.bias, STANDARD_DEVIATION
    )
    self.down = layers.Linear(
      structure.hidden, structure.width, structure.bias, _last(structure)
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.down(layers.activate(self.activation, self.up(x)))


class Block(nnx.Module):
  """Attention, then the MLP, each normed before and added to the stream."""

  def __init__(self, structure: Structure):
    self.rate = structure.dropout
    self.attention_norm = layers.Norm(structure)
    self.attention = Attention(structure)
    self.mlp_norm = layers.Norm(structure)
    self.mlp = MLP(structure)

  def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
    keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
    y = self.attention(self.attention_norm(x), keys[0])
    x += layers.drop(y, self.rate, keys[1])
    return x + layers.drop(self.mlp(self.mlp_norm(x)), self.rate, keys[2])


class Transformer(nnx.Module):
  """Tokens `[batch, length]` to logits `[batch, length, vocabulary]`."""

  def __init__(self, structure: Structure):
    self.structure = structure
    vocabulary, width = structure.vocabulary, structure.width
    learned, tied = structure.position == 'learned', structure.tied
    sd = STANDARD_DEVIATION
    self.embedding = layers.parameter((vocabulary, width), sd)
    self.positions = (
      layers.parameter((structure.context, width), sd) if learned else None
    )
    self.blocks = nnx.List([Block(structure) for _ in range(structure.depth)])
    self.norm = layers.Norm(structure)
    self.head = None if tied else layers.parameter((width, vocabulary), sd)

  def __call__(
    self, tokens: jax.Array, key: jax.Array | None, dtype: jnp.dtype
  ) -> jax.Array:
    embedding = self.embedding[...].astype(dtype)
    x = embedding[tokens.astype(jnp.int32)]
    if self.positions is not None:
      x += layers.like(self.positions[: tokens.shape[1]].astype(dtype), x)
    if key is not None:
      x = layers.drop(x, self.structure.dropout, jax.random.fold_in(key, 0))
    for i, block in enumerate(self.blocks):
      x = block(x, None if key is None else jax.random.fold_in(key, i + 1))
    x = self.norm(x)
    head = embedding.T if self.head is None else self.head[...].astype(dtype)
    return layers.product(x, head)


def init_weights(
  structure: Structure, seed: jax.Array, init_scale: jax.Array
) -> Weights:
  """Fresh weights.

  Every tensor has a key of its own, folded from the seed and its path. So it
  begins alike in members whose other tensors differ.

  Args:
    structure: of the member.
    seed: int32 scalar, may be traced.
    init_scale: factor on every standard deviation, float32 scalar, may be
      traced. Constant beginnings (norms, biases) are left alone.

  Returns:
    A nested dict of float32 arrays.
  """
  parameters = {_names(path): p for path, p in _abstract(structure)[1]}
  random = {
    'weights/' + '/'.join(path): p.shape
    for path, p in parameters.items()
    if p.get_metadata('sd')
  }
  normals = randomness.named_normals(seed, random)
  flat = {}
  for path, p in parameters.items():
    flat[path] = jnp.full(p.shape, p.get_metadata('mean'), jnp.float32)
    if sd := p.get_metadata('sd'):
      flat[path] += init_scale * sd * normals['weights/' + '/'.join(path)]
  return _nested(flat)


def apply(
  structure: Structure,
  weights: Weights,
  tokens: jax.Array,
  key: jax.Array | None = None,
  dtype: jnp.dtype = jnp.float32,
) -> jax.Array:
  """Runs the transformer.

  Args:
    structure: of the member.
    weights: as from `init_weights`.
    tokens: integers `[batch, length]`, length at most the context.
    key: of dropout; none is dropped without it.
    dtype: of the computation; norms and softmax are float32 always.

  Returns:
    Logits `[batch, length, vocabulary]` in `dtype`.
  """
  graph, parameters = _abstract(structure)
  flat = []
  for path, parameter in parameters:
    value = functools.reduce(dict.__getitem__, _names(path), weights)
    flat.append((path, parameter.replace(value)))
  model = nnx.merge(graph, nnx.from_flat_state(flat))
  return model(tokens, key if structure.dropout else None, dtype)


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
  return STANDARD_DEVIATION / math.sqrt(2 * structure.depth)
