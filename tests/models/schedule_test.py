import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models import hyperparameters, schedule


@functools.cache
def _compiled(function):
  return jax.jit(jax.vmap(function, (None, 0)))


def _values(function, fractions, **changes):
  h = hyperparameters.complete(changes)
  fractions = jnp.asarray(fractions, jnp.float32)
  return np.asarray(_compiled(function)(h, fractions))


def _rate(fractions, **changes):
  return _values(schedule.learning_rate, fractions, **changes)


def _get_lr(it, lr, min_lr, warmup_iters, lr_decay_iters):
  """nanoGPT's train.py, but for its + 1 while warming up."""
  if it < warmup_iters:
    return lr * it / warmup_iters
  if it > lr_decay_iters:
    return min_lr
  ratio = (it - warmup_iters) / (lr_decay_iters - warmup_iters)
  return min_lr + 0.5 * (1 + math.cos(math.pi * ratio)) * (lr - min_lr)


@pytest.mark.parametrize(
  ('warmup', 'decay_start'), [(0, 0.0), (100, 0.0), (100, 0.05)]
)
def test_it_is_that_of_nanogpt(warmup, decay_start):
  steps = np.arange(2001)
  ours = _rate(
    steps / 2000,
    learning_rate=1e-3,
    warmup=warmup / 2000,
    decay_start=decay_start,
    final_fraction=0.1,
  )
  theirs = [_get_lr(it, 1e-3, 1e-4, warmup, 2000) for it in steps]
  np.testing.assert_allclose(ours, theirs, atol=2e-9)
  # Their + 1 while warming up is worth at most one step of it.
  exact = [1e-3 * (it + 1) / (warmup + 1) for it in range(warmup)]
  assert all(abs(ours[:warmup] - exact) <= 1e-3 / (warmup + 1) + 1e-9)


def test_it_is_flat_between_the_warm_up_and_the_decay():
  rates = _rate([0.2, 0.5, 0.8], learning_rate=1, warmup=0.2, decay_start=0.8)
  np.testing.assert_allclose(rates, 1)


def test_decay_waits_for_the_warm_up():
  rates = _rate([0.25, 0.5], learning_rate=1, warmup=0.5, decay_start=0.1)
  np.testing.assert_allclose(rates, [0.5, 1.0])


def test_a_power_bends_the_decay_and_leaves_its_ends():
  args = {'learning_rate': 1, 'warmup': 0, 'final_fraction': 0.2}
  slow = _rate([0, 0.5, 1], decay_power=2, **args)
  plain = _rate([0, 0.5, 1], decay_power=1, **args)
  fast = _rate([0, 0.5, 1], decay_power=0.5, **args)
  assert slow[1] > plain[1] > fast[1]
  for rates in (slow, plain, fast):
    np.testing.assert_allclose(rates[[0, 2]], [1, 0.2], rtol=1e-6)


@pytest.mark.parametrize('warmup', [0.0, 0.3, 1.0])
@pytest.mark.parametrize('decay_start', [0.0, 0.9, 1.0])
@pytest.mark.parametrize('decay_power', [0.3, 3.0])
@pytest.mark.parametrize('decay_linear', [0.0, 1.0])
def test_it_is_finite_and_never_above_the_peak(
  warmup, decay_start, decay_power, decay_linear
):
  rates = _rate(
    np.linspace(0, 1, 101),
    learning_rate=1,
    warmup=warmup,
    decay_start=decay_start,
    decay_power=decay_power,
    decay_linear=decay_linear,
    final_fraction=0,
  )
  assert np.isfinite(rates).all()
  assert (rates >= 0).all() and (rates <= 1).all() and rates.max() > 0.9


def test_a_straight_decay_is_the_linear_schedule_of_optax():
  steps = np.arange(101)
  ours = _rate(
    steps / 100,
    learning_rate=3e-3,
    warmup=0,
    decay_start=0.4,
    decay_linear=1,
    final_fraction=0.1,
  )
  theirs = optax.linear_schedule(3e-3, 3e-4, 60, transition_begin=40)
  np.testing.assert_allclose(ours, [theirs(i) for i in steps], atol=2e-9)


def test_decays_between_cosine_and_straight_line_are_their_mix():
  args = {'learning_rate': 1, 'warmup': 0.1, 'decay_power': 1.3}
  fractions = np.linspace(0, 1, 21)
  cosine, mixed, line = (
    _rate(fractions, decay_linear=a, **args) for a in (0, 0.3, 1)
  )
  np.testing.assert_allclose(mixed, 0.7 * cosine + 0.3 * line, rtol=1e-5)
  assert abs(cosine - line).max() > 0.05


def test_weight_decay_follows_the_cosine_schedule_of_optax():
  steps = np.arange(51)
  ours = _values(
    schedule.weight_decay_factor, steps / 50, weight_decay_final=0.3
  )
  theirs = optax.cosine_decay_schedule(1.0, 50, alpha=0.3)
  np.testing.assert_allclose(ours, [theirs(i) for i in steps], atol=1e-6)


def test_momentum_climbs_to_its_own_value():
  args = {'momentum': 0.95, 'momentum_warmup': 0.2}
  climbing = _values(schedule.momentum, [0, 0.1, 0.2, 1], **args)
  np.testing.assert_allclose(climbing, [0.85, 0.9, 0.95, 0.95], rtol=1e-6)


def test_momentum_below_where_the_climb_begins_stays():
  args = {'momentum': 0.7, 'momentum_warmup': 0.2}
  np.testing.assert_allclose(
    _values(schedule.momentum, [0, 0.1, 1], **args), 0.7, rtol=1e-6
  )


def test_momentum_without_a_warm_up_is_there_at_once():
  args = {'momentum': 0.95, 'momentum_warmup': 0.0}
  np.testing.assert_allclose(
    _values(schedule.momentum, [0, 0.5], **args), 0.95, rtol=1e-6
  )
