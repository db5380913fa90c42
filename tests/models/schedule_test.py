import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import hyperparameters, schedule


def _rate(fractions, **changes):
  h = hyperparameters.complete(changes)
  rate = jax.jit(jax.vmap(schedule.learning_rate, (None, 0)))
  return np.asarray(rate(h, jnp.asarray(fractions, jnp.float32)))


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
def test_it_is_finite_and_never_above_the_peak(
  warmup, decay_start, decay_power
):
  rates = _rate(
    np.linspace(0, 1, 101),
    learning_rate=1,
    warmup=warmup,
    decay_start=decay_start,
    decay_power=decay_power,
    final_fraction=0,
  )
  assert np.isfinite(rates).all()
  assert (rates >= 0).all() and (rates <= 1).all() and rates.max() > 0.9
