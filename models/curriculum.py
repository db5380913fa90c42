"""What a training step leaves out early on: long pasts, and rows."""

import jax
import jax.numpy as jnp

# Of the context: the pieces that a length curriculum begins with.
SHORTEST = 1 / 8


def piece_length(
  context: int, hyperparameters: dict[str, jax.Array], fraction: jax.Array
) -> jax.Array:
  """How many tokens of a window belong together.

  Windows keep their shape, and so their cost; attention is cut instead, into
  pieces that grow as the budget is spent (arXiv:2108.06084 grows windows).

  Args:
    context: tokens of a window.
    hyperparameters: `length_warmup`, the fraction of the budget at which
      pieces are whole windows; at 0 they always are.
    fraction: of the budget done, float32 in [0, 1).

  Returns:
    A whole number in [1, context], a float32 scalar.
  """
  done = _done(hyperparameters['length_warmup'], fraction)
  length = jnp.floor(context * jnp.maximum(SHORTEST, done))
  return jnp.maximum(length, 1)


def row_weights(
  rows: int, hyperparameters: dict[str, jax.Array], fraction: jax.Array
) -> jax.Array:
  """The weight of each row of a batch: 0 for the last ones, early on.

  The batch keeps its shape, and so its cost; its gradient becomes as noisy as
  that of a smaller one.

  Args:
    rows: windows in a batch.
    hyperparameters: `batch_warmup`, the fraction of the budget at which all
      rows count; at 0 they always do.
    fraction: of the budget done, float32 in [0, 1).

  Returns:
    `[rows]` float32 with a mean of 1.
  """
  done = _done(hyperparameters['batch_warmup'], fraction)
  count = jnp.maximum(jnp.ceil(rows * done), 1)
  return jnp.where(jnp.arange(rows) < count, rows / count, 0.0)


def _done(warmup: jax.Array, fraction: jax.Array) -> jax.Array:
  """The fraction of a warm-up that lies behind, in [0, 1]."""
  # The inner choice keeps 0 / 0 out of the outer one.
  share = fraction / jnp.where(warmup > 0, warmup, 1.0)
  return jnp.where(warmup > 0, jnp.minimum(share, 1), 1.0)
