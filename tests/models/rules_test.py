"""Every optimiser is Optax's, on weights of all groups."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models import hyperparameters, optimiser, schedule
from models.structure import OPTIMISERS

STEPS = 50
GROUPS = {
  'embedding': 'embedding',
  'head': 'head',
  'blocks': {
    '0': {
      'attention': {'q': {'kernel': 'matrix'}, 'value_embedding': 'value'},
      'mlp': {'up': {'kernel': 'matrix'}, 'down': {'kernel': 'matrix'}},
      'norm': {'scale': 'scalar'},
      'x0': 'scalar',
    }
  },
}
SHAPES = {
  'embedding': (7, 6),
  'head': (6, 7),
  'blocks': {
    '0': {
      'attention': {'q': {'kernel': (6, 6)}, 'value_embedding': (7, 4)},
      'mlp': {'up': {'kernel': (6, 12)}, 'down': {'kernel': (12, 6)}},
      'norm': {'scale': (6,)},
      'x0': (),
    }
  },
}
WEIGHTS = jax.tree.map(
  lambda shape: (
    0.4
    * jnp.cos(jnp.arange(np.prod(shape, dtype=int), dtype=jnp.float32)).reshape(
      shape
    )
  ),
  SHAPES,
  is_leaf=lambda x: isinstance(x, tuple),
)
DECAYS = ('weight_decay', 'embedding_decay', 'head_decay', 'value_decay')
# What Optax's own functions can do: every group alike, nothing scheduled.
ALIKE = {
  'learning_rate': 2e-3,
  'beta1': 0.85,
  'beta2': 0.97,
  'embedding_beta2': 0.97,
  'momentum': 0.92,
  'epsilon': 1e-6,
  'gradient_clip': 16.0,
  'warmup': 0.0,
  'momentum_warmup': 0.0,
  'decay_start': 1.0,
  **dict.fromkeys(DECAYS, 0.3),
}
# What takes one of them for each group.
APART = {
  **ALIKE,
  'embedding_rate': 3.0,
  'head_rate': 0.4,
  'scalar_rate': 1.7,
  'embedding_beta2': 0.9,
  'weight_decay': 0.5,
  'embedding_decay': 0.2,
  'head_decay': 0.1,
  'value_decay': 0.05,
  'weight_decay_final': 0.25,
  'warmup': 0.1,
  'decay_start': 0.3,
  'decay_linear': 0.5,
}


def _gradient(weights, i):
  """Of an uneven bowl whose bottom moves; on both sides of the clip."""

  def loss(weights):
    parts = [
      ((1 + jnp.cos(w)) * (w - jnp.sin(k + 0.3 * i)) ** 2).sum()
      for k, w in enumerate(jax.tree.leaves(weights))
    ]
    return sum(parts) / 3

  return jax.grad(loss)(weights)


@functools.cache
def _ours(kind):
  """Compiled: hyperparameters to what is trained at the end, and evaluated."""

  def run(h):
    def body(carry, i):
      weights, moments = carry
      at = optimiser.training_weights(kind, weights, moments, h)
      gradient = _gradient(at, i)
      fraction = i.astype(jnp.float32) / STEPS
      carry = optimiser.update(kind, weights, moments, gradient, h, fraction, i)
      return carry, optax.tree.norm(gradient)

    start = WEIGHTS, optimiser.init_moments(kind, WEIGHTS)
    (weights, moments), norms = jax.lax.scan(body, start, jnp.arange(STEPS))
    trained = optimiser.training_weights(kind, weights, moments, h)
    return trained, weights, norms

  return jax.jit(run)


def _theirs(kind, make):
  """The same of the transform that `make` makes of hyperparameters."""

  def run(h):
    transform = optax.chain(
      optax.clip_by_global_norm(h['gradient_clip']), make(h)
    )

    def body(carry, i):
      weights, state = carry
      change, state = transform.update(_gradient(weights, i), state, weights)
      return (optax.apply_updates(weights, change), state), None

    start = WEIGHTS, transform.init(WEIGHTS)
    (weights, state), _ = jax.lax.scan(body, start, jnp.arange(STEPS))
    if kind == 'schedule_free':
      return weights, optax.contrib.schedule_free_eval_params(state[1], weights)
    return weights, weights

  return jax.jit(run)


def _muon(rate, decay, h):
  """Optax's, of all groups; its AdamW can spare none of them from decay."""
  matrix = optax.contrib.MuonDimensionNumbers()
  return optax.contrib.muon(
    rate,
    beta=h['momentum'],
    eps=h['epsilon'],
    weight_decay=decay,
    adam_b1=h['beta1'],
    adam_b2=h['beta2'],
    muon_weight_dimension_numbers=lambda weights: jax.tree.map(
      lambda name: matrix if name == 'matrix' else None, GROUPS
    ),
    consistent_rms=0.2,
  )


def _alike(kind, h):
  """Optax's own; schedule-free's can spare no group from decay."""
  rate, decay, epsilon = h['learning_rate'], h['weight_decay'], h['epsilon']
  beta1, beta2 = h['beta1'], h['beta2']
  mask = jax.tree.map(lambda name: name != 'scalar', GROUPS)
  match kind:
    case 'adamw':
      return optax.adamw(
        rate, beta1, beta2, epsilon, weight_decay=decay, mask=mask
      )
    case 'lion':
      return optax.lion(rate, beta1, beta2, weight_decay=decay, mask=mask)
    case 'muon':
      return _muon(rate, decay, h)
  return optax.contrib.schedule_free_adamw(
    rate, None, beta1, beta2, epsilon, weight_decay=0.0
  )


def _rule(kind, h, beta2):
  """Optax's transform that takes the place of the gradient."""
  if kind == 'lion':
    return optax.scale_by_lion(h['beta1'], beta2)
  if kind == 'schedule_free':
    return optax.scale_by_rms(
      beta2, h['epsilon'], eps_in_sqrt=False, bias_correction=True
    )
  return optax.scale_by_adam(
    h['beta1'], beta2, h['epsilon'], nesterov=kind == 'muon'
  )


def _apart(kind, h):
  """One chain for each group, put together by `optax.partition`."""

  def rate(count):
    return schedule.learning_rate(h, count / STEPS)

  def one(name, factor, decay, beta2):
    def left(count):
      return decay * schedule.weight_decay_factor(h, count / STEPS)

    if (kind, name) == ('muon', 'matrix'):
      return _muon(rate, left, h)
    return optax.chain(
      _rule(kind, h, beta2),
      optax.add_decayed_weights(left),
      optax.scale_by_learning_rate(lambda count: factor * rate(count)),
    )

  embedding, slow = h['embedding_rate'], h['embedding_beta2']
  transform = optax.partition(
    {
      'matrix': one('matrix', 1, h['weight_decay'], h['beta2']),
      'embedding': one('embedding', embedding, h['embedding_decay'], slow),
      'value': one('value', embedding, h['value_decay'], slow),
      'head': one('head', h['head_rate'], h['head_decay'], h['beta2']),
      'scalar': one('scalar', h['scalar_rate'], 0.0, h['beta2']),
    },
    GROUPS,
  )
  if kind == 'schedule_free':
    # Its own count of steps starts at 1.
    return optax.contrib.schedule_free(
      transform, lambda count: rate(count - 1), h['beta1']
    )
  return transform


def _assert_same(ours, theirs):
  for a, b in zip(ours, theirs, strict=True):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
      np.testing.assert_allclose(x, y, atol=1e-6, rtol=0)


@pytest.mark.parametrize('kind', OPTIMISERS)
def test_it_is_the_one_of_optax_with_clipping(kind):
  none = {
    'muon': dict.fromkeys(DECAYS[1:], 0.0),
    'schedule_free': dict.fromkeys(DECAYS, 0.0),
  }.get(kind, {})
  h = hyperparameters.complete(ALIKE | none)
  *ours, norms = _ours(kind)(h)
  assert norms.min() < ALIKE['gradient_clip'] < norms.max()
  _assert_same(ours, _theirs(kind, functools.partial(_alike, kind))(h))


@pytest.mark.parametrize('kind', OPTIMISERS)
def test_each_group_has_its_own_rate_decay_and_second_moment(kind):
  h = hyperparameters.complete(APART)
  *ours, _ = _ours(kind)(h)
  _assert_same(ours, _theirs(kind, functools.partial(_apart, kind))(h))


def test_what_is_evaluated_is_what_was_trained_except_schedule_free():
  h = hyperparameters.complete(APART)
  for kind in OPTIMISERS:
    weights, evaluated, _ = _ours(kind)(h)
    same = np.array_equal(weights['head'], evaluated['head'])
    assert same == (kind != 'schedule_free')


def test_nothing_is_compiled_twice_for_other_hyperparameters():
  for kind in OPTIMISERS:
    for changes in (ALIKE, APART):
      _ours(kind)(hyperparameters.complete(changes))
    assert _ours(kind)._cache_size() == 1
