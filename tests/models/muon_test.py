import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models import muon

SHAPES = ((6, 6), (6, 10), (10, 6), (5, 1))


def _matrices(scale=1.0):
  return {
    (str(i),): scale * jax.random.normal(jax.random.key(i), shape)
    for i, shape in enumerate(SHAPES)
  }


def test_matrices_stacked_by_shape_are_those_of_optax_one_by_one():
  given = _matrices()
  made = jax.jit(muon.orthogonalise)(given, jnp.float32(1e-8))
  # Optax does not export the iteration; Muon without momentum is nothing else.
  theirs = optax.contrib.muon(-1.0, beta=0.0, consistent_rms=0.2)
  expected, _ = jax.jit(theirs.update)(given, theirs.init(given), given)
  assert made.keys() == expected.keys()
  for path, x in expected.items():
    np.testing.assert_allclose(made[path], x, atol=2e-6)


@pytest.mark.parametrize('scale', [1e-6, 1e6])
def test_singular_values_come_near_one_whatever_they_were(scale):
  given = _matrices(scale)
  made = jax.jit(muon.orthogonalise)(given, jnp.float32(1e-20))
  for x in made.values():
    scaled = x / (0.2 * np.sqrt(max(x.shape)))
    singular = np.linalg.svd(scaled, compute_uv=False)
    assert 0.5 < singular.min() and singular.max() < 1.3
    # So the size of a step does not depend on the shape.
    assert 0.12 < np.sqrt(np.square(x).mean()) < 0.25


def test_zeros_stay_zeros():
  made = muon.orthogonalise({('a',): jnp.zeros((3, 4))}, jnp.float32(1e-8))
  np.testing.assert_array_equal(made['a',], 0)
