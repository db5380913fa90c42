"""How a member is computed on a kind of device; not what it computes."""

import dataclasses
import math

import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Compute:
  """How a member is computed.

  Attributes:
    dtype: of matrix products; norms, softmax and weights are float32 always.
    attention: `written` out, which is fastest on CPUs; by XLA as
      `jax.nn.dot_product_attention` (`xla`); or by the TPU kernel of
      `models.flash` (`flash`) wherever that one can.
    written_out: blocks that are written out one after another at most, with all
      kept that the way back needs, which trains fastest; more of them are one
      loop, which is compiled once.
    room: bytes of a device for what blocks that are written out keep; where
      they need more they are a loop, too.
    kept: what such a loop keeps of each block for the way back, beside what the
      block began with: all `products` with weights; or only the `middles` of
      its two branches, what attention gives and the MLP's hidden channels,
      where copying the rest costs as much as computing it again.
    logits: at most so many exist at a time on a device, where whole rows allow
      it; 0 is no bound.
    rows: of embeddings whose gradient is a product; see `shardings.rows`.
  """

  dtype: jnp.dtype = jnp.float32
  attention: str = 'written'
  written_out: float = math.inf
  room: float = math.inf
  kept: str = 'products'
  logits: int = 0
  rows: int = 0


CPU = Compute()
GPU = Compute(jnp.bfloat16, 'xla', written_out=0, logits=1 << 25)
TPU = Compute(
  *(jnp.bfloat16, 'flash'),
  written_out=24,
  kept='middles',
  logits=1 << 25,
  rows=4096,
)


def on(platform: str, room: float = math.inf) -> Compute:
  """How members are computed on `cpu`, `gpu` or `tpu`.

  Args:
    platform: one of these.
    room: of a device, for what the blocks of one member keep.
  """
  how = {'cpu': CPU, 'gpu': GPU, 'tpu': TPU}[platform]
  return how if platform == 'cpu' else dataclasses.replace(how, room=room)
