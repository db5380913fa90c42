"""Layers and the functions between them.

Every `nnx.Param` says in its metadata how it begins: `sd` of a normal
distribution around `mean`, constant where `sd` is 0.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from models.structure import Structure

EPSILON = 1e-5
ROPE_BASE = 10_000.0


def parameter(
  shape: tuple[int, ...], sd: float = 0.0, mean: float = 0.0
) -> nnx.Param:
  """A tensor and how it begins: normal, or constant where `sd` is 0."""
  return nnx.Param(jnp.zeros(shape), sd=sd, mean=mean)


class Linear(nnx.Module):
  """`[..., inputs] -> [..., outputs]`."""

  def __init__(self, inputs: int, outputs: int, bias: bool, sd: float):
    self.kernel = parameter((inputs, outputs), sd)
    self.bias = parameter((outputs,)) if bias else None

  def __call__(self, x: jax.Array) -> jax.Array:
    y = product(x, self.kernel[...].astype(x.dtype))
    if self.bias is not None:
      y += like(self.bias[...], y)
    return y


class Norm(nnx.Module):
  """RMSNorm or LayerNorm over the last axis, in float32."""

  def __init__(self, structure: Structure):
    self.centred = structure.norm == 'layer'
    self.scale = parameter((structure.width,), mean=1.0)
    biased = self.centred and structure.bias
    self.bias = parameter((structure.width,)) if biased else None

  def __call__(self, x: jax.Array) -> jax.Array:
    y = x.astype(jnp.float32)
    if self.centred:
      y -= y.mean(-1, keepdims=True)
    y = root_mean_square_norm(y)
    y *= like(self.scale[...], y)
    if self.bias is not None:
      y += like(self.bias[...], y)
    return y.astype(x.dtype)


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`[..., inputs]` times `[inputs, outputs]`, its leading axes made one.

  With two leading axes XLA transposes whole copies for the kernel's gradient,
  which takes a sixth of a CPU's training step.
  """
  flat = x.reshape(-1, x.shape[-1]) @ kernel
  return flat.reshape(*x.shape[:-1], kernel.shape[-1])


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

  In bfloat16, so on accelerators, `jax.nn.dot_product_attention` does it. On
  CPUs it is written out, which is faster there; and so is dropout, which that
  function does not have.

  Args:
    q: queries `[batch, length, heads, head_dim]`; keys and values likewise.
    k: keys.
    v: values.
    rate: of dropout.
    key: of dropout; none without it.

  Returns:
    `[batch, length, heads, head_dim]`.
  """
  if key is None and q.dtype == jnp.bfloat16:
    return jax.nn.dot_product_attention(q, k, v, is_causal=True)
  length, head_dim = q.shape[1], q.shape[3]
  q *= 1 / math.sqrt(head_dim)
  logits = jnp.einsum('bqhd,bkhd->bhqk', q, k).astype(jnp.float32)
  mask = jnp.tril(jnp.ones((length, length), bool))[None, None]
  logits = jnp.where(mask, logits, -jnp.inf)
  # Not `jax.nn.softmax`: XLA turns its division into a product with the
  # reciprocal or does not, depending on how many devices it compiles for, and
  # a member's bits must not depend on that.
  logits -= jax.lax.stop_gradient(logits.max(-1, keepdims=True))
  weights = jnp.exp(logits)
  probabilities = weights * (1 / weights.sum(-1, keepdims=True))
  probabilities = probabilities.astype(q.dtype)
  probabilities = drop(probabilities, rate, key)
  return jnp.einsum('bhqk,bkhd->bqhd', probabilities, v)


def like(x: jax.Array, y: jax.Array) -> jax.Array:
  """`x` with leading axes of 1 until it has the rank of `y`."""
  return x.reshape((1,) * (y.ndim - x.ndim) + x.shape).astype(y.dtype)
