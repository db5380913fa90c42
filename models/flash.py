"""Attention by the flash kernel that JAX brings for TPUs.

`jax.experimental.pallas.ops.tpu.splash_attention` never holds a whole matrix
of logits and skips blocks that are masked (arXiv:2205.14135).
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash

from models import shardings

# Queries and keys that a block has at most; lengths are multiples of the least.
_MOST, _LEAST = 512, 128


def fits(length: int, head_dim: int) -> bool:
  """Whether the kernel takes sequences and heads of this size."""
  return length % _LEAST == 0 and head_dim % 64 == 0


def attend(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  pieces: jax.Array | None,
) -> jax.Array:
  """Causal attention, without any other mask: the kernel takes no traced one.

  Args:
    q: queries `[batch, heads, length, head_dim]`.
    k: keys `[batch, kv_heads, length, head_dim]`.
    v: values, likewise.
    pieces: tokens that sequences are cut into; nothing is seen across a cut.

  Returns:
    `[batch, heads, length, head_dim]`, known to `jax.checkpoint` as `attended`
    together with what else the way back needs beside the arguments.
  """
  length, head_dim = q.shape[2:]
  q = (q.astype(jnp.float32) / math.sqrt(head_dim)).astype(q.dtype)
  place = jnp.arange(length, dtype=jnp.int32)
  piece = jnp.zeros_like(place) if pieces is None else _piece(place, pieces)

  def local(
    q: jax.Array, k: jax.Array, v: jax.Array, piece: jax.Array
  ) -> jax.Array:
    ids = splash.SegmentIds(q=piece, kv=piece)
    kernel = _kernel(q.shape[1], length)
    return jax.vmap(lambda q, k, v: kernel(q, k, v, ids))(q, k, v)

  split = ('batch', 'heads', None, None)
  # What is closed over would belong to the mesh outside.
  args, logical = (q, k, v, piece), (split, split, split, (None,))
  return shardings.locally(local, args, logical, split)


def _piece(place: jax.Array, pieces: jax.Array) -> jax.Array:
  return place // pieces.astype(jnp.int32)


def _kernel(heads: int, length: int) -> Callable[..., jax.Array]:
  """The kernel of all heads; it checks shapes when it is called."""
  block = max(b for b in (_LEAST, 2 * _LEAST, _MOST) if length % b == 0)
  names = ('block_q', 'block_kv', 'block_q_dkv', 'block_kv_dkv')
  names += ('block_q_dq', 'block_kv_dq')
  blocks = splash.BlockSizes(**dict.fromkeys(names, block))
  mask = splash.MultiHeadMask([splash.CausalMask((length, length))] * heads)
  return splash.make_splash_mha(
    mask,
    block_sizes=blocks,
    head_shards=1,
    q_seq_shards=1,
    residual_checkpoint_name='attended',
  )
