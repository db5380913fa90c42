"""Optimisers, by group of weights, with every hyperparameter traced.

Written out rather than chained from Optax, for speed and for moments that are
plain dicts of trees shaped as the weights, which inheritance between structures
can map. Tests hold each to Optax's.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from models import muon, rules, schedule

PyTree = Any
Moments = dict[str, PyTree]
Path = tuple[str, ...]

GROUPS = {  # by the name of a tensor; what is not here is a matrix
  'embedding': 'embedding',
  'positions': 'embedding',
  'head': 'head',
  'value_embedding': 'value',
}


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
  one_of = ', '.join(rules.BY_NAME)
  raise ValueError(f'optimiser {kind!r}; expected one of {one_of}')


def training_weights(
  kind: str,
  weights: PyTree,
  moments: Moments,
  hyperparameters: Mapping[str, jax.Array],
) -> PyTree:
  """Where gradients are taken: schedule-free's y, others' weights."""
  if kind != 'schedule_free':
    return weights
  return jax.tree.map(
    lambda x, z: rules.between(x, z, hyperparameters['beta1']),
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
  # `vdot` would flatten what is split over devices, and so bring it together.
  squares = [jnp.tensordot(g, g, g.ndim) for g in jax.tree.leaves(gradient)]
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
    weights: a nested dict of float32 arrays.
    moments: as `init_moments` makes them.
    gradient: shaped as the weights, taken at `training_weights`.
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
  now = rules.Now(
    settings={p: settings[group(p, w.ndim)] for p, w in flat.items()},
    rate=settings['matrix'].rate,
    epsilon=hyperparameters['epsilon'],
    count=step.astype(jnp.float32) + 1,
  )
  flat, moments = rules.BY_NAME[kind](
    now,
    flat,
    _each_tree(traverse_util.flatten_dict, moments),
    traverse_util.flatten_dict(gradient),
  )
  moments = _each_tree(traverse_util.unflatten_dict, moments)
  return traverse_util.unflatten_dict(flat), moments


def _each_tree(f: Callable[[PyTree], PyTree], moments: Moments) -> Moments:
  """Of moments that are trees; schedule-free has two that are scalars."""
  return {
    name: f(moment) if isinstance(moment, dict) else moment
    for name, moment in moments.items()
  }


def _settings(
  kind: str, h: Mapping[str, jax.Array], fraction: jax.Array
) -> dict[str, rules.Setting]:
  """What holds for each group."""
  rate = schedule.learning_rate(h, fraction)
  left = schedule.weight_decay_factor(h, fraction)
  embedding_rate = rate * h['embedding_rate']
  beta1, beta2, rare = h['beta1'], h['beta2'], h['embedding_beta2']
  make = rules.Setting
  settings = {
    'matrix': make(rate, left * h['weight_decay'], beta1, beta2),
    'embedding': make(embedding_rate, left * h['embedding_decay'], beta1, rare),
    'value': make(embedding_rate, left * h['value_decay'], beta1, rare),
    'head': make(rate * h['head_rate'], left * h['head_decay'], beta1, beta2),
    'scalar': make(rate * h['scalar_rate'], jnp.float32(0), beta1, beta2),
  }
  if kind == 'muon':
    momentum = schedule.momentum(h, fraction)
    settings['matrix'] = settings['matrix']._replace(beta1=momentum)
  return settings
