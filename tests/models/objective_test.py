import jax
import jax.numpy as jnp
import numpy as np
import optax

from models import objective

LOGITS = 3 * jax.random.normal(jax.random.key(0), (2, 5, 7))
TARGETS = jax.random.randint(jax.random.key(1), (2, 5), 0, 7)
ZERO = jnp.float32(0)


def test_nats_are_the_cross_entropy_of_each_target():
  expected = optax.softmax_cross_entropy_with_integer_labels(LOGITS, TARGETS)
  np.testing.assert_allclose(
    objective.nats(LOGITS, TARGETS), expected, rtol=1e-5, atol=1e-6
  )


def test_the_plain_training_loss_is_their_mean():
  np.testing.assert_allclose(
    objective.training_loss(LOGITS, TARGETS, ZERO, ZERO),
    objective.nats(LOGITS, TARGETS).mean(),
    rtol=1e-6,
  )


def test_smoothing_spreads_the_target_over_the_vocabulary():
  smooth = optax.smooth_labels(jax.nn.one_hot(TARGETS, 7), 0.1)
  np.testing.assert_allclose(
    objective.training_loss(LOGITS, TARGETS, jnp.float32(0.1), ZERO),
    optax.softmax_cross_entropy(LOGITS, smooth).mean(),
    rtol=1e-5,
  )


def test_the_z_loss_squares_the_log_of_the_normaliser():
  plain = objective.training_loss(LOGITS, TARGETS, ZERO, ZERO)
  with_z = objective.training_loss(LOGITS, TARGETS, ZERO, jnp.float32(0.5))
  expected = 0.5 * jnp.square(jax.nn.logsumexp(LOGITS, -1)).mean()
  np.testing.assert_allclose(with_z - plain, expected, rtol=1e-4)


def test_logits_of_bfloat16_and_tokens_of_uint8_are_scored_in_float32():
  logits = LOGITS.astype(jnp.bfloat16)
  nats = objective.nats(logits, TARGETS.astype(jnp.uint8))
  assert nats.dtype == jnp.float32
  same = objective.nats(logits.astype(jnp.float32), TARGETS)
  np.testing.assert_array_equal(nats, same)


def test_huge_logits_stay_finite():
  loss = objective.training_loss(
    1e4 * LOGITS, TARGETS, jnp.float32(0.1), jnp.float32(1e-4)
  )
  assert np.isfinite(loss)
