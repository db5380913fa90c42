import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import attention
from models import hyperparameters as traced
from models.structure import Structure


def _normal(name: int, *shape: int) -> jax.Array:
  random = np.random.default_rng(name)
  return jnp.asarray(random.normal(size=shape), jnp.float32)


@jax.jit
def _attend(q, k, v, seen=None, rate=0.0, key=None):
  return attention.attend(q, k, v, seen, jnp.float32(rate), key)


_compute = jax.jit(attention.turns, static_argnums=(0, 1))


def _turns(**changes):
  return _compute(8, 6, traced.complete(changes))


def test_rotary_products_depend_on_distance_alone():
  q = jnp.broadcast_to(_normal(0, 1, 1, 2, 8), (1, 6, 2, 8))
  k = jnp.broadcast_to(_normal(1, 1, 1, 2, 8), (1, 6, 2, 8))
  q, k = (jax.jit(attention.rotate)(x, *_turns()) for x in (q, k))
  products = jnp.einsum('bqhd,bkhd->bhqk', q, k)
  np.testing.assert_allclose(
    products[:, :, 1:, 1:], products[:, :, :-1, :-1], atol=1e-5
  )
  assert float(jnp.ptp(products)) > 0.1


def test_turning_by_a_product_is_turning():
  x, turns = _normal(0, 2, 6, 3, 8), _turns()
  turned = jax.jit(attention.rotate_by_product)(jnp.swapaxes(x, 1, 2), *turns)
  expected = jax.jit(attention.rotate)(x, *turns)
  np.testing.assert_allclose(
    jnp.swapaxes(turned, 1, 2), expected, rtol=1e-5, atol=1e-6
  )


def test_rotary_channels_turn_from_a_radian_down_to_the_base():
  cos, sin = _turns(rope_base=16.0)
  angle = np.arctan2(sin, cos)
  np.testing.assert_allclose(angle[1], [1, 1 / 2, 1 / 4, 1 / 8], rtol=1e-5)
  assert not angle[0].any()


@pytest.mark.parametrize(
  ('fraction', 'turning'), [(0.0, 0), (0.25, 1), (0.5, 2), (1.0, 4)]
)
def test_only_a_fraction_of_the_channels_turns_the_fast_ones(fraction, turning):
  whole, part = _turns(), _turns(rope_fraction=fraction)
  for all_of_them, some in zip(whole, part):
    np.testing.assert_array_equal(all_of_them[:, :turning], some[:, :turning])
  assert (part[0][:, turning:] == 1).all()
  assert not part[1][:, turning:].any()


@pytest.mark.parametrize('pieces', [None, 1, 3, 7, 9])
@pytest.mark.parametrize('windows', [False, True])
def test_what_is_visible_is_what_the_rules_say(windows, pieces):
  structure = Structure(17, windows=windows)
  if not windows and pieces is None:
    assert attention.visible(structure, 0, 7, {}, None) is None
    return

  @jax.jit
  def visible(h, pieces):
    return [attention.visible(structure, i, 7, h, pieces) for i in range(4)]

  def sees(query, key, index, short, period):
    if key > query or (pieces and query // pieces != key // pieces):
      return False
    whole = not windows or (index + 1) % period == 0
    return whole or query - key < short

  cut = None if pieces is None else jnp.float32(pieces)
  for short, period in [(1, 1), (1, 2), (3, 3), (2.5, 2), (99, 4), (4, 99)]:
    h = traced.complete({'window_short': short, 'window_period': period})
    for i, seen in enumerate(visible(h, cut)):
      expected = [
        [sees(query, key, i, short, period) for key in range(7)]
        for query in range(7)
      ]
      np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize('sharing', [1, 2])
def test_attention_is_that_of_jax_with_a_mask_and_without(sharing):
  q = _normal(0, 2, 16, 4, 8)
  k, v = (_normal(i, 2, 16, 4 // sharing, 8) for i in (1, 2))
  reach = jnp.tri(16, dtype=bool) & ~jnp.tri(16, k=-5, dtype=bool)
  theirs = jax.nn.dot_product_attention

  @jax.jit
  def both(q, k, v):
    low = [x.astype(jnp.bfloat16) for x in (q, k, v)]
    return [
      (_attend(q, k, v), _attend(*low), theirs(q, k, v, is_causal=True)),
      (
        _attend(q, k, v, reach),
        _attend(*low, reach),
        theirs(q, k, v, mask=reach[None, None]),
      ),
    ]

  for ours, low, expected in both(q, k, v):
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), expected, atol=0.03)


def test_query_heads_share_the_key_heads_in_order():
  q, v = _normal(0, 1, 5, 6, 4), _normal(2, 1, 5, 3, 4)
  zeros = jnp.zeros_like(v)  # keys alike: what comes out is a mean of values
  out = _attend(q, zeros, v)
  for head in range(6):
    np.testing.assert_allclose(
      out[0, -1, head], v[0, :, head // 2].mean(0), atol=1e-6
    )


def test_dropped_attention_is_right_on_average():
  q, k, v = (_normal(i, 1, 6, 1, 4) for i in range(3))
  keys = jax.random.split(jax.random.key(9), 4000)
  drop = jax.jit(jax.vmap(lambda key: _attend(q, k, v, None, 0.3, key)))
  dropped = drop(keys)
  np.testing.assert_allclose(dropped.mean(0), _attend(q, k, v), atol=0.06)
  # The first query sees itself alone: its value is dropped or it is not.
  first = dropped[:, 0, 0, 0]
  kept = first.any(-1)
  assert abs(float(kept.mean()) - 0.7) < 0.03
  np.testing.assert_allclose(first[kept] - v[:, 0, 0] / 0.7, 0, atol=1e-5)
