"""The traced parameters of a member and their defaults, in one place."""

import jax
import jax.numpy as jnp

# nanoGPT's for a small model on a CPU (2000 steps of 12 windows of 64 tokens);
# where nanoGPT has no such thing, what leaves it alone or, if a structural
# choice has to switch it on first, nanochat's.
DEFAULTS = {
  # Learning rate and its schedule, in fractions of the budget.
  'learning_rate': 1e-3,  # of matrices, at its peak
  'embedding_rate': 1.0,  # of embeddings and positions, in learning rates
  'head_rate': 1.0,  # of an untied head, likewise
  'scalar_rate': 1.0,  # of norms, biases and other vectors, likewise
  'warmup': 0.05,
  'decay_start': 0.0,
  'decay_power': 1.0,
  'decay_linear': 0.0,  # 0 is a cosine, 1 a straight line
  'final_fraction': 0.1,  # of the peak
  # Moments.
  'beta1': 0.9,
  'beta2': 0.99,
  'embedding_beta2': 0.99,  # of embeddings, positions and value embeddings
  'epsilon': 1e-8,
  'momentum': 0.95,  # of Muon, after its warm-up from .85
  'momentum_warmup': 0.1,
  'gradient_clip': 1.0,  # global norm
  # Decay per step and unit of learning rate.
  'weight_decay': 0.1,  # of matrices
  'embedding_decay': 0.1,  # of embeddings and positions
  'head_decay': 0.1,
  'value_decay': 0.0,  # of value embeddings
  'weight_decay_final': 1.0,  # of all four, at the end of its cosine
  # Beginnings: factors on standard deviations.
  'init_scale': 1.0,  # of every random tensor
  'embedding_init': 1.0,  # of embeddings and positions
  'up_init': 1.0,  # of the first layer of MLPs
  'out_init': 1.0,  # of what ends a residual branch; 0 is nanochat's
  'head_init': 1.0,
  'dropout_rate': 0.1,
  'ema_decay': 0.99,
  # The network.
  'rope_base': 10_000.0,
  'rope_fraction': 1.0,  # of the channels of a head
  'qk_scale': 1.0,  # factor on queries and on keys, after their norm
  'window_short': 32.0,  # tokens that a short window reaches back
  'window_period': 4.0,  # every so many blocks one sees everything
  'softcap': 15.0,  # of logits
  'value_gate': 2.0,  # largest factor on value embeddings
  'residual_init': 1.0,  # of a block's factor on the stream
  'x0_init': 0.1,  # of a block's factor on the embedding
  # The objective.
  'label_smoothing': 0.0,
  'z_loss': 0.0,
  'confidence_penalty': 0.0,
  'focal': 0.0,  # exponent
  'mtp_2': 0.0,  # weight of the token after the next; falls to 0 at the end
  'mtp_3': 0.0,  # weight of the one after that, likewise
  'position_weight': 0.0,  # exponent: weight of a token by its place
  'length_warmup': 0.0,  # fraction of the budget until sequences are whole
  'batch_warmup': 0.0,  # fraction of the budget until all rows count
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
