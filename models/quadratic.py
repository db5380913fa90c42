"""A trainee without a model: the toy of population-based training.

Figure 2 of Jaderberg et al., arXiv 1711.09846: two weights climb
Q = 1.2 - |theta|^2, but a member only sees a surrogate in which each weight's
term is scaled by a hyperparameter. No constant setting with one of them at 0
gets far; copying weights between members does.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Cost(NamedTuple):
  """What one member costs: FLOPs, examples of a step, FLOPs to score, weights."""

  flops_per_step: float
  tokens_per_step: int
  flops_per_evaluation: dict[str, float]
  weights: int


class Quadratic:
  """Has the shape of `evo.trainee.Trainee`; the metric is -Q."""

  metric = 'negative_q'
  digest = 'none'
  data: dict[str, Any] = {'train': (), 'search': (), 'confirm': ()}

  def init(self, structure, hyperparameters, seed):
    """Both weights start at .9, whatever the seed."""
    return jnp.full((2,), 0.9)

  def step(self, structure, data, hyperparameters, theta, seed, step, fraction):
    """A step of .01 up the surrogate's gradient."""
    scale = jnp.stack([hyperparameters['h0'], hyperparameters['h1']])
    return theta - 0.01 * 2 * scale * theta, jnp.sum(scale * theta**2)

  def evaluate(self, structure, data, hyperparameters, theta) -> jax.Array:
    """-Q, which no hyperparameter can reach."""
    return jnp.sum(theta**2) - 1.2

  def specs(self, state, sizes) -> jax.P:
    """Two weights are not worth splitting."""
    return jax.P()

  def cost(self, structure) -> Cost:
    """Multiplications, counted by hand."""
    return Cost(6.0, 1, {'search': 2.0, 'confirm': 2.0}, weights=2)
