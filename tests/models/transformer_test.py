import dataclasses
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import compute, transformer
from models import hyperparameters as traced

NANOGPT = {
  'activation': 'gelu',
  'norm': 'layer',
  'position': 'learned',
  'qk_norm': False,
  'tied': True,
}
NANOCHAT = {
  'kv_sharing': 2,
  'windows': True,
  'capped': True,
  'value_embeddings': 'alternate',
  'scalars': True,
}


_jitted = jax.jit(
  transformer.apply, static_argnums=0, static_argnames='compute'
)


def _apply(structure, weights, tokens, key=None, h=None, **options):
  h = traced.complete(h or {})
  return _jitted(structure, weights, h, tokens, key, **options)


def _tokens(structure) -> jax.Array:
  random = np.random.default_rng(1)
  shape = (3, structure.context)
  return jnp.asarray(random.integers(structure.vocabulary, size=shape))


def _nanogpt(structure, weights, tokens):
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
    q, k, v = (linear(w[name], x) for name in 'qkv')
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


def _nanogpt_loss(structure, weights, tokens):
  logits = _nanogpt(structure, weights, tokens[:, :-1])
  logits -= logits.max(-1, keepdims=True)
  logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  return -np.take_along_axis(logs, tokens[:, 1:, None], -1).mean()


def _double(weights):
  return jax.tree.map(lambda w: np.asarray(w, np.float64), weights)


@pytest.mark.parametrize('bias', [False, True])
def test_the_nanogpt_structure_is_nanogpt(small, shaken, bias):
  structure = small(bias=bias, **NANOGPT)
  weights, tokens = shaken(structure), _tokens(structure)
  np.testing.assert_allclose(
    _apply(structure, weights, tokens),
    _nanogpt(structure, _double(weights), np.asarray(tokens)),
    atol=1e-4,
  )


def test_every_gradient_is_that_of_nanogpt(small, shaken):
  structure = small(bias=True, **NANOGPT)
  weights, tokens = shaken(structure), np.asarray(_tokens(structure))

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
      losses.append(_nanogpt_loss(structure, whole, tokens))
    expected = (losses[0] - losses[1]) / 2e-5
    assert abs((np.asarray(slope) * way).sum() - expected) < 1e-4


def _nanochat(structure, weights, h, tokens):
  """nanochat's gpt.py in NumPy, in float64, with what is searched over.

  Rotary positions are complex factors.
  """
  heads, head_dim = structure.heads, structure.head_dim
  half, length = head_dim // 2, tokens.shape[1]

  def norm(x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)

  def turn(x):
    turning = np.arange(half) < h['rope_fraction'] * half
    slow = h['rope_base'] ** (-np.arange(half) / half) * turning
    z = x[..., :half] + 1j * x[..., half:]
    z = z * np.exp(1j * np.arange(length)[:, None] * slow)
    return np.concatenate([z.real, z.imag], -1)

  def attention(i, w, x):
    q, k, v = (x @ w[name]['kernel'] for name in 'qkv')
    reach = length
    if (i + 1) % h['window_period']:
      reach = h['window_short']
    outs = []
    for head in range(heads):
      shared = head // structure.kv_sharing
      own = slice(head * head_dim, (head + 1) * head_dim)
      theirs = slice(shared * head_dim, (shared + 1) * head_dim)
      values = v[..., theirs]
      if 'value_gate' in w:
        gate = 1 / (1 + np.exp(-x[..., :12] @ w['value_gate'][:, shared]))
        embedded = w['value_embedding'][tokens][..., theirs]
        values = values + h['value_gate'] * gate[..., None] * embedded
      query = h['qk_scale'] * norm(turn(q[..., own]))
      key = h['qk_scale'] * norm(turn(k[..., theirs]))
      out = np.zeros_like(query)
      for t in range(length):
        first = max(0, t - int(reach) + 1)
        scores = (key[:, first : t + 1] * query[:, t, None]).sum(-1)
        p = np.exp(scores / math.sqrt(head_dim))
        p /= p.sum(-1, keepdims=True)
        out[:, t] = (p[..., None] * values[:, first : t + 1]).sum(1)
      outs.append(out)
    return np.concatenate(outs, -1) @ w['out']['kernel']

  def mlp(w, x):
    y = x @ w['up']['kernel']
    if 'gate' in w:
      gate = x @ w['gate']['kernel']
      y = y * gate / (1 + np.exp(-gate))
    else:
      y = np.maximum(y, 0) ** 2
    return y @ w['down']['kernel']

  def branch(w, name, x, function):
    before = {'post': None}.get(structure.placement, f'{name}_norm')
    after = {'post': f'{name}_norm', 'sandwich': f'{name}_out_norm'}
    after = after.get(structure.placement)
    y = function(norm(x) * w[before]['scale'] if before else x)
    return norm(y) * w[after]['scale'] if after else y

  x = first = weights['embedding'][tokens]
  for i in range(structure.depth):
    w = weights['blocks'][str(i)]
    if structure.scalars:
      x = w['residual'] * x + w['x0'] * first
    seen = x
    x = x + branch(
      w, 'attention', x, functools.partial(attention, i, w['attention'])
    )
    seen = seen if structure.parallel else x
    x = x + branch(w, 'mlp', seen, functools.partial(mlp, w['mlp']))
  logits = norm(x) * weights['norm']['scale'] @ weights['head']
  return h['softcap'] * np.tanh(logits / h['softcap'])


@pytest.fixture(scope='module', name='nanochat')
def _nanochat_case(small, shaken):
  """A structure, its weights, tokens and hyperparameters that matter."""
  structure = small(depth=3, heads=4, head_dim=8, **NANOCHAT)
  h = {'window_short': 3.0, 'window_period': 2.0, 'softcap': 5.0}
  h |= {'qk_scale': 1.3}
  return structure, shaken(structure), _tokens(structure), h


def _expected(structure, weights, tokens, h):
  h = traced.DEFAULTS | h
  return _nanochat(structure, _double(weights), h, np.asarray(tokens))


@pytest.mark.parametrize(
  'change',
  [
    {},
    {'rope_base': 100.0},
    {'rope_fraction': 0.5},
    {'qk_scale': 2.0},
    {'window_short': 5.0},
    {'window_period': 1.0},
    {'softcap': 30.0},
    {'value_gate': 1.0},
  ],
  ids=lambda change: ' '.join(change) or 'none',
)
def test_the_nanochat_structure_is_nanochat(nanochat, change):
  structure, weights, tokens, h = nanochat
  logits = _apply(structure, weights, tokens, h=h | change)
  expected = _expected(structure, weights, tokens, h | change)
  np.testing.assert_allclose(logits, expected, atol=1e-4)
  if change:
    before = _expected(structure, weights, tokens, h)
    assert np.abs(expected - before).max() > 1e-2


@pytest.mark.parametrize(
  'change',
  [
    {'placement': 'post', 'value_embeddings': 'all'},
    {'placement': 'sandwich', 'activation': 'swiglu'},
    {'parallel': True, 'scalars': False},
    {'parallel': True, 'placement': 'post', 'kv_sharing': 4},
  ],
  ids=lambda change: ' '.join(change),
)
def test_blocks_are_put_together_as_the_structure_says(
  small, shaken, nanochat, change
):
  h = nanochat[-1]
  structure = small(heads=4, **(NANOCHAT | change))
  weights, tokens = shaken(structure), _tokens(structure)
  logits = _apply(structure, weights, tokens, h=h)
  expected = _expected(structure, weights, tokens, h)
  np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_nothing_turning_is_no_position_at_all(small, shaken):
  turned, learned = (small(depth=1, position=p) for p in ('rope', 'learned'))
  weights, tokens = shaken(turned), _tokens(turned)
  nowhere = weights | {'positions': jnp.zeros((8, 16))}
  unplaced = _apply(turned, weights, tokens, h={'rope_fraction': 0.0})
  np.testing.assert_array_equal(unplaced, _apply(learned, nowhere, tokens))
  assert np.abs(unplaced - _apply(turned, weights, tokens)).max() > 1e-2


def test_pieces_are_what_each_would_be_alone(small, shaken):
  structure = small(depth=1, windows=True)
  weights, tokens = shaken(structure), _tokens(structure)
  h = {'window_short': 2.0}
  cut = _apply(structure, weights, tokens, h=h, length=jnp.float32(4))
  for piece in (slice(0, 4), slice(4, 8)):
    alone = _apply(structure, weights, tokens[:, piece], h=h)
    np.testing.assert_allclose(cut[:, piece], alone, atol=1e-4)
  whole = _apply(structure, weights, tokens, h=h, length=jnp.float32(8))
  np.testing.assert_array_equal(whole, _apply(structure, weights, tokens, h=h))


@pytest.mark.parametrize('choice', [{}, NANOCHAT], ids=['plain', 'nanochat'])
def test_bfloat16_computes_nearly_the_same(small, shaken, choice):
  structure = small(**choice)
  weights, tokens = shaken(structure), _tokens(structure)
  exact = _apply(structure, weights, tokens)
  rough = _apply(structure, weights, tokens, compute=compute.GPU)
  assert rough.dtype == (jnp.float32 if structure.capped else jnp.bfloat16)
  spread = float(exact.std())
  assert float(jnp.abs(exact - rough.astype(jnp.float32)).max()) < spread / 4


@pytest.mark.parametrize('depth', [1, 3, 4])
@pytest.mark.parametrize('choice', [{}, NANOCHAT], ids=['plain', 'nanochat'])
def test_blocks_as_one_loop_compute_the_same(small, shaken, choice, depth):
  structure = small(**choice, depth=depth)
  weights, tokens = shaken(structure), _tokens(structure)
  looped = dataclasses.replace(compute.CPU, written_out=0)

  @jax.jit
  def both(weights):
    def loss(weights, how):
      h = traced.complete({})
      logits = transformer.apply(structure, weights, h, tokens, compute=how)
      return jnp.square(logits).mean()

    slope = jax.value_and_grad(loss)
    return slope(weights, compute.CPU), slope(weights, looped)

  plain, loop = both(weights)
  chex.assert_trees_all_close(loop, plain, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize(
  'options,loops',
  [
    ({}, False),
    ({'written_out': 3}, False),
    ({'written_out': 2}, True),
    # Of 32 tokens each block keeps 12 x 16 numbers and 2 x 64.
    ({'room': 3 * 32 * (12 * 16 + 2 * 64) * 4}, False),
    ({'room': 3 * 32 * (12 * 16 + 2 * 64) * 4 - 1}, True),
  ],
)
def test_blocks_are_a_loop_where_they_are_many_or_keep_too_much(
  small, shaken, options, loops
):
  structure = small(depth=3)
  tokens = jnp.zeros((2, 16), jnp.int32)
  how = dataclasses.replace(compute.CPU, **options)
  program = jax.make_jaxpr(
    lambda w: transformer.apply(
      structure, w, traced.complete({}), tokens, compute=how
    )
  )(shaken(structure))
  assert ('scan[' in str(program)) == loops


def test_a_key_drops_only_where_the_structure_says_so(small, shaken):
  structure, key = small(depth=1, dropout=True), jax.random.key(0)
  weights, tokens = shaken(structure), _tokens(structure)
  plain = _apply(structure, weights, tokens)
  undropped = _apply(structure, weights, tokens, key, h={'dropout_rate': 0.0})
  dropped = _apply(structure, weights, tokens, key, h={'dropout_rate': 0.5})
  np.testing.assert_allclose(undropped, plain, atol=1e-5)
  assert not np.allclose(dropped, plain, atol=0.1)
  np.testing.assert_array_equal(
    _apply(small(depth=1), weights, tokens, key), plain
  )
