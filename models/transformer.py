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

from flax import nnx
import jax
import jax.numpy as jnp

from models import randomness
from models.structure import Structure

Weights = dict[str, Any]

# nanoGPT's: of every random tensor but those that end a residual branch.
STANDARD_DEVIATION = 0.02
EPSILON = 1e-5
ROPE_BASE = 10_000.0


def _parameter(
  shape: tuple[int, ...], sd: float = 0.0, mean: float = 0.0
) -> nnx.Param:
  """A tensor and how it begins: normal, or constant where `sd` is 0."""
  return nnx.Param(jnp.zeros(shape), sd=sd, mean=mean)


class Linear(nnx.Module):
  """`[..., inputs] -> [..., outputs]`."""

  def __init__(self, inputs: int, outputs: int, bias: bool, sd: float):
    self.kernel = _parameter((inputs, outputs), sd)
    self.bias = _parameter((outputs,)) if bias else None

  def __call__(self, x: jax.Array) -> jax.Array:
    # Over two axes, for the gradient of a product over three is one of copies.
    flat = x.reshape(-1, x.shape[-1]) @ self.kernel[...].astype(x.dtype)
    y = flat.reshape(*x.shape[:-1], -1)
    if self.bias is not None:
      y += _like(self.bias[...], y)
    return y


class Norm(nnx.Module):
  """RMSNorm or LayerNorm over the last axis, in float32."""

  def __init__(self, structure: Structure):
    self.centred = structure.norm == 'layer'
    self.scale = _parameter((structure.width,), mean=1.0)
    biased = self.centred and structure.bias
    self.bias = _parameter((structure.width,)) if biased else None

  def __call__(self, x: jax.Array) -> jax.Array:
    y = x.astype(jnp.float32)
    if self.centred:
      y -= y.mean(-1, keepdims=True)
    y = root_mean_square_norm(y)
    y *= _like(self.scale[...], y)
    if self.bias is not None:
      y += _like(self.bias[...], y)
    return y.astype(x.dtype)


class Attention(nnx.Module):
  """Causal self-attention, `heads * head_dim` wide."""

  def __init__(self, structure: Structure):
    self.structure = structure
    inner = structure.heads * structure.head_dim
    self.qkv = Linear(
      structure.width, 3 * inner, structure.bias, STANDARD_DEVIATION
    )
    self.out = Linear(inner, structure.width, structure.bias, _last(structure))

  def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
    heads, head_dim = self.structure.heads, self.structure.head_dim
    qkv = self.qkv(x).reshape(*x.shape[:2], 3, heads, head_dim)
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    if self.structure.position == 'rope':
      q, k = rotate(q), rotate(k)
    if self.structure.qk_norm:
      q, k = root_mean_square_norm(q), root_mean_square_norm(k)
    y = attend(q, k, v, self.structure.dropout, key)
    return self.out(y.reshape(*x.shape[:2], heads * head_dim))


class MLP(nnx.Module):
  """Two linear layers with the activation between them."""

  def __init__(self, structure: Structure):
    self.activation = structure.activation
    self.up = Linear(
      structure.width, structure.hidden, structure.bias, STANDARD_DEVIATION
    )
    self.down = Linear(
      structure.hidden, structure.width, structure.bias, _last(structure)
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.down(activate(self.activation, self.up(x)))


class Block(nnx.Module):
  """Attention, then the MLP, each normed before and added to the stream."""

  def __init__(self, structure: Structure):
    self.rate = structure.dropout
    self.attention_norm = Norm(structure)
    self.attention = Attention(structure)
    self.mlp_norm = Norm(structure)
    self.mlp = MLP(structure)

  def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
    keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
    y = self.attention(self.attention_norm(x), keys[0])
    x += drop(y, self.rate, keys[1])
    return x + drop(self.mlp(self.mlp_norm(x)), self.rate, keys[2])


class Transformer(nnx.Module):
  """Tokens `[batch, length]` to logits `[batch, length, vocabulary]`."""

  def __init__(self, structure: Structure):
    self.structure = structure
    vocabulary, width = structure.vocabulary, structure.width
    learned, tied = structure.position == 'learned', structure.tied
    sd = STANDARD_DEVIATION
    self.embedding = _parameter((vocabulary, width), sd)
    self.positions = (
      _parameter((structure.context, width), sd) if learned else None
    )
    self.blocks = nnx.List([Block(structure) for _ in range(structure.depth)])
    self.norm = Norm(structure)
    self.head = None if tied else _parameter((width, vocabulary), sd)

  def __call__(
    self, tokens: jax.Array, key: jax.Array | None, dtype: jnp.dtype
  ) -> jax.Array:
    embedding = self.embedding[...].astype(dtype)
    x = embed(embedding, tokens)
    if self.positions is not None:
      x += _like(self.positions[: tokens.shape[1]].astype(dtype), x)
    if key is not None:
      x = drop(x, self.structure.dropout, jax.random.fold_in(key, 0))
    for i, block in enumerate(self.blocks):
      x = block(x, None if key is None else jax.random.fold_in(key, i + 1))
    x = self.norm(x)
    head = embedding.T if self.head is None else self.head[...].astype(dtype)
    return x @ head


def embed(embedding: jax.Array, tokens: jax.Array) -> jax.Array:
  """Rows of `[vocabulary, width]` at `[batch, length]`."""
  return embedding[tokens.astype(jnp.int32)]


def root_mean_square_norm(x: jax.Array) -> jax.Array:
  """Scales the last axis to a mean square of 1, computed in float32."""
  y = x.astype(jnp.float32)
  y *= jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + EPSILON)
  return y.astype(x.dtype)


def rotate(x: jax.Array) -> jax.Array:
  """Rotary positions (arXiv:2104.09864) of `[batch, length, heads, head_dim]`.

  Channel i of the first half turns with channel i of the second.
  """
  half = x.shape[-1] // 2
  frequency = ROPE_BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = jnp.outer(jnp.arange(x.shape[1], dtype=jnp.float32), frequency)
  angle = angle[None, :, None, :]
  cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
  a, b = x[..., :half], x[..., half:]
  return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def activate(name: str, x: jax.Array) -> jax.Array:
  """The activation of that name: relu2, gelu (by erf, as nanoGPT) or silu."""
  if name == 'relu2':
    return jnp.square(jax.nn.relu(x))
  if name == 'gelu':
    # jax.nn.gelu takes erfc, whose two branches cost a CPU most of the step.
    return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))
  return jax.nn.silu(x)


def drop(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
  """Inverted dropout; none without a key."""
  if key is None:
    return x
  kept = jax.random.bernoulli(key, 1 - rate, x.shape)
  return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def attend(
  q: jax.Array, k: jax.Array, v: jax.Array, rate: float, key: jax.Array | None
) -> jax.Array:
  """Causal attention with dropout of its probabilities, as nanoGPT's.

  Args:
    q: queries `[batch, length, heads, head_dim]`; keys and values likewise.
    k: keys.
    v: values.
    rate: of dropout.
    key: of dropout.

  Returns:
    `[batch, length, heads, head_dim]`.
  """
  length, head_dim = q.shape[1], q.shape[3]
  logits = jnp.einsum('bqhd,bkhd->bhqk', q, k).astype(jnp.float32)
  mask = jnp.tril(jnp.ones((length, length), bool))[None, None]
  logits = jnp.where(mask, logits / math.sqrt(head_dim), -jnp.inf)
  probabilities = jax.nn.softmax(logits).astype(q.dtype)
  probabilities = drop(probabilities, rate, key)
  return jnp.einsum('bhqk,bkhd->bqhd', probabilities, v)


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
  _, parameters = _abstract(structure)
  flat = {}
  for path, parameter in parameters:
    sd, mean = (parameter.get_metadata(name) for name in ('sd', 'mean'))
    flat[path] = jnp.full(parameter.shape, mean, jnp.float32)
    if sd:
      key = randomness.named_key(seed, 'weights/' + '/'.join(_names(path)))
      draw = jax.random.normal(key, parameter.shape, jnp.float32)
      flat[path] += init_scale * sd * draw
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
    value = functools.reduce(
      lambda node, name: node[name], _names(path), weights
    )
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


def _nested(flat: dict[tuple, jax.Array]) -> Weights:
  nested = {}
  for path, value in flat.items():
    *folders, name = _names(path)
    functools.reduce(lambda n, f: n.setdefault(f, {}), folders, nested)[
      name
    ] = value
  return nested


def _names(path: tuple) -> tuple[str, ...]:
  # Orbax gives integer keys back as text, so they are text from the start.
  return tuple(str(part) for part in path)


def _last(structure: Structure) -> float:
  """Of what ends a residual branch: keeps the stream's variance near 1."""
  return STANDARD_DEVIATION / math.sqrt(2 * structure.depth)


def _like(x: jax.Array, y: jax.Array) -> jax.Array:
  """`x` with leading axes of 1 until it has the rank of `y`."""
  return x.reshape((1,) * (y.ndim - x.ndim) + x.shape).astype(y.dtype)
