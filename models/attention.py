"""Causal self-attention: who sees whom, and what they take from there."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models import compute as compute_lib
from models import flash, layers, shardings
from models.structure import Structure

Hyperparameters = dict[str, jax.Array]

# Channels of the stream that open the gate of value embeddings, as nanochat's.
GATE_CHANNELS = 12


class Inputs(NamedTuple):
  """What all blocks read beside the stream.

  Attributes:
    tokens: `[batch, length]`.
    hyperparameters: complete.
    turns: cosines and sines of rotary positions, if positions are rotary.
    pieces: tokens that the sequences are cut into, or None for whole ones.
    compute: how it is computed.
  """

  tokens: jax.Array
  hyperparameters: Hyperparameters
  turns: tuple[jax.Array, jax.Array] | None
  pieces: jax.Array | None
  compute: compute_lib.Compute


class Attention(nnx.Module):
  """Causal self-attention, `heads * head_dim` wide.

  Query head h reads key and value head `h // kv_sharing`.
  """

  def __init__(self, structure: Structure, index: int, last_sd: float):
    self.structure = structure
    width, bias = structure.width, structure.bias
    inner = structure.heads * structure.head_dim
    shared = structure.kv_heads * structure.head_dim
    self.q = layers.Linear(width, inner, bias)
    self.k = layers.Linear(width, shared, bias)
    self.v = layers.Linear(width, shared, bias)
    self.out = layers.Linear(inner, width, bias, last_sd, 'out_init')
    embedded = _has_value_embedding(structure, index)
    self.value_embedding = (
      layers.parameter(
        (structure.vocabulary, shared), layers.STANDARD_DEVIATION
      )
      if embedded
      else None
    )
    channels = min(GATE_CHANNELS, width)
    self.value_gate = (
      layers.parameter((channels, structure.kv_heads)) if embedded else None
    )

  def __call__(
    self,
    x: jax.Array,
    inputs: Inputs,
    index: int | jax.Array,
    key: jax.Array | None,
  ) -> jax.Array:
    """What the block of this number, from the bottom, adds to the stream."""
    if self._fits_kernel(x.shape[1], inputs.compute, key):
      return self._flash(x, inputs)
    h = inputs.hyperparameters
    q, k, v = (
      y.reshape(*x.shape[:2], -1, self.structure.head_dim)
      for y in layers.linears(x, [self.q, self.k, self.v])
    )
    if self.value_embedding is not None:
      v += self._embedded_values(x, inputs)
    if inputs.turns is not None:
      q, k = rotate(q, *inputs.turns), rotate(k, *inputs.turns)
    if self.structure.qk_norm:
      q, k = layers.root_mean_square_norm(q), layers.root_mean_square_norm(k)
    # Squared instead of on both: only their products are read.
    q = (q.astype(jnp.float32) * jnp.square(h['qk_scale'])).astype(q.dtype)
    y = self._attend(q, k, v, inputs, index, key)
    return self.out(y.reshape(*x.shape[:2], -1))

  def _fits_kernel(
    self, length: int, compute: compute_lib.Compute, key: jax.Array | None
  ) -> bool:
    """Whether `models.flash` is wanted and can do it; it drops nothing out."""
    fits = flash.fits(length, self.structure.head_dim)
    wanted = compute.attention == 'flash' and key is None
    return wanted and fits and not self.structure.windows

  def _flash(self, x: jax.Array, inputs: Inputs) -> jax.Array:
    """The same as `__call__`, heads before places, where the kernel has them.

    A TPU would copy whole tensors to put them there, or to cut heads out of one
    product for all three.
    """
    head_dim = self.structure.head_dim
    q, k, v = (y.to_heads(x, head_dim) for y in (self.q, self.k, self.v))
    if self.value_embedding is not None:
      v += jnp.swapaxes(self._embedded_values(x, inputs), 1, 2)
    q = self._turned(q, inputs, jnp.square(inputs.hyperparameters['qk_scale']))
    k = self._turned(k, inputs, jnp.float32(1))
    return self.out.from_heads(flash.attend(q, k, v, inputs.pieces))

  def _turned(
    self, x: jax.Array, inputs: Inputs, factor: jax.Array
  ) -> jax.Array:
    """Queries or keys `[batch, heads, length, head_dim]`, ready to be used."""
    if self.structure.qk_norm:
      # Turning leaves it as it is, so that one pass does both.
      factor *= layers.root_mean_square_factor(x)
    y = x.astype(jnp.float32)
    if inputs.turns is not None:
      y = rotate_by_product(x, *inputs.turns)
    return (y * factor).astype(x.dtype)

  def _attend(
    self,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    inputs: Inputs,
    index: int | jax.Array,
    key: jax.Array | None,
  ) -> jax.Array:
    """By the means that suit the device; only one of them can drop out."""
    h, pieces = inputs.hyperparameters, inputs.pieces
    length, structure = q.shape[1], self.structure
    seen = visible(structure, index, length, h, pieces)
    if inputs.compute.attention == 'written' or key is not None:
      return attend(q, k, v, seen, h['dropout_rate'], key)
    if seen is None:
      return jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return jax.nn.dot_product_attention(q, k, v, mask=seen[None, None])

  def _embedded_values(self, x: jax.Array, inputs: Inputs) -> jax.Array:
    """Gated embeddings of the tokens `[batch, length, kv_heads, head_dim]`."""
    kernel = self.value_gate[...].astype(x.dtype)
    gate = layers.product(x[..., : kernel.shape[0]], kernel)
    gate = jax.nn.sigmoid(gate.astype(jnp.float32))
    gate = (gate * inputs.hyperparameters['value_gate']).astype(x.dtype)
    table = self.value_embedding[...].astype(x.dtype)
    values = shardings.rows(table, inputs.tokens, inputs.compute.rows)
    return gate[..., None] * values.reshape(*gate.shape, -1)


def turns(
  head_dim: int, length: int, hyperparameters: Hyperparameters
) -> tuple[jax.Array, jax.Array]:
  """Cosines and sines of rotary positions (arXiv:2104.09864).

  Args:
    head_dim: channels of a head, even.
    length: tokens.
    hyperparameters: `rope_base` and `rope_fraction`. The frequencies beyond
      that fraction, the slow ones, turn nothing.

  Returns:
    Two float32 arrays `[length, head_dim / 2]`.
  """
  half = head_dim // 2
  channel = jnp.arange(half, dtype=jnp.float32)
  frequency = hyperparameters['rope_base'] ** (-channel / half)
  turning = channel < hyperparameters['rope_fraction'] * half
  frequency = jnp.where(turning, frequency, 0)
  angle = jnp.outer(jnp.arange(length, dtype=jnp.float32), frequency)
  return jnp.cos(angle), jnp.sin(angle)


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
  """Turns `[batch, length, heads, head_dim]` by the angles of `turns`.

  Channel i of the first half turns with channel i of the second.
  """
  half = x.shape[-1] // 2
  cos, sin = (y[None, :, None, :].astype(x.dtype) for y in (cos, sin))
  a, b = x[..., :half], x[..., half:]
  return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def rotate_by_product(
  x: jax.Array, cos: jax.Array, sin: jax.Array
) -> jax.Array:
  """`rotate` of `[batch, heads, length, head_dim]`, in float32.

  Halves change places by a product with a matrix of 0, 1 and -1, which is exact
  and nearly free where slices of a vector register are dear.
  """
  half = x.shape[-1] // 2
  cos, sin = (jnp.concatenate([y, y], -1)[None, None] for y in (cos, sin))
  swap = np.kron([[0, 1], [-1, 0]], np.eye(half))
  swapped = jnp.einsum(
    'bhtc,cd->bhtd',
    x,
    swap.astype(x.dtype),
    preferred_element_type=jnp.float32,
  )
  return x.astype(jnp.float32) * cos + swapped * sin


def visible(
  structure: Structure,
  index: int | jax.Array,
  length: int,
  hyperparameters: Hyperparameters,
  pieces: jax.Array | None,
) -> jax.Array | None:
  """Which keys a query sees, if not just all up to itself.

  Args:
    structure: of the member.
    index: of the block, from the bottom. A block whose number from 1 is no
      multiple of `window_period` is short: its queries see `window_short` keys,
      themselves among them. No block is an exception, so that windows travel
      with their blocks when others are put on top.
    length: of the sequences.
    hyperparameters: `window_short` and `window_period`, both from 1.
    pieces: as in `Inputs`; a query sees only keys of its own piece.

  Returns:
    bool `[query, key]`, or None where causality is all there is.
  """
  if not structure.windows and pieces is None:
    return None
  place = jnp.arange(length)
  back = place[:, None] - place[None, :]
  seen = back >= 0
  if structure.windows:
    period = hyperparameters['window_period'].astype(jnp.int32)
    short = (index + 1) % period != 0
    seen &= ~short | (back < hyperparameters['window_short'])
  if pieces is not None:
    piece = place // pieces.astype(jnp.int32)
    seen &= piece[:, None] == piece[None, :]
  return seen


def attend(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  seen: jax.Array | None,
  rate: jax.Array,
  key: jax.Array | None,
) -> jax.Array:
  """Causal attention with dropout of its probabilities, as nanoGPT's.

  Written out, which is fastest on CPUs; and no kernel has that dropout.

  Args:
    q: queries `[batch, length, heads, head_dim]`.
    k: keys `[batch, length, kv_heads, head_dim]`.
    v: values, likewise.
    seen: as from `visible`.
    rate: of dropout.
    key: of dropout; none without it.

  Returns:
    `[batch, length, heads, head_dim]`.
  """
  length, heads, head_dim = q.shape[1:]
  if heads != k.shape[2]:
    k, v = (jnp.repeat(x, heads // x.shape[2], axis=2) for x in (k, v))
  q *= 1 / math.sqrt(head_dim)
  logits = jnp.einsum('bqhd,bkhd->bhqk', q, k).astype(jnp.float32)
  if seen is None:
    seen = jnp.tril(jnp.ones((length, length), bool))
  logits = jnp.where(seen[None, None], logits, -jnp.inf)
  # Not `jax.nn.softmax`: XLA turns its division into a product with the
  # reciprocal or does not, depending on how many devices it compiles for, and
  # a member's bits must not depend on that.
  logits -= jax.lax.stop_gradient(logits.max(-1, keepdims=True))
  weights = jnp.exp(logits)
  probabilities = weights * (1 / weights.sum(-1, keepdims=True))
  probabilities = probabilities.astype(q.dtype)
  probabilities = layers.drop(probabilities, rate, key)
  return jnp.einsum('bhqk,bkhd->bqhd', probabilities, v)


def _has_value_embedding(structure: Structure, index: int) -> bool:
  kind = structure.value_embeddings
  return kind == 'all' or (kind == 'alternate' and index % 2 == 1)
