import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import layers


def _normal(name: int, *shape: int) -> jax.Array:
  return jax.random.normal(jax.random.key(name), shape)


def test_a_product_over_two_leading_axes_is_one_and_so_is_its_gradient():
  x, kernel = _normal(0, 3, 5, 7), _normal(1, 7, 2)

  def gradient(f):
    return jax.grad(lambda x, k: jnp.sin(f(x, k)).sum(), (0, 1))(x, kernel)

  ours, plain = gradient(layers.product), gradient(jnp.matmul)
  for a, b in zip(ours, plain):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_norm_leaves_a_mean_square_of_one():
  y = layers.root_mean_square_norm(5 * _normal(0, 4, 64))
  np.testing.assert_allclose(jnp.square(y).mean(-1), 1, rtol=1e-4)


def test_rotary_products_depend_on_distance_alone():
  q = jnp.broadcast_to(_normal(0, 1, 1, 2, 8), (1, 6, 2, 8))
  k = jnp.broadcast_to(_normal(1, 1, 1, 2, 8), (1, 6, 2, 8))
  q, k = layers.rotate(q), layers.rotate(k)
  products = jnp.einsum('bqhd,bkhd->bhqk', q, k)
  np.testing.assert_allclose(
    products[:, :, 1:, 1:], products[:, :, :-1, :-1], atol=1e-5
  )
  assert float(jnp.ptp(products)) > 0.1


def test_gelu_is_by_the_error_function():
  x = np.linspace(-4, 4, 33, dtype=np.float32)
  expected = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
  np.testing.assert_allclose(layers.activate('gelu', x), expected, atol=1e-6)


def test_squared_relu_and_silu():
  x = jnp.array([-2.0, 3.0])
  np.testing.assert_allclose(layers.activate('relu2', x), [0, 9])
  np.testing.assert_allclose(
    layers.activate('silu', x), x / (1 + np.exp(-x)), rtol=1e-6
  )


def test_attention_is_that_of_jax():
  q, k, v = (_normal(i, 2, 16, 3, 8) for i in range(3))
  np.testing.assert_allclose(
    layers.attend(q, k, v, 0.0, None),
    jax.nn.dot_product_attention(q, k, v, is_causal=True),
    atol=1e-5,
  )


def test_dropped_attention_is_right_on_average():
  q, k, v = (_normal(i, 1, 6, 1, 4) for i in range(3))
  keys = jax.random.split(jax.random.key(9), 4000)
  drop = jax.vmap(lambda key: layers.attend(q, k, v, 0.3, key))
  dropped = jax.jit(drop)(keys)
  whole = layers.attend(q, k, v, 0.3, None)
  np.testing.assert_allclose(dropped.mean(0), whole, atol=0.06)


def test_dropout_drops_its_rate_and_keeps_the_mean():
  y = layers.drop(jnp.ones(100_000), 0.25, jax.random.key(0))
  assert abs(float((y == 0).mean()) - 0.25) < 0.01
  assert abs(float(y.mean()) - 1) < 0.01


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_dropout_keeps_the_type(dtype):
  assert layers.drop(jnp.ones(4, dtype), 0.5, jax.random.key(0)).dtype == dtype


def test_attention_in_bfloat16_is_close_to_that_in_float32():
  q, k, v = (_normal(i, 2, 16, 3, 8) for i in range(3))
  exact = layers.attend(q, k, v, 0.0, None)
  low = layers.attend(*(x.astype(jnp.bfloat16) for x in (q, k, v)), 0.0, None)
  assert low.dtype == jnp.bfloat16
  np.testing.assert_allclose(low.astype(jnp.float32), exact, atol=0.03)
