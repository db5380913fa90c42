"""What training minimises, and what evaluation reports."""

import jax
import jax.numpy as jnp


def nats(logits: jax.Array, targets: jax.Array) -> jax.Array:
  """Cross entropy of every target in nats, float32.

  Args:
    logits: `[batch, length, vocabulary]`.
    targets: integers `[batch, length]`.

  Returns:
    `[batch, length]`.
  """
  logits = logits.astype(jnp.float32)
  return jax.nn.logsumexp(logits, -1) - _at(logits, targets)


def training_loss(
  logits: jax.Array,
  targets: jax.Array,
  label_smoothing: jax.Array,
  z_loss: jax.Array,
) -> jax.Array:
  """Mean cross entropy against smoothed targets, plus the z-loss.

  Args:
    logits: `[batch, length, vocabulary]`.
    targets: integers `[batch, length]`.
    label_smoothing: probability spread evenly over the vocabulary, in [0, 1).
    z_loss: factor on the squared log of the softmax's normaliser, which keeps
      logits from drifting (PaLM, arXiv:2204.02311, section 5).

  Returns:
    Nats per token, a float32 scalar.
  """
  logits = logits.astype(jnp.float32)
  normaliser = jax.nn.logsumexp(logits, -1)
  expected = (1 - label_smoothing) * _at(logits, targets)
  expected += label_smoothing * logits.mean(-1)
  return jnp.mean(normaliser - expected + z_loss * jnp.square(normaliser))


def _at(logits: jax.Array, targets: jax.Array) -> jax.Array:
  """Each target's logit. A gather's gradient is a scatter, slow on CPUs."""
  tokens = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2)
  hit = tokens == targets[..., None].astype(jnp.int32)
  return jnp.where(hit, logits, 0).sum(-1)
