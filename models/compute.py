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
    written_out: blocks that are written out one after another at most, which
      trains faster; more of them are one loop, which is compiled once.
    kept: of each block for the way back, beside what it began with:
      `everything`; all `products` with weights; or only the `middles` of its
      two branches, what attention gives and the MLP's hidden channels, where
      copying the rest costs as much as computing it again.
    logits: at most so many exist at a time on a device, where whole rows allow
      it; 0 is no bound.
    rows: of embeddings whose gradient is a product; see `shardings.rows`.
  """

  dtype: jnp.dtype = jnp.float32
  attention: str = 'written'
  written_out: float = math.inf
  kept: str = 'everything'
  logits: int = 0
  rows: int = 0


CPU = Compute()
GPU = Compute(jnp.bfloat16, 'xla', 0, 'products', logits=1 << 25)
TPU = Compute(jnp.bfloat16, 'flash', 0, 'middles', logits=1 << 25, rows=4096)


def on(platform: str) -> Compute:
  """How members are computed on `cpu`, `gpu` or `tpu`."""
  return {'cpu': CPU, 'gpu': GPU, 'tpu': TPU}[platform]
