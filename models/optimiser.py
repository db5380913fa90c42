"""Optimisers, by group of weights, with every hyperparameter traced.

Sources: AdamW arXiv:1711.05101, Lion arXiv:2302.06675, schedule-free AdamW
arXiv:2405.15682, Muon see `muon`. Written out rather than chained from Optax,
for speed and for moments that are plain dicts of trees shaped as the weights,
which inheritance between structures can map. Tests hold each to Optax's.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import traverse_util

from models import muon, schedule

PyTree = Any
Moments = dict[str, PyTree]
Path = tuple[str, ...]
Flat = dict[Path, jax.Array]  # a nested dict of arrays, made flat

GROUPS = {  # by the name of a tensor; what is not here is a matrix
  'embedding': 'embedding',
  'positions': 'embedding',
  'head': 'head',
  'value_embedding': 'value',
}


class Setting(NamedTuple):
  """What holds for a group of weights at one step, float32 scalars.

  Attributes:
    rate: learning rate.
    decay: of the weights, per step and unit of learning rate.
    beta1: of first moments; Muon's momentum where that is one.
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
    rate: learning rate before the factors of groups.
    epsilon: of Adam and Muon.
    count: of gradients in the moments, with this one; float32 from 1.
  """

  settings: dict[Path, Setting]
  rate: jax.Array
  epsilon: jax.Array
  count: jax.Array


def group(path: Path, ndim: int) -> str:
  """The group of a tensor, by its path in the weights and number of axes.

  Returns:
    `scalar` (fewer than two axes), `embedding` (positions too), `head`, `value`
    (embeddings) or `matrix`, which is all else.
  """
  return 'scalar' if ndim < 2 else GROUPS.get(path[-1], 'matrix')


def init_moments(kind: str, weights: PyTree) -> Moments:
  """What an optimiser remembers, as it begins.

  Args:
    kind: one of `structure.OPTIMISERS`.
    weights: a nested dict of float32 arrays.

  Returns:
    Float32 arrays of their own, for a donated state may hold none twice.
    `adamw`: `mean` and `variance` of the gradients, shaped as the weights;
    `lion`: `mean`; `muon`: `mean`, and `variance` of all but matrices;
    `schedule_free`: `variance`, `z` and the scalars `weight_sum`, `max_rate`.
  """

  def zeros(skip: str = '') -> PyTree:
    flat = traverse_util.flatten_dict(weights)
    kept = {p: w for p, w in flat.items() if group(p, w.ndim) != skip}
    return traverse_util.unflatten_dict(
      {path: jnp.zeros(w.shape, jnp.float32) for path, w in kept.items()}
    )

  match kind:
    case 'adamw':
      return {'mean': zeros(), 'variance': zeros()}
    case 'lion':
      return {'mean': zeros()}
    case 'muon':
      return {'mean': zeros(), 'variance': zeros(skip='matrix')}
    case 'schedule_free':
      sums = {name: jnp.zeros(()) for name in ('weight_sum', 'max_rate')}
      z = jax.tree.map(jnp.copy, weights)
      return {'variance': zeros(), 'z': z, **sums}
  raise ValueError(f'optimiser {kind!r}; expected one of {", ".join(RULES)}')


def evaluation_weights(
  kind: str,
  weights: PyTree,
  moments: Moments,
  hyperparameters: Mapping[str, jax.Array],
) -> PyTree:
  """The weights to evaluate: schedule-free's average x, others' as they are."""
  if kind != 'schedule_free':
    return weights
  return jax.tree.map(
    lambda y, z: _average(y, z, hyperparameters['beta1']),
    weights,
    moments['z'],
  )


def flops(kind: str, weights: PyTree) -> float:
  """Dot-product FLOPs of one update of weights, whose shapes are enough.

  Clipping takes 2 per weight; Muon's iteration is all that comes on top.
  """
  flat = traverse_util.flatten_dict(weights)
  total = 2.0 * sum(w.size for w in flat.values())
  if kind == 'muon':
    total += sum(
      muon.flops(w.shape)
      for path, w in flat.items()
      if group(path, w.ndim) == 'matrix'
    )
  return total


def clip(gradient: PyTree, norm: jax.Array) -> PyTree:
  """Scales a gradient down to a global norm, where it is longer."""
  squares = [jnp.vdot(g, g) for g in jax.tree.leaves(gradient)]
  length = jnp.sqrt(sum(squares))
  scale = jnp.where(length > norm, norm / length, 1.0)
  return jax.tree.map(lambda g: g * scale, gradient)


def update(
  kind: str,
  weights: PyTree,
  moments: Moments,
  gradient: PyTree,
  hyperparameters: Mapping[str, jax.Array],
  fraction: jax.Array,
  step: jax.Array,
) -> tuple[PyTree, Moments]:
  """One step: clipping, all schedules, and the optimiser's own rule.

  Args:
    kind: one of `structure.OPTIMISERS`.
    weights: a nested dict of float32 arrays. Those of `schedule_free` are its
      y, where gradients are taken.
    moments: as `init_moments` makes them.
    gradient: shaped as the weights.
    hyperparameters: float32 scalars, as in `hyperparameters.DEFAULTS`.
    fraction: of the budget done before this step, float32 in [0, 1).
    step: steps behind the lineage, int32 scalar from 0. Corrections of moments
      for their start at zero use `step + 1`; an heir carries on with its
      parent's moments, so also with its parent's count.

  Returns:
    New weights and moments.
  """
  flat = traverse_util.flatten_dict(weights)
  gradient = clip(gradient, hyperparameters['gradient_clip'])
  settings = _settings(kind, hyperparameters, fraction)
  now = Now(
    settings={p: settings[group(p, w.ndim)] for p, w in flat.items()},
    rate=schedule.learning_rate(hyperparameters, fraction),
    epsilon=hyperparameters['epsilon'],
    count=step.astype(jnp.float32) + 1,
  )
  moments = {
    name: traverse_util.flatten_dict(m) if isinstance(m, dict) else m
    for name, m in moments.items()
  }
  flat, moments = RULES[kind](
    now, flat, moments, traverse_util.flatten_dict(gradient)
  )
  return traverse_util.unflatten_dict(flat), {
    name: traverse_util.unflatten_dict(m) if isinstance(m, dict) else m
    for name, m in moments.items()
  }


def _settings(
  kind: str, h: Mapping[str, jax.Array], fraction: jax.Array
) -> dict[str, Setting]:
  """Of each group."""
  rate = schedule.learning_rate(h, fraction)
  left = schedule.weight_decay_factor(h, fraction)

  def make(factor, decay, beta2='beta2') -> Setting:
    decay = left * h[decay] if decay else jnp.float32(0)
    return Setting(rate * factor, decay, h['beta1'], h[beta2])

  matrix = make(1, 'weight_decay')
  if kind == 'muon':
    matrix = matrix._replace(beta1=schedule.momentum(h, fraction))
  embedding_rate = h['embedding_rate']
  return {
    'matrix': matrix,
    'embedding': make(embedding_rate, 'embedding_decay', 'embedding_beta2'),
    'value': make(embedding_rate, 'value_decay', 'embedding_beta2'),
    'head': make(h['head_rate'], 'head_decay'),
    'scalar': make(h['scalar_rate'], None),
  }


def _adamw(
  now: Now, weights: Flat, moments: Moments, gradient: Flat
) -> tuple[Flat, Moments]:
  mean = _means(now, moments['mean'], gradient)
  variance = _variances(now, moments['variance'], gradient)
  unbiased = {
    p: m * (1 / (1 - now.settings[p].beta1 ** now.count))
    for p, m in mean.items()
  }
  change = _over_deviation(now, unbiased, variance)
  weights = _move(now, weights, weights, change)
  return weights, {'mean': mean, 'variance': variance}


def _lion(
  now: Now, weights: Flat, moments: Moments, gradient: Flat
) -> tuple[Flat, Moments]:
  change = _means(now, moments['mean'], gradient)
  change = {p: jnp.sign(c) for p, c in change.items()}
  mean = {
    p: _mix(now.settings[p].beta2, m, gradient[p])
    for p, m in moments['mean'].items()
  }
  return _move(now, weights, weights, change), {'mean': mean}


def _muon(
  now: Now, weights: Flat, moments: Moments, gradient: Flat
) -> tuple[Flat, Moments]:
  """Muon for matrices; for the rest, as in Optax, AdamW with Nesterov."""
  mean = _means(now, moments['mean'], gradient)
  variance = _variances(now, moments['variance'], gradient)
  ahead = {
    p: muon.look_ahead(m, gradient[p], now.settings[p].beta1, now.count)
    for p, m in mean.items()
  }
  matrices = {p: m for p, m in ahead.items() if p not in variance}
  change = muon.orthogonalise(matrices, now.epsilon)
  change |= _over_deviation(now, ahead, variance)
  weights = _move(now, weights, weights, change)
  return weights, {'mean': mean, 'variance': variance}


def _schedule_free(
  now: Now, weights: Flat, moments: Moments, gradient: Flat
) -> tuple[Flat, Moments]:
  """Averages with weights of the largest rate so far, squared, as Optax."""
  variance = _variances(now, moments['variance'], gradient)
  change = _over_deviation(now, gradient, variance)
  z = _move(now, moments['z'], weights, change)
  max_rate = jnp.maximum(moments['max_rate'], now.rate)
  weight_sum = moments['weight_sum'] + max_rate**2
  # Nothing has moved as long as the rate is 0.
  share = jnp.where(weight_sum > 0, max_rate**2 / weight_sum, 0.0)
  moved = {}
  for p, y in weights.items():
    beta1 = now.settings[p].beta1
    x = _mix(1 - share, _average(y, moments['z'][p], beta1), z[p])
    moved[p] = _mix(beta1, x, z[p])
  sums = {'weight_sum': weight_sum, 'max_rate': max_rate}
  return moved, {'variance': variance, 'z': z, **sums}


RULES = {
  'adamw': _adamw,
  'lion': _lion,
  'muon': _muon,
  'schedule_free': _schedule_free,
}


def _mix(beta: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
  return beta * old + (1 - beta) * new


def _means(now: Now, mean: Flat, gradient: Flat) -> Flat:
  return {
    p: _mix(now.settings[p].beta1, m, gradient[p]) for p, m in mean.items()
  }


def _variances(now: Now, variance: Flat, gradient: Flat) -> Flat:
  return {
    p: _mix(now.settings[p].beta2, v, gradient[p] * gradient[p])
    for p, v in variance.items()
  }


def _over_deviation(now: Now, change: Flat, variance: Flat) -> Flat:
  """Adam's quotient, for what has a variance."""
  result = {}
  for p, v in variance.items():
    unbiased = v * (1 / (1 - now.settings[p].beta2 ** now.count))
    result[p] = change[p] / (jnp.sqrt(unbiased) + now.epsilon)
  return result


def _move(now: Now, start: Flat, weights: Flat, change: Flat) -> Flat:
  """From a start, against a change and what the weights decay by."""
  return {
    p: start[p]
    - now.settings[p].rate * (c + now.settings[p].decay * weights[p])
    for p, c in change.items()
  }


def _average(y: jax.Array, z: jax.Array, beta1: jax.Array) -> jax.Array:
  """Schedule-free's x, of y = (1 - beta1) z + beta1 x."""
  return (y - (1 - beta1) * z) * (1 / beta1)
