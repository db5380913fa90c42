"""What changes with the fraction of the budget done: rates, decay, momentum.

Optax's schedules branch on their arguments and so refuse traced ones.
"""

import jax
import jax.numpy as jnp

COLD_MOMENTUM = 0.85  # Muon's where its warm-up begins, as in modded-nanogpt
TINY = 1e-12  # keeps stretches of length 0 from dividing by 0


def learning_rate(
  hyperparameters: dict[str, jax.Array], fraction: jax.Array
) -> jax.Array:
  """Warm-up, a flat stretch, then a decay whose time is raised to a power.

  Step i of N is taken at fraction i / N, which is what lies behind it. Where
  the decay is a cosine, starts with the end of the warm-up and has a power of
  1 this is nanoGPT's `get_lr`, except that nanoGPT warms up by
  (i + 1) / (w + 1) where this does by i / w: a difference of at most
  1 / (w + 1) of the peak, at the first step.

  Args:
    hyperparameters: `learning_rate` (peak), `warmup` and `decay_start` in
      fractions of the budget, `decay_power`, `decay_linear` in [0, 1] (a
      cosine at 0, a straight line at 1, their mean at .5), `final_fraction` of
      the peak. Decay never starts before the warm-up ends.
    fraction: of the budget done, float32 in [0, 1].

  Returns:
    The learning rate, a float32 scalar.
  """
  h = hyperparameters
  warm = _climb(fraction, h['warmup'])
  start = jnp.maximum(h['decay_start'], h['warmup'])
  progress = (fraction - start) / jnp.maximum(1 - start, TINY)
  progress = jnp.clip(progress, 0.0, 1.0) ** h['decay_power']
  left = _cosine(progress)
  left += h['decay_linear'] * (1 - progress - left)
  final = h['final_fraction']
  return h['learning_rate'] * warm * (final + (1 - final) * left)


def weight_decay_factor(
  hyperparameters: dict[str, jax.Array], fraction: jax.Array
) -> jax.Array:
  """A cosine from 1 to `weight_decay_final` over the whole budget."""
  final = hyperparameters['weight_decay_final']
  return final + (1 - final) * _cosine(fraction)


def momentum(
  hyperparameters: dict[str, jax.Array], fraction: jax.Array
) -> jax.Array:
  """Muon's momentum: a straight line up to `momentum`, then flat.

  Args:
    hyperparameters: `momentum` and `momentum_warmup`, a fraction of the
      budget. The line begins at .85, or at `momentum` if that is lower.
    fraction: of the budget done, float32 in [0, 1].
  """
  warm = hyperparameters['momentum']
  cold = jnp.minimum(warm, COLD_MOMENTUM)
  climbed = _climb(fraction, hyperparameters['momentum_warmup'])
  return cold + (warm - cold) * climbed


def _climb(fraction: jax.Array, stretch: jax.Array) -> jax.Array:
  """A straight line from 0 to 1 over a stretch, then 1."""
  return jnp.where(
    fraction < stretch, fraction / jnp.maximum(stretch, TINY), 1.0
  )


def _cosine(progress: jax.Array) -> jax.Array:
  """Half a cosine, from 1 at 0 to 0 at 1."""
  return 0.5 * (1 + jnp.cos(jnp.pi * progress))
