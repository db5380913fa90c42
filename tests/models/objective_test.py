import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models import hyperparameters, objective

LOGITS = 3 * jax.random.normal(jax.random.key(0), (4, 5, 7))
TARGETS = jax.random.randint(jax.random.key(1), (4, 5), 0, 7)
jitted = jax.jit(objective.training_loss)
slope_of = jax.jit(jax.grad(objective.training_loss))


def _loss(logits=LOGITS, targets=TARGETS, fraction=0.25, **changes):
  h = hyperparameters.complete(
    {name: jnp.float32(value) for name, value in changes.items()}
  )
  return float(jitted(logits, targets, h, jnp.float32(fraction)))


def _probabilities():
  weights = np.exp(np.asarray(LOGITS, np.float64))
  return weights / weights.sum(-1, keepdims=True)


def _probability():
  """Of each target, `[batch, length]` float64."""
  targets = np.asarray(TARGETS)[..., None]
  return np.take_along_axis(_probabilities(), targets, -1)[..., 0]


def test_nats_are_the_cross_entropy_of_each_target():
  expected = optax.softmax_cross_entropy_with_integer_labels(LOGITS, TARGETS)
  np.testing.assert_allclose(
    objective.nats(LOGITS, TARGETS), expected, rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize('fraction', [0.0, 0.5, 0.999])
def test_by_default_the_training_loss_is_their_mean(fraction):
  expected = optax.softmax_cross_entropy_with_integer_labels(LOGITS, TARGETS)
  assert _loss(fraction=fraction) == pytest.approx(
    float(expected.mean()), rel=1e-6
  )


def test_by_default_its_gradient_is_theirs():
  h = hyperparameters.complete({})
  ours = slope_of(LOGITS, TARGETS, h, 0.5)
  theirs = jax.grad(
    lambda x: optax.softmax_cross_entropy_with_integer_labels(x, TARGETS).mean()
  )(LOGITS)
  np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_smoothing_spreads_the_target_over_the_vocabulary():
  smooth = optax.smooth_labels(jax.nn.one_hot(TARGETS, 7), 0.1)
  expected = float(optax.softmax_cross_entropy(LOGITS, smooth).mean())
  assert _loss(label_smoothing=0.1) == pytest.approx(expected, rel=1e-5)


def test_the_z_loss_squares_the_log_of_the_normaliser():
  normaliser = np.log(np.exp(np.asarray(LOGITS, np.float64)).sum(-1))
  expected = 0.5 * np.square(normaliser).mean()
  assert _loss(z_loss=0.5) - _loss() == pytest.approx(expected, rel=1e-5)


def test_the_confidence_penalty_takes_the_entropy_off():
  p = _probabilities()
  expected = 0.3 * (p * np.log(p)).sum(-1).mean()
  got = _loss(confidence_penalty=0.3) - _loss()
  assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('power', [0.5, 2.0])
def test_the_focal_loss_scales_each_target_by_its_improbability(power):
  p = _probability()
  expected = -((1 - p) ** power * np.log(p)).mean()
  assert _loss(focal=power) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('power', [0.0, 0.1, 1.0, 3.0])
@pytest.mark.parametrize('height', [0.0, 20.0, 1e4])
def test_the_focal_loss_has_a_finite_slope_wherever_it_is_sure(power, height):
  sure = height * jax.nn.one_hot(TARGETS, 7)
  h = hyperparameters.complete({'focal': jnp.float32(power)})
  slope = slope_of(sure, TARGETS, h, 0.5)
  assert np.isfinite(slope).all()
  if height > 100:
    assert np.abs(slope).max() < 1e-6


@pytest.mark.parametrize(('name', 'places'), [('mtp_2', 1), ('mtp_3', 2)])
@pytest.mark.parametrize('fraction', [0.0, 0.75])
def test_later_targets_are_lost_on_the_same_logits(name, places, fraction):
  losses = optax.softmax_cross_entropy_with_integer_labels(
    LOGITS[:, :-places], TARGETS[:, places:]
  )
  # The last places have no such target and add nothing to the mean.
  expected = 0.3 * (1 - fraction) * float(losses.sum()) / TARGETS.size
  got = _loss(fraction=fraction, **{name: 0.3}) - _loss(fraction=fraction)
  assert got == pytest.approx(expected, rel=1e-4)


def test_a_window_too_short_for_later_targets_has_none():
  short = LOGITS[:, :1], TARGETS[:, :1]
  assert _loss(*short, mtp_2=0.5, mtp_3=0.5) == _loss(*short)


@pytest.mark.parametrize('power', [1.0, -0.5])
def test_places_weigh_by_a_power_and_the_weights_have_a_mean_of_one(power):
  weights = (np.arange(1, 6) / 5) ** power
  weights /= weights.mean()
  expected = (-np.log(_probability()) * weights).mean()
  assert _loss(position_weight=power) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(('fraction', 'rows'), [(0.0, 1), (0.25, 2), (0.6, 4)])
def test_a_batch_warm_up_is_the_loss_of_its_first_rows(fraction, rows):
  got = _loss(fraction=fraction, batch_warmup=0.5)
  assert got == pytest.approx(_loss(LOGITS[:rows], TARGETS[:rows]), rel=1e-6)


def test_weights_of_rows_and_places_reach_every_term():
  terms = {'z_loss': 0.1, 'confidence_penalty': 0.1, 'mtp_2': 0.2}
  terms |= {'label_smoothing': 0.1, 'focal': 1.5, 'position_weight': 1.0}
  expected = _loss(LOGITS[:1], TARGETS[:1], fraction=0.0, **terms)
  got = _loss(fraction=0.0, batch_warmup=0.5, **terms)
  assert got == pytest.approx(expected, rel=1e-5)
  plain = _loss(fraction=0.0, **terms | {'position_weight': 0.0})
  last = _loss(fraction=0.0, **terms | {'position_weight': 200.0})
  assert abs(last - plain) > 0.01


def test_logits_of_bfloat16_and_tokens_of_uint8_are_scored_in_float32():
  logits = LOGITS.astype(jnp.bfloat16)
  nats = objective.nats(logits, TARGETS.astype(jnp.uint8))
  assert nats.dtype == jnp.float32
  same = objective.nats(logits.astype(jnp.float32), TARGETS)
  np.testing.assert_array_equal(nats, same)
  terms = {'mtp_2': 0.1, 'focal': 1.0}
  rough = _loss(logits, TARGETS.astype(jnp.uint8), **terms)
  assert rough == _loss(logits.astype(jnp.float32), **terms)


def test_huge_logits_stay_finite():
  terms = {'label_smoothing': 0.1, 'z_loss': 1e-4, 'confidence_penalty': 0.1}
  assert np.isfinite(_loss(1e4 * LOGITS, focal=2.0, mtp_2=0.1, **terms))
