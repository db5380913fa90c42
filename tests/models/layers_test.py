import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import layers
from models.structure import Structure


def _normal(name: int, *shape: int) -> jax.Array:
  random = np.random.default_rng(name)
  return jnp.asarray(random.normal(size=shape), jnp.float32)


def _filled(module: nnx.Module) -> nnx.Module:
  """Random numbers where the module has zeros to describe tensors."""
  for i, (_, parameter) in enumerate(nnx.iter_graph(module)):
    if isinstance(parameter, nnx.Param):
      parameter[...] = _normal(i, *parameter.shape)
  return module


@pytest.mark.parametrize(
  ('inputs', 'outputs'), [(7, 2), (2, 7), (2, 1), (1, 1), (4, 4), (8, 5)]
)
def test_a_product_over_two_leading_axes_is_one_and_so_is_its_gradient(
  inputs, outputs
):
  x, kernel = _normal(0, 3, 5, inputs), _normal(1, inputs, outputs)

  def gradient(f):
    return jax.grad(lambda x, k: jnp.sin(f(x, k)).sum(), (0, 1))(x, kernel)

  ours, plain = gradient(layers.product), gradient(jnp.matmul)
  for a, b in zip(ours, plain):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ('dtype', 'made_one'), [('float32', 1), ('bfloat16', 0)]
)
def test_leading_axes_are_made_one_where_it_is_faster(dtype, made_one):
  x, kernel = jnp.zeros((3, 5, 7), dtype), jnp.zeros((7, 2), dtype)
  made = jax.jit(layers.product).lower(x, kernel)
  (operand,) = re.findall(r'dot_general.* : \(tensor<(\w+)>', made.as_text())
  assert operand.count('x') == 3 - made_one
  assert made.out_info.shape == (3, 5, 2)


@pytest.mark.parametrize(('inputs', 'outputs'), [(96, 24), (24, 96)])
def test_a_kernels_gradient_transposes_the_narrower_operand(inputs, outputs):
  x, kernel = jnp.ones((48, inputs)), jnp.ones((inputs, outputs))

  def loss(x, kernel):
    return jnp.square(layers.product(x, kernel)).sum()

  # As compiled: XLA makes another product of a transpose behind one.
  text = jax.jit(jax.grad(loss, 1)).lower(x, kernel).compile().as_text()
  transposing = r'= f32\[([\d,]+)\]\S* dot\(.*lhs_contracting_dims=\{0\}'
  assert re.findall(transposing, text) == ['24,96']


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_squared_relu_has_its_own_slope_in_its_own_type(dtype):
  x = jnp.linspace(-2, 2, 9, dtype=dtype)
  y, slope = jax.jvp(lambda x: layers.activate('relu2', x), [x], [x + 3])
  assert y.dtype == slope.dtype == dtype
  x = np.float64(x)
  np.testing.assert_allclose(np.float64(y), np.maximum(x, 0) ** 2, rtol=4e-3)
  expected = 2 * np.maximum(x, 0) * (x + 3)
  np.testing.assert_allclose(np.float64(slope), expected, rtol=8e-3)


@pytest.mark.parametrize('bias', [False, True])
def test_linear_layers_together_are_what_each_is_alone(bias):
  several = [_filled(layers.Linear(6, n, bias)) for n in (4, 2, 3)]
  x = _normal(9, 2, 5, 6)
  for layer, y in zip(several, layers.linears(x, several)):
    np.testing.assert_allclose(y, layer(x), rtol=1e-5, atol=1e-5)


def test_the_norm_leaves_a_mean_square_of_one():
  y = layers.root_mean_square_norm(5 * _normal(0, 4, 64))
  np.testing.assert_allclose(jnp.square(y).mean(-1), 1, rtol=1e-4)


@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('kind', ['rms', 'layer', 'dyt'])
def test_each_norm_is_its_formula(kind, bias):
  norm = _filled(layers.Norm(Structure(17, width=8, norm=kind, bias=bias)))
  x = np.asarray(3 * _normal(7, 4, 8) + 1, np.float64)
  if kind == 'dyt':
    expected = np.tanh(x * np.float64(norm.alpha[...]))
  else:
    expected = x - x.mean(-1, keepdims=True) * (kind == 'layer')
    expected /= np.sqrt((expected**2).mean(-1, keepdims=True) + 1e-5)
  expected *= np.asarray(norm.scale[...])
  assert (norm.bias is not None) == (bias and kind != 'rms')
  if norm.bias is not None:
    expected += np.asarray(norm.bias[...])
  np.testing.assert_allclose(norm(jnp.float32(x)), expected, atol=1e-5)


def test_gelu_is_by_the_error_function():
  x = np.linspace(-4, 4, 33, dtype=np.float32)
  expected = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
  np.testing.assert_allclose(layers.activate('gelu', x), expected, atol=1e-6)


def test_squared_relus_and_silu():
  x = jnp.array([-2.0, 0.0, 3.0])
  np.testing.assert_allclose(layers.activate('relu2', x), [0, 0, 9])
  np.testing.assert_allclose(layers.activate('leaky2', x), [1, 0, 9])
  np.testing.assert_allclose(
    layers.activate('silu', x), x / (1 + np.exp(-x)), rtol=1e-6
  )


def test_dropout_drops_its_rate_and_keeps_the_mean():
  y = layers.drop(jnp.ones(100_000), 0.25, jax.random.key(0))
  assert abs(float((y == 0).mean()) - 0.25) < 0.01
  assert abs(float(y.mean()) - 1) < 0.01


def test_dropout_at_rate_zero_changes_no_bit():
  x = _normal(0, 1000)
  drop = jax.jit(layers.drop)
  dropped = drop(x, jnp.float32(0), jax.random.key(0))
  np.testing.assert_array_equal(dropped, x)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_dropout_keeps_the_type(dtype):
  dropped = layers.drop(jnp.ones(4, dtype), jnp.float32(0.5), jax.random.key(0))
  assert dropped.dtype == dtype


def test_a_cap_is_never_passed_and_leaves_small_logits_alone():
  logits = jnp.array([-1e4, -0.1, 0.0, 0.1, 1e4], jnp.bfloat16)
  capped = layers.cap(logits, jnp.float32(10))
  assert capped.dtype == jnp.float32
  np.testing.assert_allclose(capped, [-10, -0.1, 0, 0.1, 10], atol=1e-3)
