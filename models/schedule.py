"""The learning rate as a function of the fraction of the budget done."""

import jax
import jax.numpy as jnp


def learning_rate(
  hyperparameters: dict[str, jax.Array], fraction: jax.Array
) -> jax.Array:
  """Warm-up, a flat stretch, then a cosine whose time is raised to a power.

  Optax's schedules branch on their arguments and so refuse traced ones.

  Step i of N is taken at fraction i / N, which is what lies behind it. Where
  the decay starts with the end of the warm-up and its power is 1 this is
  nanoGPT's `get_lr`, except that nanoGPT warms up by (i + 1) / (w + 1) where
  this does by i / w: a difference of at most 1 / (w + 1) of the peak, at the
  first step.

  Args:
    hyperparameters: `learning_rate` (peak), `warmup` and `decay_start` in
      fractions of the budget, `decay_power`, `final_fraction` of the peak.
      Decay never starts before the warm-up ends.
    fraction: of the budget done, float32 in [0, 1].

  Returns:
    The learning rate, a float32 scalar.
  """
  h = hyperparameters
  tiny = jnp.float32(1e-12)  # keeps stretches of length 0 from dividing by 0
  warm = jnp.where(
    fraction < h['warmup'], fraction / jnp.maximum(h['warmup'], tiny), 1.0
  )
  start = jnp.maximum(h['decay_start'], h['warmup'])
  progress = (fraction - start) / jnp.maximum(1 - start, tiny)
  progress = jnp.clip(progress, 0.0, 1.0) ** h['decay_power']
  cosine = 0.5 * (1 + jnp.cos(jnp.pi * progress))
  final = h['final_fraction']
  return h['learning_rate'] * warm * (final + (1 - final) * cosine)
