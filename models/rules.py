"""What each optimiser does with a clipped gradient, in one step.

Sources: AdamW arXiv:1711.05101, Lion arXiv:2302.06675, schedule-free AdamW
arXiv:2405.15682, Muon see `muon`; operation by operation as in Optax 0.2.8.

A rule takes and gives weights and moments as flat dicts of float32 arrays by
path, and reads nothing but the gradient and what holds `Now`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from models import muon as muon_lib

Path = tuple[str, ...]
Flat = dict[Path, jax.Array]
Moments = dict[str, Flat | jax.Array]


class Setting(NamedTuple):
  """What holds for a group of weights at one step, float32 scalars.

  Attributes:
    rate: learning rate.
    decay: of the weights, per step and unit of learning rate.
    beta1: of first moments; Muon's momentum for its matrices.
    beta2: of second moments; of Lion's only one.
  """

  rate: jax.Array
  decay: jax.Array
  beta1: jax.Array
  beta2: jax.Array


class Now(NamedTuple):
  """What holds at one step.

  Attributes:
    settings: by path.
    rate: learning rate before the factors of groups, float32 scalar.
    epsilon: of Adam and Muon, float32 scalar.
    count: of gradients in the moments, this one too; float32 scalar from 1.
  """

  settings: dict[Path, Setting]
  rate: jax.Array
  epsilon: jax.Array
  count: jax.Array


def adamw(
  now: Now, weights: Flat, moments: Moments, gradient: Flat
) -> tuple[Flat, Moments]:
  """Adam with decoupled decay."""
  mean = _means(now, moments['mean'], gradient)
  variance = _variances(now, moments['variance'], gradient)
  change = {}
  for path, m in mean.items():
    unbiased = m * _correction(now.settings[path].beta1, now.count)
    change[path] = _adam(now, path, unbiased, variance[path])
  weights = _move(now, weights, weights, change)
  return weights, {'mean': mean, 'variance': variance}


def lion(
  now: Now, weights: Flat, moments: Moments, gradient: Flat
) -> tuple[Flat, Moments]:
  """The sign of a mean that leans more on the gradient than the one kept."""
  leaning = _means(now, moments['mean'], gradient)
  change = {path: jnp.sign(m) for path, m in leaning.items()}
  mean = {
    path: _mix(now.settings[path].beta2, m, gradient[path])
    for path, m in moments['mean'].items()
  }
  return _move(now, weights, weights, change), {'mean': mean}


def muon(
  now: Now, weights: Flat, moments: Moments, gradient: Flat
) -> tuple[Flat, Moments]:
  """Muon for what has no variance; the rest AdamW with Nesterov, as Optax."""
  mean = _means(now, moments['mean'], gradient)
  variance = _variances(now, moments['variance'], gradient)
  ahead = {
    path: _look_ahead(now.settings[path].beta1, now.count, m, gradient[path])
    for path, m in mean.items()
  }
  change = muon_lib.orthogonalise(
    {path: x for path, x in ahead.items() if path not in variance},
    now.epsilon,
  )
  for path, v in variance.items():
    change[path] = _adam(now, path, ahead[path], v)
  weights = _move(now, weights, weights, change)
  return weights, {'mean': mean, 'variance': variance}


def schedule_free(
  now: Now, weights: Flat, moments: Moments, gradient: Flat
) -> tuple[Flat, Moments]:
  """AdamW of z, averaged into x, the weights; gradients are taken between.

  A step's share of the average is the square of the largest rate so far, over
  the sum of those. Optax keeps y, which is between, and works x out by beta1:
  of another beta1, as an heir may have, that would be another x.
  """
  variance = _variances(now, moments['variance'], gradient)
  change = {
    path: _adam(now, path, gradient[path], v) for path, v in variance.items()
  }
  y = {
    path: between(x, moments['z'][path], now.settings[path].beta1)
    for path, x in weights.items()
  }
  z = _move(now, moments['z'], y, change)
  max_rate = jnp.maximum(moments['max_rate'], now.rate)
  weight_sum = moments['weight_sum'] + max_rate**2
  # Nothing has moved as long as the rate is 0.
  share = jnp.where(weight_sum > 0, max_rate**2 / weight_sum, 0.0)
  moved = {path: _mix(1 - share, x, z[path]) for path, x in weights.items()}
  sums = {'weight_sum': weight_sum, 'max_rate': max_rate}
  return moved, {'variance': variance, 'z': z, **sums}


def between(x: jax.Array, z: jax.Array, beta1: jax.Array) -> jax.Array:
  """Schedule-free's y, where gradients are taken."""
  return _mix(beta1, x, z)


BY_NAME = {
  'adamw': adamw,
  'lion': lion,
  'muon': muon,
  'schedule_free': schedule_free,
}


def _mix(beta: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
  return beta * old + (1 - beta) * new


def _correction(beta: jax.Array, count: jax.Array) -> jax.Array:
  """Of a mean over so many gradients that began at zero."""
  return 1 / (1 - beta**count)


def _means(now: Now, mean: Flat, gradient: Flat) -> Flat:
  return {
    path: _mix(now.settings[path].beta1, m, gradient[path])
    for path, m in mean.items()
  }


def _variances(now: Now, variance: Flat, gradient: Flat) -> Flat:
  return {
    path: _mix(now.settings[path].beta2, v, gradient[path] * gradient[path])
    for path, v in variance.items()
  }


def _look_ahead(
  beta: jax.Array, count: jax.Array, mean: jax.Array, gradient: jax.Array
) -> jax.Array:
  """Nesterov's mean: the one that a second gradient like this would make."""
  ahead = beta * _correction(beta, count + 1)
  return ahead * mean + (1 - beta) * _correction(beta, count) * gradient


def _adam(
  now: Now, path: Path, change: jax.Array, variance: jax.Array
) -> jax.Array:
  """Over the standard deviation, corrected for its start at zero."""
  unbiased = variance * _correction(now.settings[path].beta2, now.count)
  return change / (jnp.sqrt(unbiased) + now.epsilon)


def _move(now: Now, start: Flat, weights: Flat, change: Flat) -> Flat:
  """From a start, against a change and what the weights decay by."""
  moved = {}
  for path, x in start.items():
    setting = now.settings[path]
    decayed = change[path] + setting.decay * weights[path]
    moved[path] = x - setting.rate * decayed
  return moved
