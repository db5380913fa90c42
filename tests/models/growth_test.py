import dataclasses
import functools
import os
import pathlib

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from hypothesis import strategies as st

from models import (
  data,
  growth,
  hyperparameters,
  objective,
  optimiser,
  structure,
  transformer,
  windows,
)
from models.structure import Structure

VOCABULARY = 11
TOKENS = np.random.default_rng(1).integers(0, VOCABULARY, (2, 4), np.int32)
# Away from their defaults and from where they have no effect.
H = hyperparameters.complete(
  {
    **{'window_short': 2.0, 'window_period': 2.0, 'softcap': 3.0},
    **{'value_gate': 1.5, 'qk_scale': 1.2, 'rope_fraction': 0.5, 'beta1': 0.8},
  }
)
settings = functools.partial(
  hypothesis.settings, deadline=None, derandomize=True, database=None
)


def _small(**changes) -> Structure:
  sizes = {'depth': 2, 'width': 8, 'heads': 2, 'head_dim': 4, 'mlp_ratio': 2}
  return Structure(
    **{'vocabulary': VOCABULARY, 'context': 4, 'batch': 2, **sizes, **changes}
  )


@functools.cache
def _shapes(s: Structure):
  """Of a whole state, as training makes it."""
  weights = traverse_util.unflatten_dict(
    {
      path: jax.ShapeDtypeStruct([growth.AXES[a](s) for a in axes], np.float32)
      for path, axes in growth.tensors(s).items()
    }
  )
  moments = jax.eval_shape(
    functools.partial(optimiser.init_moments, s.optimiser), weights
  )
  return {'weights': weights, **moments} | (
    {'average': weights} if s.ema else {}
  )


def _state(s: Structure, seed: int = 0):
  """One in which every number is its own, so that every one matters."""
  random = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: random.normal(0, 0.4, leaf.shape).astype(np.float32),
    _shapes(s),
  )


def _flat(tree):
  return traverse_util.flatten_dict(tree)


def _filled(s: Structure, value: float):
  return jax.tree.map(
    lambda leaf: np.full(leaf.shape, value, np.float32), _shapes(s)
  )


def _fresh(s: Structure, seed: int = 9):
  """As training has it: moments are zero, averages are the weights."""
  shaken = _state(s, seed)
  return {
    name: shaken['weights']
    if name in ('average', 'z')
    else jax.tree.map(np.zeros_like, tree)
    for name, tree in shaken.items()
  } | {'weights': shaken['weights']}


def _logits(s: Structure, state, length: int):
  """Those that evaluation sees. Not compiled: each structure is a program."""
  weights = state.get('average', state['weights'])
  return np.asarray(transformer.apply(s, weights, H, TOKENS[:, :length]))


def _check_logits(old: Structure, new: Structure):
  state = _state(old)
  child = growth.inherit(old, new, state, _fresh(new))
  length = min(old.context, new.context, TOKENS.shape[1])
  expected = _logits(old, state, length)
  assert expected.std() > 0.1
  actual = _logits(new, child, length)
  np.testing.assert_allclose(actual, expected, atol=1e-5)


GROWTHS = [
  ({}, {'depth': 4}),
  ({'placement': 'post', 'norm': 'layer', 'bias': True}, {'depth': 3}),
  ({'placement': 'sandwich', 'norm': 'dyt', 'bias': True}, {'depth': 3}),
  ({'windows': True, 'parallel': True}, {'depth': 3}),
  ({'value_embeddings': 'alternate', 'scalars': True}, {'depth': 4}),
  ({}, {'mlp_ratio': 3.5}),
  ({'activation': 'swiglu', 'bias': True}, {'mlp_ratio': 3}),
  ({'value_embeddings': 'all'}, {'heads': 3}),
  ({'heads': 4, 'kv_sharing': 2, 'bias': True}, {'heads': 6}),
  ({'heads': 1}, {'heads': 2, 'kv_sharing': 2}),
  (
    {'heads': 4, 'kv_sharing': 4, 'value_embeddings': 'all', 'bias': True},
    {'kv_sharing': 2},
  ),
  ({'heads': 4, 'kv_sharing': 4}, {'heads': 6, 'kv_sharing': 1}),
  ({'position': 'learned', 'qk_norm': False}, {'context': 9}),
  ({}, {'context': 9}),
  ({'position': 'learned'}, {'context': 3}),  # for sequences as short as that
  ({'tied': True}, {'tied': False}),
  ({}, {'value_embeddings': 'alternate'}),
  ({'value_embeddings': 'alternate'}, {'value_embeddings': 'all'}),
  ({'norm': 'layer', 'placement': 'sandwich'}, {'bias': True}),
  ({}, {'scalars': True}),
  ({}, {'ema': True}),
  ({'ema': True}, {'depth': 3, 'optimiser': 'lion'}),
  ({}, {'optimiser': 'schedule_free'}),
  ({'optimiser': 'schedule_free'}, {'optimiser': 'adamw'}),
  ({'optimiser': 'schedule_free', 'tied': True}, {'depth': 3, 'tied': False}),
  ({}, {'dropout': True, 'batch': 3, 'optimiser': 'muon'}),
]


@pytest.mark.parametrize(('before', 'change'), GROWTHS)
def test_a_child_that_grows_computes_what_its_parent_does(before, change):
  old = _small(**before)
  new = dataclasses.replace(old, **change)
  assert growth.preserves(old, new)
  _check_logits(old, new)


FLAGS = {name: st.booleans() for name in structure.FLAGS}
CHOICES = {
  'activation': structure.ACTIVATIONS,
  'norm': structure.NORMS,
  'placement': structure.PLACEMENTS,
  'position': structure.POSITIONS,
  'value_embeddings': structure.VALUE_EMBEDDINGS,
  'optimiser': structure.OPTIMISERS,
}
SIZES = {
  'depth': (1, 2),
  'width': (8, 14),
  'heads': (2, 4),
  'head_dim': (2, 4),
  'kv_sharing': (1, 2),
  'mlp_ratio': (1, 2),
  'context': (4, 6),
}
structures = st.builds(
  _small,
  **FLAGS,
  **{n: st.sampled_from(c) for n, c in (CHOICES | SIZES).items()},
)


@st.composite
def growths(draw):
  """A structure, and one that grew from it in several ways at once."""
  old = draw(structures)
  kinds = structure.VALUE_EMBEDDINGS
  known = kinds[kinds.index(old.value_embeddings) :]
  change = {
    'depth': old.depth + draw(st.integers(0, 2)),
    'mlp_ratio': old.mlp_ratio + draw(st.sampled_from((0, 0.5))),
    'heads': old.heads + draw(st.integers(0, 1)) * old.kv_sharing,
    'kv_sharing': draw(st.integers(1, old.kv_sharing)),
    'context': old.context + draw(st.integers(0, 2)),
    'tied': old.tied and draw(st.booleans()),
    'value_embeddings': draw(st.sampled_from(known)),
    'dropout': draw(st.booleans()),
  }
  for name in ('bias', 'scalars'):
    change[name] = getattr(old, name) or draw(st.booleans())
  change['ema'] = old.ema or draw(st.booleans())
  change['optimiser'] = draw(st.sampled_from(structure.OPTIMISERS))
  return old, dataclasses.replace(old, **change)


@hypothesis.given(growths())
@settings(max_examples=25)
def test_growing_in_several_ways_at_once_preserves_too(pair):
  assert growth.preserves(*pair)
  _check_logits(*pair)


@hypothesis.given(growths())
@settings(max_examples=25)
def test_shrinking_gives_back_what_had_grown(pair):
  old, new = pair
  new = dataclasses.replace(new, ema=old.ema, optimiser=old.optimiser)
  state = _state(old)
  child = growth.inherit(old, new, state, _fresh(new))
  again = growth.inherit(new, old, child, _fresh(old, seed=5))
  jax.tree.map(np.testing.assert_array_equal, again, state)


CHANGES = [
  (base, field.name, value)
  for base in (
    {'heads': 4, 'kv_sharing': 2},
    {'position': 'learned', 'value_embeddings': 'alternate', 'scalars': True}
    | {'bias': True, 'windows': True, 'ema': True, 'norm': 'layer'},
  )
  for field in dataclasses.fields(Structure)
  for value in {
    **{name: (True, False) for name in structure.FLAGS},
    **CHOICES,
    **{name: (1, 2, 4, 6) for name in (*SIZES, 'batch')},
    'kv_sharing': (1, 2),
    'heads': (2, 4, 6),
    'head_dim': (2, 4, 6),
    'vocabulary': (11, 13),
  }[field.name]
]


@pytest.mark.parametrize('reverse', [False, True])
def test_preserves_is_true_of_no_change_that_shows(reverse):
  claimed = set()
  for base, name, value in CHANGES:
    pair = _small(**base), _small(**(base | {name: value}))
    old, new = reversed(pair) if reverse else pair
    if growth.preserves(old, new):
      claimed |= {name} if old != new else set()
      _check_logits(old, new)
  assert {'batch', 'context', 'dropout', 'ema', 'value_embeddings'} <= claimed


def test_queries_that_lose_their_keys_are_not_preserved():
  old = _small(heads=4, kv_sharing=2)
  new = dataclasses.replace(old, heads=6, kv_sharing=3)
  # Every key head is still there, but query 2 has another one than before.
  assert not growth.preserves(old, new)
  with pytest.raises(AssertionError, match='Mismatched'):
    _check_logits(old, new)


@hypothesis.given(structures)
@settings(max_examples=40)
def test_axes_are_those_of_the_transformer(s):
  weights = jax.eval_shape(lambda: transformer.init_weights(s, jnp.int32(0), H))
  shapes = {path: w.shape for path, w in _flat(weights).items()}
  assert shapes == {
    path: tuple(growth.AXES[a](s) for a in axes)
    for path, axes in growth.tensors(s).items()
  }


@hypothesis.given(structures, structures)
@settings(max_examples=60)
def test_any_child_has_the_form_of_a_fresh_one_and_memory_of_its_own(old, new):
  state, fresh = _state(old), _fresh(new)
  child = growth.inherit(old, new, state, fresh)
  assert jax.tree.structure(child) == jax.tree.structure(fresh)
  own = jax.tree.leaves(child)
  for ours, its in zip(own, jax.tree.leaves(fresh), strict=True):
    assert (ours.shape, ours.dtype) == (its.shape, its.dtype)
  given = jax.tree.leaves((state, fresh))
  for i, ours in enumerate(own):
    for other in given + own[:i]:
      assert not np.may_share_memory(ours, other)


@hypothesis.given(structures, structures)
@settings(max_examples=60)
def test_the_share_is_the_count_of_what_came_from_the_parent(old, new):
  child = growth.inherit(old, new, _filled(old, 7), _filled(new, 3))
  marks = [w.reshape(-1) == 7 for w in jax.tree.leaves(child['weights'])]
  assert growth.share(old, new) == pytest.approx(np.concatenate(marks).mean())
  assert growth.share(new, new) == 1


def test_nothing_is_as_large_as_the_structures_to_share_and_preserve():
  old = Structure(10**5, width=10**5, heads=10**3, depth=3, tied=True)
  new = dataclasses.replace(old, depth=6, tied=False)
  assert growth.preserves(old, new)
  assert 0.5 < growth.share(old, new) < 0.6


def test_what_is_new_is_as_in_the_fresh_child_but_silent_where_it_would_sound():
  old = _small(bias=True, scalars=True)
  new = dataclasses.replace(old, depth=3, heads=3, mlp_ratio=3)
  state, fresh = _state(old)['weights'], _fresh(new)
  child = growth.inherit(old, new, {'weights': state}, fresh)['weights']
  fresh, equal = fresh['weights'], np.testing.assert_array_equal
  for i in ('0', '1'):
    ours, its, first = (t['blocks'][i] for t in (child, state, fresh))
    for folder, name, size in (
      *(('attention', name, 8) for name in 'qkv'),
      ('mlp', 'up', 16),
    ):
      kernel = ours[folder][name]['kernel']
      equal(kernel[:, :size], its[folder][name]['kernel'])
      equal(kernel[:, size:], first[folder][name]['kernel'][:, size:])
    for folder, name, size in (('attention', 'out', 8), ('mlp', 'down', 16)):
      kernel = ours[folder][name]['kernel']
      equal(kernel[:size], its[folder][name]['kernel'])
      assert kernel.shape[0] > size and not kernel[size:].any()
  top, first = child['blocks']['2'], fresh['blocks']['2']
  for folder, name in (('attention', 'out'), ('mlp', 'down')):
    assert not top[folder][name]['kernel'].any()
    assert not top[folder][name]['bias'].any()
  assert (top['residual'], top['x0']) == (1, 0)
  equal(top['mlp']['up']['kernel'], first['mlp']['up']['kernel'])
  equal(top['attention_norm']['scale'], first['attention_norm']['scale'])
  equal(child['head'], state['head'])


def test_shrinking_keeps_the_leading_part_and_widening_the_corner():
  old = _small(depth=3, heads=4, kv_sharing=1, position='learned')
  new = dataclasses.replace(
    old, depth=1, heads=2, context=3, mlp_ratio=1, width=12, head_dim=2
  )
  state, fresh = _state(old), _fresh(new)
  child = growth.inherit(old, new, state, fresh)
  equal = np.testing.assert_array_equal
  assert list(child['weights']['blocks']) == ['0']
  for tree in ('weights', 'mean', 'variance'):
    ours, its = child[tree], state[tree]
    equal(ours['positions'][:, :8], its['positions'][:3])
    equal(ours['embedding'][:, 8:], fresh[tree]['embedding'][:, 8:])
    ours, its = ours['blocks']['0'], its['blocks']['0']
    down = ours['mlp']['down']['kernel']
    equal(down[:, :8], its['mlp']['down']['kernel'][:12])
    first = fresh[tree]['blocks']['0']['mlp']['down']['kernel']
    equal(down[:, 8:], first[:, 8:])
    # Two channels of each of two heads, where there were four of each of four.
    for name in 'qkv':
      kernel = ours['attention'][name]['kernel']
      equal(kernel[:8], its['attention'][name]['kernel'][:, [0, 1, 4, 5]])


def test_a_shared_key_head_is_that_of_the_first_of_its_queries():
  old = _small(heads=4, value_embeddings='all')
  new = dataclasses.replace(old, kv_sharing=2)
  state = _state(old)
  child = growth.inherit(old, new, state, _fresh(new))
  ours, its = (
    s['variance']['blocks']['1']['attention'] for s in (child, state)
  )
  gate = its['value_gate'][:, [0, 2]]
  np.testing.assert_array_equal(ours['value_gate'], gate)
  kernel = its['k']['kernel'].reshape(8, 4, 4)[:, [0, 2]].reshape(8, 8)
  np.testing.assert_array_equal(ours['k']['kernel'], kernel)


def test_moments_of_a_child_are_those_it_would_have_had():
  """What continues a weight has its gradient; copies of it share that."""
  old = _small(kv_sharing=2, tied=True, activation='gelu', scalars=True)
  new = dataclasses.replace(
    old, depth=3, heads=4, kv_sharing=1, mlp_ratio=3, tied=False
  )

  @functools.partial(jax.jit, static_argnums=0)
  def gradient(s, weights):
    def loss(weights):
      logits = transformer.apply(s, weights, H, TOKENS)
      return jnp.square(logits - 1).mean()

    return jax.grad(loss)(weights)

  state, fresh = _state(old), _fresh(new)
  state['mean'] = state['variance'] = gradient(old, state['weights'])
  child = growth.inherit(old, new, state, fresh)
  its = gradient(new, child['weights'])
  close = functools.partial(np.testing.assert_allclose, atol=1e-6)
  whole = its['embedding'] + its['head'].T
  for moments in (child['mean'], child['variance']):
    close(moments['embedding'], whole)
    close(moments['head'], whole.T)
    close(moments['norm']['scale'], its['norm']['scale'])
    for i in ('0', '1'):
      a, b = moments['blocks'][i], its['blocks'][i]
      close(a['mlp']['up']['kernel'][:, :16], b['mlp']['up']['kernel'][:, :16])
      close(a['mlp']['down']['kernel'][:16], b['mlp']['down']['kernel'][:16])
      assert not a['mlp']['down']['kernel'][16:].any()
      a, b = a['attention'], b['attention']
      close(a['q']['kernel'][:, :8], b['q']['kernel'][:, :8])
      for name in 'kv':
        first, second, new_heads = np.split(a[name]['kernel'], [4, 8], 1)
        b_first, b_second, _ = np.split(b[name]['kernel'], [4, 8], 1)
        close(first, b_first + b_second)
        close(second, first)
        assert not new_heads.any()
    assert not any(m.any() for m in jax.tree.leaves(moments['blocks']['2']))


@pytest.mark.parametrize('kind', structure.OPTIMISERS)
@pytest.mark.parametrize('before', structure.OPTIMISERS)
def test_moments_pass_between_optimisers_where_both_have_them(before, kind):
  old, new = _small(optimiser=before), _small(optimiser=kind, ema=True)
  state = _state(old)
  child = growth.inherit(old, new, state, _fresh(new))
  weights, given = _flat(state['weights']), _flat(state)
  for (tree, *name), moment in _flat(child).items():
    # A mean is of use to Adam only with its variance.
    varied = {'adamw', 'schedule_free'}
    if optimiser.group(tuple(name), moment.ndim) != 'matrix':
      varied.add('muon')
    useful = tree != 'mean' or kind not in varied or before in varied
    if tree in ('weights', 'average') or (tree == 'z' and before != kind):
      np.testing.assert_array_equal(moment, weights[tuple(name)])
    elif (tree, *name) in given and useful:
      np.testing.assert_array_equal(moment, given[tree, *name])
    else:
      assert not moment.any()


@pytest.mark.parametrize('before', ['lion', 'muon', 'schedule_free'])
def test_no_change_of_optimiser_starts_with_a_leap(before):
  old, new = _small(optimiser=before), _small()
  child = growth.inherit(old, new, _filled(old, 1.0), _filled(new, 0.0))
  moments = {name: child[name] for name in ('mean', 'variance')}
  h = hyperparameters.complete({'gradient_clip': 1e9, 'weight_decay': 0})
  moved, _ = jax.jit(optimiser.update, static_argnums=0)(
    'adamw', child['weights'], moments, child['weights'], h, 0.5, 500
  )
  for a, b in zip(
    *map(jax.tree.leaves, (moved, child['weights'])), strict=True
  ):
    assert np.abs(a - b).max() < 1.2 * h['learning_rate']


STEPS = 300, 200  # of the parent, and of everyone from there on


@functools.partial(jax.jit, static_argnums=(0, 3))
def _train(s: Structure, state, tokens, steps: int, seed, first, total):
  h = hyperparameters.complete({})

  def step(state, i):
    drawn = windows.draw(tokens, seed, i, s.batch, s.context).astype(jnp.int32)

    def loss(weights):
      logits = transformer.apply(s, weights, h, drawn[:, :-1])
      return objective.nats(logits, drawn[:, 1:]).mean()

    gradient = jax.grad(loss)(state['weights'])
    moments = {name: state[name] for name in ('mean', 'variance')}
    weights, moments = optimiser.update(
      s.optimiser, state['weights'], moments, gradient, h, i / total, i
    )
    return {'weights': weights, **moments}, None

  return jax.lax.scan(step, state, first + jnp.arange(steps))[0]


@functools.partial(jax.jit, static_argnums=0)
def _score(s: Structure, state, rows):
  h = hyperparameters.complete({})

  def score(rows):
    logits = transformer.apply(s, state['weights'], h, rows[:, :-1])
    return objective.nats(logits, rows[:, 1:]).mean()

  return jax.lax.map(score, rows.astype(jnp.int32)).mean()


@pytest.mark.slow
@pytest.mark.skipif(
  'DATAPOINT_TEXT' not in os.environ, reason='needs tinyshakespeare.txt'
)
def test_a_child_twice_as_deep_is_ahead_of_one_from_scratch():
  path = pathlib.Path(os.environ['DATAPOINT_TEXT'])
  corpus = data.load(str(path), 'char', context=64)
  sizes = {'width': 64, 'heads': 4, 'head_dim': 16, 'mlp_ratio': 4}
  nanogpt = {'activation': 'gelu', 'norm': 'layer', 'position': 'learned'}
  old = Structure(
    corpus.vocabulary, depth=2, qk_norm=False, tied=True, **sizes, **nanogpt
  )
  new = dataclasses.replace(old, depth=4)
  rows = corpus.evaluation['search'].tokens
  rows = rows[: len(rows) // 32 * 32].reshape(-1, 32, 65)
  before, after = STEPS
  for seed in range(3):

    def init(s, seed=seed):
      h = hyperparameters.complete({})
      weights = transformer.init_weights(s, jnp.int32(seed), h)
      return {'weights': weights, **optimiser.init_moments('adamw', weights)}

    def train(s, state, steps, first, total, seed=seed):
      return _train(s, state, corpus.train, steps, seed, first, float(total))

    parent = train(old, init(old), before, 0, before + after)
    child = growth.inherit(old, new, parent, init(new))
    begun, losses = _score(new, child, rows), {}
    assert abs(begun - _score(old, parent, rows)) < 1e-5
    losses['begun'] = begun
    losses['child'] = train(new, child, after, before, before + after)
    losses['scratch'] = train(new, init(new), after, 0, after)
    for name in ('child', 'scratch'):
      losses[name] = _score(new, losses[name], rows)
    print(seed, {name: f'{loss:.4f}' for name, loss in losses.items()})
    assert losses['child'] < losses['scratch'] - 0.1
    assert losses['child'] < begun
