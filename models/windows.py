"""Windows of tokens: drawn for training, fixed for evaluation."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models import randomness


class Windows(NamedTuple):
  """What evaluation reads of one split.

  Attributes:
    tokens: `[windows, context + 1]`; the first `context` of a row are inputs,
      the last `context` targets.
    first: `[windows]` int32; targets of a row before this one are not scored.
      0, except for the last window of a whole split, which overlaps the one
      before, or what that was cut into, all of which may be past scoring.
    bytes_per_token: UTF-8 bytes of text per token of the split, float32.
  """

  tokens: np.ndarray
  first: np.ndarray
  bytes_per_token: np.ndarray


def draw(
  tokens: jax.Array, seed: jax.Array, step: jax.Array, batch: int, context: int
) -> jax.Array:
  """The windows of one training step.

  Row r of step s begins where a key folded from (seed, s, r) says, evenly over
  all beginnings. So members share windows that have the same seed, step and
  row, whatever their batch.

  Args:
    tokens: `[tokens]`.
    seed: of the member, int32 scalar.
    step: behind the lineage, int32 scalar.
    batch: number of windows.
    context: inputs in a window.

  Returns:
    `[batch, context + 1]`.
  """
  key = jax.random.fold_in(randomness.named_key(seed, 'windows'), step)

  def row(r: jax.Array) -> jax.Array:
    beginnings = tokens.shape[0] - context
    start = jax.random.randint(jax.random.fold_in(key, r), (), 0, beginnings)
    return jax.lax.dynamic_slice(tokens, (start,), (context + 1,))

  return jax.vmap(row)(jnp.arange(batch))


def cut(whole: Windows, context: int) -> Windows:
  """Cuts windows into shorter ones, which score the same targets.

  Args:
    whole: of any length that the context divides; its arrays may be traced.
    context: inputs in a window that comes out.

  Returns:
    The windows, those of a row one after the other.
  """
  length = whole.tokens.shape[1] - 1
  starts = np.arange(0, length, context)
  tokens = whole.tokens[:, starts[:, None] + np.arange(context + 1)[None]]
  first = jnp.maximum(whole.first[:, None] - starts[None], 0)
  return Windows(
    tokens.reshape(-1, context + 1), first.reshape(-1), whole.bytes_per_token
  )


def spread(
  tokens: np.ndarray, context: int, targets: int, bytes_per_token: float
) -> Windows:
  """Windows spread evenly over a split, no two of which score one target.

  Args:
    tokens: `[tokens]`, more than `context`.
    context: inputs in a window.
    targets: to be scored, rounded down to whole windows but one at least; 0,
      or as many as there are, scores every token that another precedes.
    bytes_per_token: of the split.

  Returns:
    The windows.
  """
  last = tokens.size - context - 1
  if 0 < targets < tokens.size - 1:
    count = max(targets // context, 1)
    starts = np.linspace(0, last, count).astype(np.int64)
    first = np.zeros(count, np.int32)
  else:
    count = math.ceil((tokens.size - 1) / context)
    wanted = np.arange(count) * context
    starts = np.minimum(wanted, last)
    first = (wanted - starts).astype(np.int32)
  rows = tokens[starts[:, None] + np.arange(context + 1)[None, :]]
  return Windows(rows, first, np.float32(bytes_per_token))
