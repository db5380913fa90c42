"""A block of a transformer: attention and an MLP on a stream."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from models import attention, layers
from models.structure import Structure


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


def _last(structure: Structure) -> float:
  """Of what ends a residual branch: keeps the stream's variance near 1."""
  return layers.STANDARD_DEVIATION / math.sqrt(2 * structure.depth)


def _same(x: jax.Array) -> jax.Array:
  return x
