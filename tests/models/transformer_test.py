import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import transformer
from models.structure import Structure

NANOGPT = {
  'activation': 'gelu',
  'norm': 'layer',
  'position': 'learned',
  'qk_norm': False,
  'tied': True,
}


def _small(**changes) -> Structure:
  sizes = {'depth': 2, 'width': 16, 'heads': 2, 'head_dim': 8, 'context': 8}
  return Structure(**({'vocabulary': 11, **sizes} | changes))


_init = jax.jit(transformer.init_weights, static_argnums=0)


def _weights(structure: Structure, seed: int = 0, scale: float = 1.0):
  return _init(structure, jnp.int32(seed), jnp.float32(scale))


def _shaken(structure: Structure):
  """Weights away from their beginnings, so that every tensor matters."""
  weights = _weights(structure, scale=10.0)
  random = np.random.default_rng(5)
  return jax.tree.map(
    lambda w: w + 0.1 * random.normal(size=w.shape).astype(np.float32), weights
  )


_apply = jax.jit(transformer.apply, static_argnums=0, static_argnames='dtype')


def _tokens(structure: Structure) -> jax.Array:
  shape = (3, structure.context)
  return jax.random.randint(jax.random.key(1), shape, 0, structure.vocabulary)


@pytest.mark.parametrize('position', ['rope', 'learned'])
def test_a_logit_feels_earlier_tokens_and_no_later_one(position):
  structure = _small(position=position)
  weights, tokens = _shaken(structure), _tokens(structure)[:1]

  def logits(one_hot):
    # Tokens as continuous inputs: a product stands in for the lookup.
    embedded = weights | {'embedding': one_hot @ weights['embedding']}
    places = jnp.arange(structure.context)[None]
    return transformer.apply(structure, embedded, places)[0].sum(-1)

  one_hot = jax.nn.one_hot(tokens[0], structure.vocabulary)
  felt = jnp.abs(jax.jit(jax.jacobian(logits))(one_hot)).sum(
    -1
  )  # [output, input]
  later = np.triu(np.ones((8, 8), bool), 1)
  assert not felt[later].any()
  assert (np.asarray(felt)[~later] > 1e-6).all()


def _reference(structure, weights, tokens):
  """nanoGPT's model.py in NumPy, in float64."""
  erf = np.vectorize(math.erf)
  heads, head_dim = structure.heads, structure.head_dim

  def linear(w, x):
    return x @ w['kernel'] + w.get('bias', 0)

  def norm(w, x):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    return x * w['scale'] + w.get('bias', 0)

  def attention(w, x):
    batch, length, _ = x.shape
    out = np.zeros((batch, length, heads * head_dim))
    q, k, v = np.split(linear(w['qkv'], x), 3, -1)
    for h in range(heads):
      part = slice(h * head_dim, (h + 1) * head_dim)
      for i in range(length):
        scores = q[:, i, None, part] * k[:, : i + 1, part]
        scores = scores.sum(-1) / math.sqrt(head_dim)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        out[:, i, part] = (p[..., None] * v[:, : i + 1, part]).sum(1)
    return linear(w['out'], out)

  def mlp(w, x):
    x = linear(w['up'], x)
    return linear(w['down'], x * (1 + erf(x / math.sqrt(2))) / 2)

  x = weights['embedding'][tokens] + weights['positions'][: tokens.shape[1]]
  for i in range(structure.depth):
    w = weights['blocks'][str(i)]
    x = x + attention(w['attention'], norm(w['attention_norm'], x))
    x = x + mlp(w['mlp'], norm(w['mlp_norm'], x))
  return norm(weights['norm'], x) @ weights['embedding'].T


def _reference_loss(structure, weights, tokens):
  logits = _reference(structure, weights, tokens[:, :-1])
  logits -= logits.max(-1, keepdims=True)
  logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  return -np.take_along_axis(logs, tokens[:, 1:, None], -1).mean()


def _double(weights):
  return jax.tree.map(lambda w: np.asarray(w, np.float64), weights)


@pytest.mark.parametrize('bias', [False, True])
def test_the_nanogpt_structure_is_nanogpt(bias):
  structure = _small(bias=bias, **NANOGPT)
  weights, tokens = _shaken(structure), _tokens(structure)
  np.testing.assert_allclose(
    _apply(structure, weights, tokens),
    _reference(structure, _double(weights), np.asarray(tokens)),
    atol=1e-4,
  )


@pytest.mark.parametrize('bias', [False, True])
def test_every_gradient_is_that_of_nanogpt(bias):
  structure = _small(bias=bias, **NANOGPT)
  weights, tokens = _shaken(structure), np.asarray(_tokens(structure))

  def loss(weights):
    logits = _apply(structure, weights, tokens[:, :-1])
    logs = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(logs, tokens[:, 1:, None], -1).mean()

  gradient = jax.jit(jax.grad(loss))(weights)
  leaves, tree = jax.tree.flatten(_double(weights))
  random = np.random.default_rng(0)
  for i, slope in enumerate(jax.tree.leaves(gradient)):
    way = random.normal(size=slope.shape)
    losses = []
    for by in (1e-5, -1e-5):
      moved = [*leaves[:i], leaves[i] + by * way, *leaves[i + 1 :]]
      whole = jax.tree.unflatten(tree, moved)
      losses.append(_reference_loss(structure, whole, tokens))
    expected = (losses[0] - losses[1]) / 2e-5
    assert abs((np.asarray(slope) * way).sum() - expected) < 1e-4


def test_nanogpt_on_a_cpu_has_the_weights_it_should():
  structure = Structure(65, **NANOGPT)
  # nanoGPT reports .80M, which leaves out the learned positions.
  assert transformer.number_of_weights(structure) == 795_904 + 64 * 128


def test_random_tensors_begin_with_the_spread_of_nanogpt():
  structure = _small(depth=3, width=128, **NANOGPT)
  weights = _weights(structure)
  block = weights['blocks']['2']
  for w in (block['mlp']['up'], block['attention']['qkv']):
    assert abs(float(w['kernel'].std()) / 0.02 - 1) < 0.05
  for w in (block['mlp']['down'], block['attention']['out']):
    assert abs(float(w['kernel'].std()) / (0.02 / math.sqrt(6)) - 1) < 0.05
  for w in (weights['embedding'], weights['positions']):
    assert abs(float(w.std()) / 0.02 - 1) < 0.1


def test_the_scale_of_beginnings_leaves_constants_alone():
  structure = _small(bias=True, norm='layer')
  once, thrice = _weights(structure), _weights(structure, scale=3.0)
  np.testing.assert_allclose(3 * once['head'], thrice['head'], rtol=1e-6)
  norm = thrice['blocks']['0']['mlp_norm']
  assert (norm['scale'] == 1).all() and (norm['bias'] == 0).all()
  assert (thrice['blocks']['1']['mlp']['up']['bias'] == 0).all()


def test_a_tensor_begins_alike_whatever_the_others_are():
  plain = _weights(_small())
  other = _weights(
    _small(depth=3, mlp_ratio=2, position='learned', tied=True, bias=True)
  )
  for path in (('attention', 'qkv'), ('attention', 'out')):
    a, b = plain['blocks']['1'], other['blocks']['1']
    for name in path:
      a, b = a[name], b[name]
    shrink = math.sqrt(3 / 2) if path[1] == 'out' else 1
    np.testing.assert_allclose(a['kernel'], b['kernel'] * shrink, rtol=1e-6)
  np.testing.assert_array_equal(plain['embedding'], other['embedding'])


def test_two_tensors_and_two_seeds_begin_differently():
  weights = _weights(_small())
  first, second = (weights['blocks'][i]['mlp']['up']['kernel'] for i in '01')
  assert not np.allclose(first, second)
  assert not np.allclose(weights['head'], _weights(_small(), 1)['head'])


def test_weights_are_a_nested_dict_of_text_and_float32():
  paths = jax.tree_util.tree_leaves_with_path(_weights(_small()))
  assert all(type(part.key) is str for path, _ in paths for part in path)
  assert {w.dtype for _, w in paths} == {jnp.dtype('float32')}


def test_bfloat16_computes_nearly_the_same():
  structure = _small()
  weights, tokens = _shaken(structure), _tokens(structure)
  exact = _apply(structure, weights, tokens)
  rough = _apply(structure, weights, tokens, dtype=jnp.bfloat16)
  assert rough.dtype == jnp.bfloat16
  spread = float(exact.std())
  assert float(jnp.abs(exact - rough.astype(jnp.float32)).max()) < spread / 4


@pytest.mark.parametrize('rate', [0.0, 0.5])
def test_a_key_drops_only_where_the_structure_says_so(rate):
  structure = _small(dropout=rate)
  weights, tokens = _shaken(structure), _tokens(structure)
  plain = _apply(structure, weights, tokens)
  dropped = _apply(structure, weights, tokens, jax.random.key(0))
  assert np.allclose(plain, dropped) == (rate == 0)
