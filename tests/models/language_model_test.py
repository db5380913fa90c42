import contextlib
import dataclasses
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models import (
  compute,
  data,
  language_model,
  objective,
  transformer,
  windows,
)
from models import hyperparameters as traced

# The corpus's context is twice a member's, so evaluation always cuts.
CORPUS_CONTEXT = 16
TINY = {'depth': 2, 'width': 16, 'heads': 2, 'head_dim': 8, 'mlp_ratio': 2}
TINY |= {'context': 8, 'batch': 4}
EVERYTHING = {'windows': True, 'capped': True, 'value_embeddings': 'all'}
EVERYTHING |= {'scalars': True, 'dropout': True, 'ema': True, 'bias': True}

USUAL = {'learning_rate': 1e-2, 'window_short': 4.0}

# Tests run for less time than they compile, and code that LLVM leaves alone
# compiles in half the time.
QUICK = {'xla_backend_optimization_level': 0}


@pytest.fixture(scope='module', name='model')
def _model(tmp_path_factory) -> language_model.LanguageModel:
  path = tmp_path_factory.mktemp('text') / 'counting.txt'
  path.write_text(('one→two→three→four→five→' * 60)[:1350])
  corpus = data.load(str(path), 'char', (0.7, 0.1, 0.1, 0.1), CORPUS_CONTEXT, 0)
  return language_model.LanguageModel(corpus)


def _pairs(**changes):
  return tuple((TINY | changes).items())


def _member(model, pairs, steps):
  """A whole budget: hyperparameters and seed to state and losses `[steps]`."""

  def run(h, seed):
    def body(state, step):
      return model.step(
        pairs, model.data['train'], h, state, seed, step, step / steps
      )

    return jax.lax.scan(body, model.init(pairs, h, seed), jnp.arange(steps))

  return run


@functools.lru_cache
def _run(model, pairs, steps=20):
  return jax.jit(_member(model, pairs, steps), compiler_options=QUICK)


@functools.lru_cache
def _evaluation(model, pairs):
  """Jitted: split's data, hyperparameters and state to bits per byte."""
  return jax.jit(
    lambda d, h, s: model.evaluate(pairs, d, h, s), compiler_options=QUICK
  )


@functools.lru_cache
def _apply(model, pairs):
  made = model.structure(pairs)
  return jax.jit(lambda *args: transformer.apply(made, *args))


def _hyperparameters(**changes):
  chosen = traced.DEFAULTS | USUAL | changes
  return {name: jnp.float32(value) for name, value in chosen.items()}


def _shaken(model, pairs):
  """A state like one from training: nothing in it is 0 or alike."""
  random = np.random.default_rng(5)
  return jax.tree.map(
    lambda x: 0.5 * random.normal(size=x.shape).astype(np.float32),
    jax.eval_shape(lambda: model.init(pairs, {}, 0)),
  )


def _nats(model, pairs, h, state, split='search'):
  bpb = _evaluation(model, pairs)(model.data[split], h, state)
  return model.nats_per_token(float(bpb), split)


def test_a_member_mapped_among_others_is_the_member_alone(model):
  # Dropout's generator takes half of the time to compile.
  pairs = _pairs(**EVERYTHING | {'depth': 1, 'dropout': False})
  h, run = _hyperparameters(), _member(model, pairs, 3)
  together = jax.jit(lambda h, seeds: jax.lax.map(lambda s: run(h, s), seeds))(
    h, jnp.arange(2)
  )
  alone = jax.jit(run)(h, jnp.int32(1))
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(a[1], b), together, alone
  )


def test_bits_per_byte_are_those_of_numpy(model, monkeypatch):
  # Five windows at a time, which leaves some of the last batch empty.
  monkeypatch.setattr(language_model, 'EVALUATION_TOKENS', 40)
  pairs, h = _pairs(depth=1, batch=3), _hyperparameters()
  state, corpus = _shaken(model, pairs), model.corpus
  for split, (whole, first, ratio) in corpus.evaluation.items():
    nats = []
    for half in (0, 8):
      tokens = whole[:, half : half + 9]
      logits = _apply(model, pairs)(state['weights'], h, tokens[:, :-1])
      logits = np.asarray(logits, np.float64)
      logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
      targets = tokens[:, 1:, None].astype(int)
      nats.append(-np.take_along_axis(logs, targets, -1)[..., 0])
    nats = np.concatenate(nats, 1)
    assert nats.size // 8 % 5
    scored = [n for row, f in zip(nats, first) for n in row[f:]]
    assert len(scored) == corpus.sizes[split] - 1
    bpb = float(_evaluation(model, pairs)(model.data[split], h, state))
    expected = np.mean(scored) / math.log(2) / ratio
    assert ratio > 1.3 and bpb == pytest.approx(expected, rel=1e-5)
    nats_per_token = model.nats_per_token(bpb, split)
    assert nats_per_token == pytest.approx(np.mean(scored), rel=1e-5)


def test_by_default_members_train_as_optax_would_have_them(model):
  pairs, seed, steps = _pairs(depth=1), 3, 4
  h = _hyperparameters(warmup=0.0, final_fraction=1.0, gradient_clip=0.3)
  transform = optax.chain(
    optax.clip_by_global_norm(0.3),
    optax.adamw(
      *(float(h[name]) for name in ('learning_rate', 'beta1', 'beta2')),
      weight_decay=0.1,
      mask=lambda weights: jax.tree.map(lambda w: w.ndim >= 2, weights),
    ),
  )
  begun = jax.jit(lambda: model.init(pairs, h, seed)['weights'])()

  def loss_of(weights, drawn):
    logits = transformer.apply(
      model.structure(pairs), weights, h, drawn[:, :-1]
    )
    labels = drawn[:, 1:].astype(jnp.int32)
    return optax.softmax_cross_entropy_with_integer_labels(
      logits, labels
    ).mean()

  def body(carry, step):
    weights, state = carry
    drawn = windows.draw(model.data['train']['tokens'], seed, step, 4, 8)
    loss, gradient = jax.value_and_grad(loss_of)(weights, drawn)
    change, state = transform.update(gradient, state, weights)
    return (optax.apply_updates(weights, change), state), loss

  run = jax.jit(
    lambda: jax.lax.scan(
      body, (begun, transform.init(begun)), jnp.arange(steps)
    ),
    compiler_options=QUICK,
  )
  (expected, _), expected_losses = run()
  state, losses = _run(model, pairs, steps)(h, seed)
  np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    state['weights'],
    expected,
  )


def test_an_untrained_model_knows_nothing(model):
  pairs, h = _pairs(), _hyperparameters(init_scale=0.01)
  state = jax.jit(lambda h: model.init(pairs, h, 0))(h)
  untrained = math.log(model.corpus.vocabulary)
  assert _nats(model, pairs, h, state) == pytest.approx(untrained, rel=1e-3)


def test_every_context_scores_the_same_targets(model):
  # Without attention and MLP, a token's logits depend on itself alone.
  h = _hyperparameters(out_init=0.0, init_scale=30.0)
  pairs = {context: _pairs(context=context, depth=1) for context in (1, 8, 16)}
  state = jax.jit(lambda h: model.init(pairs[16], h, 0))(h)
  for split, whole in model.corpus.evaluation.items():
    # The last window overlaps the one before, and what of it is scored begins
    # within a shorter one.
    assert 0 < whole.first[-1] < 16 and whole.first[-1] % 8
    nats = [_nats(model, p, h, state, split) for p in pairs.values()]
    np.testing.assert_allclose(nats, nats[0], rtol=1e-6)
    assert abs(nats[0] - math.log(model.corpus.vocabulary)) > 0.1


def test_a_running_average_is_that_of_numpy_and_what_is_evaluated(model):
  pairs = _pairs(ema=True, depth=1)
  h = _hyperparameters(ema_decay=0.7)
  step = jax.jit(
    lambda s, i: model.step(pairs, model.data['train'], h, s, 0, i, i / 9)[0]
  )
  state = jax.jit(lambda: model.init(pairs, h, 0))()
  average = jax.tree.map(np.asarray, state['weights'])
  for i in range(5):
    state = step(state, jnp.int32(i))
    average = jax.tree.map(
      lambda a, w: 0.7 * a + 0.3 * np.asarray(w), average, state['weights']
    )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
    state['average'],
    average,
  )
  assert model.trained_weights(pairs, state) is state['average']
  without = {**state, 'weights': state['average']}
  del without['average']
  plain = _nats(model, _pairs(depth=1), h, without)
  assert _nats(model, pairs, h, state) == plain
  without['weights'] = state['weights']
  assert _nats(model, _pairs(depth=1), h, without) != plain


def test_devices_share_an_evaluation_whose_rows_they_do_not_divide(model):
  pairs, h = _pairs(depth=1), traced.complete({})
  state = jax.jit(lambda: model.init(pairs, h, 0))()
  data = model.data['search']
  data = data._replace(tokens=data.tokens[:3], first=data.first[:3])
  mesh = jax.make_mesh(
    (4,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  found = {}
  for name in ('one', 'four'):
    # Another function, for its trace must not be the other's.
    evaluate = jax.jit(lambda d, h, s: model.evaluate(pairs, d, h, s))
    with jax.set_mesh(mesh) if name == 'four' else contextlib.nullcontext():
      compiled = evaluate.lower(data, h, state).compile()
      found[name] = compiled.cost_analysis()['flops'], evaluate(data, h, state)
  # Of 6 windows each of 4 devices has 2, the last one none that counts.
  assert found['four'][0] < 0.45 * found['one'][0]
  assert float(found['four'][1]) == pytest.approx(
    float(found['one'][1]), rel=1e-5
  )


def test_an_heir_with_another_beta1_has_the_loss_of_its_parent(model):
  pairs = _pairs(optimiser='schedule_free', depth=1)
  h = _hyperparameters(learning_rate=0.01, beta1=0.9)
  state, _ = _member(model, pairs, 5)(h, 0)
  apart = jax.tree.map(
    lambda x, z: jnp.abs(x - z).max(), *map(state.get, ('weights', 'z'))
  )
  assert max(jax.tree.leaves(apart)) > 1e-3
  heir = h | {'beta1': jnp.float32(0.7)}
  assert _nats(model, pairs, heir, state) == _nats(model, pairs, h, state)


def test_pieces_of_one_token_hide_the_context_from_training_alone(model):
  """At the start of a warm-up of length, with a context of 8."""
  pairs = _pairs(depth=1)
  run = _run(model, pairs, 1)
  h = _hyperparameters(init_scale=10.0, length_warmup=1.0)
  losses = run(h, 0)[1]
  blind = jax.jit(lambda h: model.init(pairs, h, 0))(h)
  drawn = windows.draw(model.data['train']['tokens'], 0, 0, 4, 8)
  # A window of one token sees nothing but itself.
  logits = _apply(model, pairs)(
    blind['weights'], h, drawn[:, :-1].reshape(-1, 1)
  )
  nats = objective.nats(logits, drawn[:, 1:].reshape(-1, 1))
  assert float(losses[0]) == pytest.approx(float(nats.mean()), rel=1e-5)
  whole = run(_hyperparameters(init_scale=10.0), 0)[1]
  assert abs(float(losses[0] - whole[0])) > 1e-3


@pytest.mark.parametrize(
  ('changes', 'names'),
  [
    ({}, {'mean', 'variance'}),
    ({'ema': True, 'optimiser': 'lion'}, {'mean', 'average'}),
    (
      {'optimiser': 'schedule_free'},
      {'variance', 'z', 'weight_sum', 'max_rate'},
    ),
  ],
)
def test_shapes_are_known_without_any_computation(model, changes, names):
  pairs = _pairs(**changes)
  state = jax.eval_shape(lambda s: model.init(pairs, {}, s), jnp.int32(0))
  assert set(state) == {'weights'} | names
  shape = jax.tree.map(jnp.shape, state['weights'])
  for name in names - {'weight_sum', 'max_rate'}:
    assert jax.tree.map(jnp.shape, state[name]) == shape
  count = sum(w.size for w in jax.tree.leaves(state['weights']))
  assert model.cost(pairs).weights == count


def test_no_array_of_a_state_is_there_twice(model):
  pairs = _pairs(ema=True, optimiser='schedule_free', depth=1)
  leaves = jax.tree.leaves(model.init(pairs, {}, 0))
  assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)


def test_bfloat16_is_for_computing_and_float32_for_keeping(model):
  rough = language_model.LanguageModel(model.corpus, compute.GPU)
  pairs = _pairs(**EVERYTHING)
  state, losses = jax.eval_shape(_member(rough, pairs, 2), {}, 0)
  assert {w.dtype for w in jax.tree.leaves(state)} == {jnp.dtype('float32')}
  assert losses.dtype == jnp.float32
  evaluation = _evaluation(rough, pairs)
  assert 'bf16' in evaluation.lower(rough.data['search'], {}, state).as_text()


def test_logits_in_parts_give_the_same_loss_and_slope(model):
  pairs = _pairs(**EVERYTHING, batch=6)
  made = model.structure(pairs)
  of_two_rows = 2 * made.context * made.vocabulary
  parts = dataclasses.replace(compute.CPU, logits=of_two_rows)
  cut = language_model.LanguageModel(model.corpus, parts)
  h = {'z_loss': 0.1, 'mtp_2': 0.2, 'position_weight': 0.5, 'batch_warmup': 0.9}
  whole, in_parts = (_member(m, pairs, 3)(h, 0) for m in (model, cut))
  chex.assert_trees_all_close(in_parts, whole, rtol=1e-4, atol=1e-5)


def test_a_child_takes_its_parents_weights_by_structure(model):
  old, new = _pairs(), _pairs(depth=3)
  init = jax.jit(lambda: model.init(old, {}, 0))
  state = jax.tree.map(np.asarray, init())
  fresh = jax.tree.map(np.asarray, jax.jit(lambda: model.init(new, {}, 1))())
  child = model.inherit(old, new, state, fresh)
  assert jax.tree.structure(child) == jax.tree.structure(fresh)
  block = child['weights']['blocks']['0']['mlp']['up']['kernel']
  parents = state['weights']['blocks']['0']['mlp']['up']['kernel']
  np.testing.assert_array_equal(block, parents)
  assert model.share(old, old) == 1
  assert 0.5 < model.share(old, new) < 1


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'colour': 'red'}, r'^structure colour; expected some of depth, width'),
    ({'vocabulary': 9}, r'^structure vocabulary; expected some of depth'),
    ({'context': 32}, r'^context 32; expected a divisor of 16, for which'),
    ({'context': 6}, r'^context 6; expected a divisor of 16, for which'),
    ({'norm': 'batch'}, r"^norm 'batch'; expected one of rms, layer"),
  ],
)
def test_a_bad_structure_is_refused(model, changes, message):
  with pytest.raises(ValueError, match=message):
    model.cost(_pairs(**changes))


def test_an_unknown_hyperparameter_is_refused(model):
  with pytest.raises(ValueError, match=r'^hyperparameters colour; expected'):
    model.init(_pairs(), {'colour': jnp.float32(0.9)}, jnp.int32(0))
