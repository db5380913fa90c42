"""Tests of fresh weights: `transformer.init_weights`."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import hyperparameters as traced
from models import layers, objective, transformer
from models.structure import Structure

NANOGPT = {'activation': 'gelu', 'norm': 'layer', 'position': 'learned'}
NANOGPT |= {'qk_norm': False, 'tied': True}
# Has every tensor that some structure has, but in the first block.
ALL = {'activation': 'swiglu', 'norm': 'dyt', 'placement': 'sandwich'}
ALL |= {'position': 'learned', 'value_embeddings': 'alternate'}
ALL |= {'scalars': True, 'bias': True}

_init = jax.jit(transformer.init_weights, static_argnums=0)


def _weights(structure: Structure, seed: int = 0, **changes):
  return _init(structure, jnp.int32(seed), traced.complete(changes))


def _flat(weights) -> dict[str, jax.Array]:
  return {
    '/'.join(part.key for part in path): w
    for path, w in jax.tree_util.tree_leaves_with_path(weights)
  }


def test_random_tensors_begin_with_the_spread_of_nanogpt(small):
  weights = _weights(small(depth=3, width=128, **NANOGPT))
  attention = weights['blocks']['2']['attention']
  mlp = weights['blocks']['2']['mlp']
  for w in (mlp['up'], attention['q'], attention['k'], attention['v']):
    assert abs(float(w['kernel'].std()) / 0.02 - 1) < 0.05
  for w in (mlp['down'], attention['out']):
    assert abs(float(w['kernel'].std()) / (0.02 / math.sqrt(6)) - 1) < 0.05
  for w in (weights['embedding'], weights['positions']):
    assert abs(float(w.std()) / 0.02 - 1) < 0.1


RANDOM = {
  'embedding_init': {'embedding', 'positions'},
  'head_init': {'head'},
  'up_init': {'mlp/up', 'mlp/gate'},
  'out_init': {'mlp/down', 'attention/out'},
  None: {'attention/q', 'attention/k', 'attention/v'}
  | {'attention/value_embedding'},
}


@pytest.mark.parametrize(
  'name', ['embedding_init', 'head_init', 'up_init', 'out_init', 'init_scale']
)
def test_a_factor_is_on_its_tensors_alone(small, name):
  once, thrice = (_flat(_weights(small(**ALL), **{name: x})) for x in (1, 3))
  scaled = set().union(*RANDOM.values())
  scaled = scaled if name == 'init_scale' else RANDOM[name]
  for path, w in once.items():
    tensor = path.removesuffix('/kernel').split('/')
    tensor = '/'.join(tensor[2:] if tensor[0] == 'blocks' else tensor)
    factor = 3 if tensor in scaled else 1
    assert w.any() or factor == 1
    np.testing.assert_allclose(factor * w, thrice[path], rtol=1e-6)


def test_constants_begin_as_they_should(small):
  h = {'init_scale': 9.0, 'residual_init': 1.1, 'x0_init': 0.3}
  ends = {'scale': 1, 'bias': 0, 'alpha': 0.5, 'residual': 1.1, 'x0': 0.3}
  ends |= {'value_gate': 0}
  found = set()
  for path, w in _flat(_weights(small(**ALL), **h)).items():
    name = path.split('/')[-1]
    if name in ends:
      found.add(name)
      np.testing.assert_allclose(w, ends[name], rtol=1e-6)
    else:
      assert w.std() > 1e-3
  assert found == set(ends)


def test_value_embeddings_are_where_they_should_be(small):
  for kind, expected in [('none', ''), ('alternate', '1'), ('all', '012')]:
    structure = small(depth=3, value_embeddings=kind, width=8, kv_sharing=2)
    blocks = jax.eval_shape(lambda s=structure: _weights(s))['blocks']
    for i, block in blocks.items():
      assert ('value_gate' in block['attention']) == (i in expected)
      if i in expected:
        assert block['attention']['value_embedding'].shape == (11, 8)
        assert block['attention']['value_gate'].shape == (8, 1)


@pytest.mark.parametrize(
  'other',
  [
    {'depth': 3, 'tied': True, 'context': 16, 'kv_sharing': 2},
    ALL,
  ],
  ids=['deeper', 'all'],
)
def test_a_tensor_begins_alike_whatever_the_others_are(small, other):
  plain, other = small(), small(**other)
  ours, theirs = (_flat(_weights(structure)) for structure in (plain, other))
  shared = [p for p in ours if p in theirs and ours[p].shape == theirs[p].shape]
  assert {'embedding', 'blocks/1/attention/q/kernel'} <= set(shared)
  shrink = math.sqrt(other.depth / plain.depth)
  for path in shared:
    ends = path.endswith(('out/kernel', 'down/kernel'))
    np.testing.assert_allclose(
      ours[path], theirs[path] * (shrink if ends else 1), rtol=1e-6
    )


def test_two_tensors_and_two_seeds_begin_differently(small):
  weights = _flat(_weights(small()))
  kernels = [w for w in weights.values() if w.shape == (16, 16)]
  assert len(kernels) == 8  # of queries, keys, values and what is put out
  for i, a in enumerate(kernels):
    assert not any(np.allclose(a, b) for b in kernels[:i])
  assert not np.allclose(weights['head'], _weights(small(), 1)['head'])


def test_weights_are_a_nested_dict_of_text_and_float32(small):
  paths = jax.tree_util.tree_leaves_with_path(_weights(small(**ALL)))
  assert all(type(part.key) is str for path, _ in paths for part in path)
  assert {w.dtype for _, w in paths} == {jnp.dtype('float32')}


def test_nanogpt_on_a_cpu_has_the_weights_it_should():
  structure = Structure(65, **NANOGPT)
  # nanoGPT reports .80M, which leaves out the learned positions.
  assert transformer.number_of_weights(structure) == 795_904 + 64 * 128


def test_every_weight_is_counted(small):
  sizes = [w.size for w in jax.tree.leaves(_weights(small(**ALL)))]
  assert transformer.number_of_weights(small(**ALL)) == sum(sizes)


def test_blocks_whose_branches_begin_at_zero_add_nothing(small):
  structure = small()
  weights = _weights(structure, out_init=0.0)
  tokens = jnp.arange(8)[None]
  apply = jax.jit(transformer.apply, static_argnums=0)
  logits = apply(structure, weights, traced.complete({}), tokens)
  normed = layers.root_mean_square_norm(weights['embedding'][tokens])
  np.testing.assert_allclose(logits, normed @ weights['head'], atol=1e-5)


def test_nothing_is_stuck_where_it_begins(small):
  structure, h = small(**ALL), traced.complete({'init_scale': 10.0})
  tokens = np.arange(27).reshape(3, 9) ** 2 % 11

  @jax.jit
  @jax.grad
  def gradient(weights):
    logits = transformer.apply(structure, weights, h, tokens[:, :-1])
    return objective.nats(logits, tokens[:, 1:]).mean()

  for path, slope in _flat(gradient(_init(structure, 0, h))).items():
    assert float(jnp.abs(slope).max()) > 1e-6, path
