"""AdamW with gradient clipping, every hyperparameter of it traced.

Sources: Adam arXiv:1412.6980, decoupled decay arXiv:1711.05101. Written out
rather than chained from Optax for speed; a test holds it to Optax's.
"""

from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def init_moments(weights: PyTree) -> dict[str, PyTree]:
  """Zero first and second moments, float32 and shaped as the weights."""

  def zeros() -> PyTree:
    return jax.tree.map(lambda w: jnp.zeros(w.shape, jnp.float32), weights)

  # Twice, for a donated state may hold no array twice.
  return {'mean': zeros(), 'variance': zeros()}


def clip(gradient: PyTree, norm: jax.Array) -> PyTree:
  """Scales a gradient down to a global norm, where it is longer."""
  squares = [jnp.vdot(g, g) for g in jax.tree.leaves(gradient)]
  length = jnp.sqrt(sum(squares))
  scale = jnp.where(length > norm, norm / length, 1.0)
  return jax.tree.map(lambda g: g * scale, gradient)


def update(
  weights: PyTree,
  moments: dict[str, PyTree],
  gradient: PyTree,
  learning_rate: jax.Array,
  hyperparameters: dict[str, jax.Array],
  step: jax.Array,
) -> tuple[PyTree, dict[str, PyTree]]:
  """One step of AdamW.

  Args:
    weights: float32 arrays.
    moments: `mean` and `variance` of the gradient, shaped as the weights.
    gradient: shaped as the weights.
    learning_rate: at this step, float32 scalar.
    hyperparameters: `beta1`, `beta2`, `epsilon`, `gradient_clip` and
      `weight_decay`, which acts on tensors of two axes or more, as nanoGPT's:
      embeddings decay, norms and biases do not.
    step: steps behind the lineage, int32 scalar from 0. Adam's correction of
      its moments for their start at zero uses `step + 1`; an heir carries on
      with its parent's moments, so also with its parent's count.

  Returns:
    New weights and moments.
  """
  h = hyperparameters
  gradient = clip(gradient, h['gradient_clip'])
  count = step.astype(jnp.float32) + 1
  correct1 = 1 / (1 - h['beta1'] ** count)
  correct2 = 1 / (1 - h['beta2'] ** count)
  mean = jax.tree.map(
    lambda m, g: h['beta1'] * m + (1 - h['beta1']) * g,
    moments['mean'],
    gradient,
  )
  variance = jax.tree.map(
    lambda v, g: h['beta2'] * v + (1 - h['beta2']) * g * g,
    moments['variance'],
    gradient,
  )

  def move(w: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
    change = m * correct1 / (jnp.sqrt(v * correct2) + h['epsilon'])
    if w.ndim >= 2:
      change += h['weight_decay'] * w
    return w - learning_rate * change

  weights = jax.tree.map(move, weights, mean, variance)
  return weights, {'mean': mean, 'variance': variance}
