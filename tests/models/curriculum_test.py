import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import curriculum

pieces = jax.jit(curriculum.piece_length, static_argnums=0)
weights = jax.jit(curriculum.row_weights, static_argnums=0)


def _piece(context, warmup, fraction):
  h = {'length_warmup': jnp.float32(warmup)}
  return float(pieces(context, h, jnp.float32(fraction)))


def _rows(rows, warmup, fraction):
  h = {'batch_warmup': jnp.float32(warmup)}
  return np.asarray(weights(rows, h, jnp.float32(fraction)))


@pytest.mark.parametrize('fraction', [0.0, 1e-9, 0.5, 0.999])
def test_without_a_warm_up_everything_counts_from_the_start(fraction):
  assert _piece(64, 0, fraction) == 64
  np.testing.assert_array_equal(_rows(12, 0, fraction), 1)


def test_pieces_grow_evenly_from_an_eighth_to_the_whole():
  fractions = np.arange(0, 1, 1 / 64)
  got = [_piece(64, 0.5, fraction) for fraction in fractions]
  np.testing.assert_array_equal(got, np.clip(128 * fractions, 8, 64))


@pytest.mark.parametrize(
  ('context', 'fraction', 'tokens'),
  [(100, 0.0, 12), (100, 0.2499, 49), (4, 0.0, 1), (1, 0.0, 1), (64, 0.9, 64)],
)
def test_pieces_are_whole_tokens_and_one_at_least(context, fraction, tokens):
  assert _piece(context, 0.5, fraction) == tokens


@pytest.mark.parametrize(
  ('fraction', 'count'),
  [(0.0, 1), (0.01, 1), (0.25, 6), (0.26, 7), (0.49, 12), (0.9, 12)],
)
def test_rows_join_one_by_one_and_the_mean_weight_stays_one(fraction, count):
  expected = np.where(np.arange(12) < count, 12 / count, 0)
  np.testing.assert_allclose(_rows(12, 0.5, fraction), expected, rtol=1e-6)


def test_a_single_row_always_counts():
  np.testing.assert_array_equal(_rows(1, 1.0, 0.0), 1)
