"""What training minimises, and what evaluation reports."""

import jax
import jax.numpy as jnp
import numpy as np

from models import curriculum

# Of a target's improbability, where its power is taken: keeps slopes finite.
TINY = 1e-7


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
  hyperparameters: dict[str, jax.Array],
  fraction: jax.Array,
) -> jax.Array:
  """The mean of `losses`, weighted by row and place.

  Args:
    logits: `[batch, length, vocabulary]`.
    targets: integers `[batch, length]`.
    hyperparameters: of `losses` and `mean`.
    fraction: of the budget done, float32 in [0, 1).

  Returns:
    Nats per token, a float32 scalar.
  """
  lost = losses(logits, targets, hyperparameters, fraction)
  return mean(lost, hyperparameters, fraction)


def losses(
  logits: jax.Array,
  targets: jax.Array,
  hyperparameters: dict[str, jax.Array],
  fraction: jax.Array,
) -> jax.Array:
  """Cross entropy and everything that may be added to it.

  At the defaults of `hyperparameters.DEFAULTS` it is `nats`.

  Args:
    logits: `[batch, length, vocabulary]`.
    targets: integers `[batch, length]`.
    hyperparameters: `label_smoothing`, probability spread evenly over the
      vocabulary; `focal`, the power of a target's improbability that scales
      its cross entropy (arXiv:1708.02002); `z_loss`, factor on the squared log
      of the softmax's normaliser, which keeps logits from drifting (PaLM,
      arXiv:2204.02311, section 5); `confidence_penalty`, factor on the
      entropy, which is taken off (arXiv:1701.06548); `mtp_2` and `mtp_3`, what
      the same logits lose on the targets one and two places later, as
      modded-nanogpt, falling to 0 at the end of the budget.
    fraction: of the budget done, float32 in [0, 1).

  Returns:
    Nats `[batch, length]`, float32.
  """
  h = hyperparameters
  logits = logits.astype(jnp.float32)
  normaliser, expected = _normaliser_and_mean(logits)
  at = _at(logits, targets)
  smooth = h['label_smoothing']
  lost = normaliser - (1 - smooth) * at - smooth * logits.mean(-1)
  loss = _focus(normaliser - at, h['focal']) * lost
  loss += h['z_loss'] * jnp.square(normaliser)
  loss -= h['confidence_penalty'] * (normaliser - expected)
  for places, name in ((1, 'mtp_2'), (2, 'mtp_3')):
    later = _later(logits, normaliser, targets, places)
    loss += h[name] * (1 - fraction) * later
  return loss


def mean(
  loss: jax.Array,
  hyperparameters: dict[str, jax.Array],
  fraction: jax.Array,
) -> jax.Array:
  """The weighted mean of losses.

  Args:
    loss: `[batch, length]`, float32.
    hyperparameters: `position_weight`, the power of a place (from 1) that
      weighs its loss; `batch_warmup`, see `curriculum.row_weights`.
    fraction: of the budget done, float32 in [0, 1).

  Returns:
    A float32 scalar.
  """
  h, (rows, length) = hyperparameters, loss.shape
  loss *= curriculum.row_weights(rows, h, fraction)[:, None]
  loss *= _place_weights(length, h['position_weight'])[None, :]
  return loss.mean()


def _normaliser_and_mean(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The log of the softmax's normaliser, and the logit expected under it.

  Their difference is the softmax's entropy. Together, for they share the
  exponentials, which cost a CPU more than the rest.
  """
  largest = jax.lax.stop_gradient(logits.max(-1, keepdims=True))
  weights = jnp.exp(logits - largest)
  total = weights.sum(-1)
  mean = (weights * logits).sum(-1) * (1 / total)
  return jnp.log(total) + largest[..., 0], mean


def _focus(nats: jax.Array, power: jax.Array) -> jax.Array:
  """Each target's improbability to a power; exactly 1 where that is 0."""
  improbability = jnp.maximum(-jnp.expm1(-nats), TINY)
  return jnp.exp(power * jnp.log(improbability))


def _later(
  logits: jax.Array, normaliser: jax.Array, targets: jax.Array, places: int
) -> jax.Array:
  """Cross entropy of the targets some places later, 0 where there is none."""
  length = targets.shape[1]
  shifted = jnp.pad(targets[:, places:], ((0, 0), (0, min(places, length))))
  lost = normaliser - _at(logits, shifted)
  return jnp.where(np.arange(length)[None] < length - places, lost, 0)


def _place_weights(length: int, power: jax.Array) -> jax.Array:
  """`[length]`, growing with the place, with a mean of 1."""
  weights = jnp.exp(power * np.log(np.arange(1, length + 1) / length))
  # A product, for XLA may or may not make one of the division.
  return weights * (1 / weights.mean())


def _at(logits: jax.Array, targets: jax.Array) -> jax.Array:
  """Each target's logit. A gather's gradient is a scatter, slow on CPUs."""
  tokens = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2)
  hit = tokens == targets[..., None].astype(jnp.int32)
  return jnp.where(hit, logits, 0).sum(-1)
