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

from models import attention, blocks, layers, randomness, shardings
from models.block import Block
from models.compute import CPU, Compute
from models.structure import Structure

Weights = dict[str, Any]
Hyperparameters = dict[str, jax.Array]


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
    x = shardings.of_stream(x)
    inputs = attention.Inputs(tokens, h, turns, length, compute)
    return self.norm(blocks.run(self.blocks, x, inputs, key))

  def logits(self, x: jax.Array, hyperparameters: Hyperparameters) -> jax.Array:
    """Of the stream's end."""
    tied = self.head is None
    head = self.embedding[...].T if tied else self.head[...]
    logits = layers.product(x, head.astype(x.dtype))
    if not self.structure.capped:
      return logits
    return layers.cap(logits, hyperparameters['softcap'])


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
