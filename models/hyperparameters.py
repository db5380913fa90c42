"""The traced parameters of a member and their defaults, in one place."""

import jax
import jax.numpy as jnp

# nanoGPT's for a small model on a CPU: 2000 steps of 12 windows of 64 tokens.
DEFAULTS = {
  'learning_rate': 1e-3,  # at its peak
  'beta1': 0.9,
  'beta2': 0.99,
  'epsilon': 1e-8,
  'weight_decay': 0.1,  # per step and unit of learning rate, matrices only
  'warmup': 0.05,  # fraction of the budget
  'decay_start': 0.0,  # fraction of the budget
  'decay_power': 1.0,
  'final_fraction': 0.1,  # of the peak learning rate
  'gradient_clip': 1.0,  # global norm
  'init_scale': 1.0,
  'label_smoothing': 0.0,
  'z_loss': 0.0,
}


def complete(given: dict[str, jax.Array]) -> dict[str, jax.Array]:
  """What is given, with the default of what is not.

  Args:
    given: float32 scalars by name, may be traced.

  Returns:
    A float32 scalar for every name of `DEFAULTS`.

  Raises:
    ValueError: a name is unknown.
  """
  unknown = sorted(set(given) - set(DEFAULTS))
  if unknown:
    raise ValueError(
      f'hyperparameters {", ".join(unknown)}; expected some of '
      f'{", ".join(DEFAULTS)}'
    )
  return {
    name: jnp.asarray(given.get(name, default), jnp.float32)
    for name, default in DEFAULTS.items()
  }
