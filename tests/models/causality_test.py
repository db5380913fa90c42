"""Tests of the transformer's gradients: what feels what, and what learns."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import compute, objective, transformer
from models import hyperparameters as traced

LENGTH = 8


@functools.partial(jax.jit, static_argnums=(0, 1))
def _slopes(structure, how, weights, h, length):
  def logits(one_hot):
    # Tokens as continuous inputs: products stand in for the lookups.
    def soften(path, w):
      looked_up = path[-1].key in ('embedding', 'value_embedding')
      return one_hot @ w if looked_up else w

    embedded = jax.tree_util.tree_map_with_path(soften, weights)
    places = jnp.arange(LENGTH)[None]
    return transformer.apply(structure, embedded, h, places, None, how, length)[
      0
    ].sum(-1)

  one_hot = jnp.eye(LENGTH, structure.vocabulary)
  return jnp.abs(jax.jacobian(logits)(one_hot)).sum(-1)


def _felt(structure, weights, h=None, length=None, how=compute.CPU):
  """Whether outputs `[output, input]` feel inputs, by any way there is.

  An embedding and a value embedding of a token are inputs, so the head is
  never tied here.
  """
  length = None if length is None else jnp.float32(length)
  h = traced.complete(h or {})
  slopes = np.asarray(_slopes(structure, how, weights, h, length))
  felt = slopes > 1e-6
  assert (slopes[~felt] == 0).all()
  return felt


PAST = np.tri(LENGTH, dtype=bool)
BACK = np.arange(LENGTH)[:, None] - np.arange(LENGTH)


def _reach(tokens):
  return PAST & (BACK < tokens)


def _piece(tokens):
  place = np.arange(LENGTH) // tokens
  return PAST & (place[:, None] == place)


@pytest.mark.parametrize(
  'choice',
  [
    {},
    {'position': 'learned', 'parallel': True, 'qk_norm': False, 'depth': 1},
    {'placement': 'post', 'scalars': True, 'value_embeddings': 'alternate'},
    {'placement': 'sandwich', 'kv_sharing': 2, 'activation': 'swiglu'},
    {'placement': 'post', 'parallel': True, 'norm': 'dyt', 'capped': True},
  ],
  ids=' '.join,
)
def test_a_logit_feels_every_earlier_token_and_no_later_one(
  small, shaken, choice
):
  structure = small(**choice)
  np.testing.assert_array_equal(_felt(structure, shaken(structure)), PAST)


@pytest.mark.parametrize('how', [compute.CPU, compute.GPU], ids=['cpu', 'gpu'])
def test_nothing_is_felt_from_beyond_a_window_or_another_piece(
  small, shaken, how
):
  structure = small(
    depth=1, windows=True, kv_sharing=2, value_embeddings='all', scalars=True
  )
  weights = shaken(structure)
  for tokens, period in [(1, 2), (2, 4), (3, 2), (5, 3), (8, 2), (3, 1)]:
    for length in (1, 3, 7, 8, 99):
      h = {'window_short': tokens, 'window_period': period}
      felt = _felt(structure, weights, h, length, how)
      reach = _reach(tokens if period > 1 else 8)
      np.testing.assert_array_equal(felt, reach & _piece(length))


def test_windows_of_two_blocks_add_up(small, shaken):
  structure = small(windows=True, position='learned', placement='sandwich')
  weights = shaken(structure)
  for period, reach in [(3, 5), (2, 8), (1, 8)]:
    h = {'window_short': 3, 'window_period': period}
    np.testing.assert_array_equal(_felt(structure, weights, h), _reach(reach))


# Each choice of activation, norm, placement, position and value embeddings,
# and each flag that changes weights.
ALIVE = [
  {'activation': 'relu2', 'norm': 'rms', 'position': 'learned', 'tied': True},
  {'activation': 'gelu', 'norm': 'layer', 'placement': 'post', 'bias': True},
  {'activation': 'silu', 'norm': 'dyt', 'placement': 'sandwich', 'bias': True}
  | {'kv_sharing': 2, 'value_embeddings': 'all', 'capped': True, 'depth': 1},
  {'activation': 'swiglu', 'norm': 'layer', 'parallel': True, 'scalars': True}
  | {'position': 'learned', 'bias': True, 'placement': 'sandwich', 'depth': 1},
  {'activation': 'leaky2', 'norm': 'dyt', 'value_embeddings': 'alternate'}
  | {'windows': True, 'placement': 'post', 'parallel': True},
]


def _gradient(structure, weights, h, seed):
  rows = jnp.arange(3 * (LENGTH + 1)).reshape(3, -1)
  tokens = rows**2 * (seed + 2) % structure.vocabulary

  def loss(weights):
    logits = transformer.apply(structure, weights, h, tokens[:, :-1])
    return objective.nats(logits, tokens[:, 1:]).mean()

  return jax.grad(loss)(weights)


_jitted = jax.jit(_gradient, static_argnums=0)


@pytest.mark.parametrize('choice', ALIVE, ids=lambda c: c['activation'])
def test_every_tensor_has_a_finite_gradient(small, shaken, choice):
  structure = small(**choice)
  h = traced.complete({})
  gradient = _jitted(structure, shaken(structure), h, 1)
  for path, slope in jax.tree_util.tree_leaves_with_path(gradient):
    name = jax.tree_util.keystr(path)
    assert np.isfinite(slope).all(), name
    assert np.abs(slope).max() > 1e-6, name


def test_a_gradient_alone_and_among_others_is_the_same_bit_for_bit(
  small, shaken
):
  structure = small(**ALIVE[2], windows=True, scalars=True)

  def gradient(member):
    weights, base, seed = member
    h = {'window_period': 2, 'window_short': 3, 'rope_base': base}
    return _gradient(structure, weights, traced.complete(h), seed)

  def run(members, devices):
    # As populations run: devices' members one after another.
    mapped = jax.shard_map(
      functools.partial(jax.lax.map, gradient),
      mesh=jax.make_mesh(
        (devices,),
        ('member',),
        (jax.sharding.AxisType.Auto,),
        devices=jax.devices()[:devices],
      ),
      in_specs=jax.P('member'),
      out_specs=jax.P('member'),
      check_vma=False,
    )
    return jax.device_get(jax.jit(mapped)(members))

  factors = jnp.linspace(0.5, 1.5, 8)
  members = (
    jax.tree.map(
      lambda w: jax.vmap(lambda f: f * w)(factors), shaken(structure)
    ),
    1e3 * factors,
    jnp.arange(8),
  )
  together = run(members, 4)
  alone = run(jax.tree.map(lambda x: x[5:6], members), 1)
  chex.assert_trees_all_equal(jax.tree.map(lambda x: x[5:6], together), alone)
