"""Layers and the functions between them.

Every `nnx.Param` says in its metadata how it begins; see `parameter`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models.structure import Structure

EPSILON = 1e-5

# nanoGPT's, of every random tensor but those that end a residual branch.
STANDARD_DEVIATION = 0.02


def parameter(
  shape: tuple[int, ...],
  sd: float = 0.0,
  mean: float | str = 0.0,
  factor: str | None = None,
) -> nnx.Param:
  """A tensor and how it begins.

  Args:
    shape: of the tensor.
    sd: standard deviation of its normal distribution; where it is 0 the tensor
      begins constant.
    mean: of that distribution, a number or the name of a hyperparameter.
    factor: name of the hyperparameter that multiplies `sd`, beside
      `init_scale`, which multiplies all.

  Returns:
    Zeros with the rest as metadata.
  """
  return nnx.Param(jnp.zeros(shape), sd=sd, mean=mean, factor=factor)


class Linear(nnx.Module):
  """`[..., inputs] -> [..., outputs]`."""

  def __init__(
    self,
    inputs: int,
    outputs: int,
    bias: bool,
    sd: float = STANDARD_DEVIATION,
    factor: str | None = None,
  ):
    self.kernel = parameter((inputs, outputs), sd, factor=factor)
    self.bias = parameter((outputs,)) if bias else None

  def __call__(self, x: jax.Array) -> jax.Array:
    y = product(x, self.kernel[...].astype(x.dtype))
    if self.bias is not None:
      y += like(self.bias[...], y)
    return y

  def to_heads(self, x: jax.Array, head_dim: int) -> jax.Array:
    """`[batch, length, inputs] -> [batch, heads, length, head_dim]`.

    As one product, which a matrix unit writes in that order at no cost.
    """
    kernel = self.kernel[...].astype(x.dtype)
    kernel = kernel.reshape(kernel.shape[0], -1, head_dim)
    y = jnp.einsum('bti,ihc->bhtc', x, kernel)
    if self.bias is not None:
      y += like(self.bias[...].reshape(-1, 1, head_dim), y)
    return y

  def from_heads(self, x: jax.Array) -> jax.Array:
    """`[batch, heads, length, head_dim] -> [batch, length, outputs]`."""
    kernel = self.kernel[...].astype(x.dtype)
    kernel = kernel.reshape(x.shape[1], x.shape[3], -1)
    y = jnp.einsum('bhtc,hco->bto', x, kernel)
    if self.bias is not None:
      y += like(self.bias[...], y)
    return y


def linears(x: jax.Array, layers: list[Linear]) -> list[jax.Array]:
  """What several linear layers make of the same `x`.

  As one product, which a CPU computes faster than one for each.
  """
  kernels = [layer.kernel[...].astype(x.dtype) for layer in layers]
  y = product(x, jnp.concatenate(kernels, 1))
  if layers[0].bias is not None:
    y += like(jnp.concatenate([layer.bias[...] for layer in layers]), y)
  outputs = [kernel.shape[1] for kernel in kernels]
  return jnp.split(y, np.cumsum(outputs)[:-1], -1)


class Norm(nnx.Module):
  """RMSNorm, LayerNorm or dynamic tanh of the last axis, in float32.

  Dynamic tanh (arXiv:2503.10622) is `tanh(alpha * x)`, alpha a learned scalar,
  and no norm, but stands where one would.
  """

  def __init__(self, structure: Structure):
    self.kind = structure.norm
    self.scale = parameter((structure.width,), mean=1.0)
    biased = structure.bias and structure.norm != 'rms'
    self.bias = parameter((structure.width,)) if biased else None
    self.alpha = parameter((), mean=0.5) if structure.norm == 'dyt' else None

  def __call__(self, x: jax.Array) -> jax.Array:
    y = x.astype(jnp.float32)
    if self.alpha is not None:
      y = jnp.tanh(self.alpha[...] * y)
    else:
      if self.kind == 'layer':
        y -= y.mean(-1, keepdims=True)
      y = root_mean_square_norm(y)
    y *= like(self.scale[...], y)
    if self.bias is not None:
      y += like(self.bias[...], y)
    return y.astype(x.dtype)


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`[..., inputs]` times `[inputs, outputs]`.

  In float32, as on CPUs, leading axes are made one: with two of them XLA
  transposes whole copies for the kernel's gradient, a sixth of a training step.
  In bfloat16 they stay, for a TPU fuses nothing into a product behind a reshape,
  which takes a tenth.
  """
  if x.dtype != jnp.float32:
    return x @ kernel
  flat = _matrix_product(x.reshape(-1, x.shape[-1]), kernel)
  return flat.reshape(*x.shape[:-1], kernel.shape[-1])


@jax.custom_vjp
def _matrix_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
  return x @ kernel


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple]:
  return x @ kernel, (x, kernel)


def _backward(
  saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
  x, kernel = saved
  return gradient @ kernel.T, _kernel_gradient(x, gradient)


_matrix_product.defvjp(_forward, _backward)


def _kernel_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
  """`x.T @ gradient`, the narrower of the two transposed.

  A CPU's product with an operand of 512 columns transposed takes twice as long.
  XLA would undo a transpose behind a product, but not one of its pieces.
  """
  if x.shape[1] <= gradient.shape[1]:
    return x.T @ gradient
  y = gradient.T @ x
  half = y.shape[1] // 2
  return jnp.concatenate([y[:, :half].T, y[:, half:].T])


def root_mean_square_norm(x: jax.Array) -> jax.Array:
  """Scales the last axis to a mean square of 1, computed in float32."""
  y = x.astype(jnp.float32)
  y *= root_mean_square_factor(y)
  return y.astype(x.dtype)


def root_mean_square_factor(x: jax.Array) -> jax.Array:
  """What scales the last axis to a mean square of 1; float32 `[..., 1]`."""
  square = jnp.square(x.astype(jnp.float32))
  return jax.lax.rsqrt(square.mean(-1, keepdims=True) + EPSILON)


def activate(name: str, x: jax.Array) -> jax.Array:
  """The activation of that name.

  Args:
    name: relu2, gelu (by erf, as nanoGPT), leaky2 (the square of a leaky ReLU
      of slope 1/2, as in parameter-golf's records) or silu, which is also that
      of swiglu's gate.
    x: any shape.

  Returns:
    An array like `x`.
  """
  if name == 'relu2':
    return _squared_relu(x)
  if name == 'leaky2':
    return jnp.square(jnp.where(x > 0, x, 0.5 * x))
  if name == 'gelu':
    # jax.nn.gelu takes erfc, whose two branches cost a CPU most of the step.
    return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))
  return jax.nn.silu(x)


@jax.custom_jvp
def _squared_relu(x: jax.Array) -> jax.Array:
  return jnp.square(jax.nn.relu(x))


@_squared_relu.defjvp
def _squared_relu_jvp(
  primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
  # Without the mask of `relu`'s own slope, which a TPU would keep.
  (x,), (tangent,) = primals, tangents
  y = jax.nn.relu(x)
  return jnp.square(y), 2 * y * tangent


def drop(x: jax.Array, rate: jax.Array, key: jax.Array | None) -> jax.Array:
  """Inverted dropout at a rate below 1; none without a key."""
  if key is None:
    return x
  kept = jax.random.bernoulli(key, 1 - rate, x.shape)
  return jnp.where(kept, x * (1 / (1 - rate)), 0).astype(x.dtype)


def cap(logits: jax.Array, at: jax.Array) -> jax.Array:
  """Bends logits smoothly into (-at, at); float32 (arXiv:2408.00118, 2.1)."""
  return at * jnp.tanh(logits.astype(jnp.float32) * (1 / at))


def like(x: jax.Array, y: jax.Array) -> jax.Array:
  """`x` with leading axes of 1 until it has the rank of `y`."""
  return x.reshape((1,) * (y.ndim - x.ndim) + x.shape).astype(y.dtype)
