import collections
import math
import re

import jax
import jax.numpy as jnp
import pytest

from models import cost, data, language_model, transformer

SMALL = {'depth': 2, 'width': 32, 'heads': 2, 'head_dim': 16, 'context': 16}
SMALL |= {'batch': 4}
NANOGPT = {'activation': 'gelu', 'norm': 'layer', 'position': 'learned'}
NANOGPT |= {'qk_norm': False, 'tied': True, 'bias': True, 'dropout': True}
STRUCTURES = {
  'nanogpt': NANOGPT,
  'shared heads, gated': {
    **{'kv_sharing': 4, 'heads': 4, 'head_dim': 8, 'activation': 'swiglu'},
    **{'placement': 'sandwich', 'windows': True, 'mlp_ratio': 2.5},
    **{'optimiser': 'lion', 'ema': True},
  },
  'value embeddings, Muon': {
    **{'value_embeddings': 'all', 'optimiser': 'muon', 'scalars': True},
    **{'capped': True, 'parallel': True, 'head_dim': 8},
  },
  'deep and narrow': {
    **{'depth': 5, 'width': 12, 'heads': 1, 'head_dim': 8, 'norm': 'dyt'},
    **{'value_embeddings': 'alternate', 'optimiser': 'schedule_free'},
  },
  'long context': {'context': 64, 'batch': 1, 'depth': 1, 'width': 16},
}


@pytest.fixture(scope='module', name='model')
def _model(tmp_path_factory) -> language_model.LanguageModel:
  path = tmp_path_factory.mktemp('text') / 'counting.txt'
  path.write_text('one→two→three→four→five→' * 600)
  corpus = data.load(str(path), 'char', (0.8, 0.1, 0.1, 0), 64, 0)
  return language_model.LanguageModel(corpus)


def _pairs(**changes):
  return tuple((SMALL | changes).items())


def _text(function, *args) -> str:
  """The compiled program; unoptimised code runs the same products."""
  options = {'xla_backend_optimization_level': 0}
  lowered = jax.jit(function).lower(*args)
  return lowered.compile(compiler_options=options).as_text()


def _dot_flops(text: str) -> float:
  """Of all products of a program, in loops as often as they turn."""
  assert 'matmul' not in text.split('metadata')[0]
  shapes, own = {}, collections.Counter()
  calls, entry, here = collections.defaultdict(list), None, None
  for line in text.splitlines():
    if begin := re.match(r'(ENTRY )?%([\w.-]+) \(.*\{$', line):
      here = begin[2]
      entry = here if begin[1] else entry
    if not (made := re.match(r'\s+(?:ROOT )?%([\w.-]+) = (.*)', line)):
      continue
    rest = made[2].split(', metadata=')[0]
    if shape := re.match(r'\w+\[([\d,]*)\]', rest):
      shapes[made[1]] = [int(n) for n in shape[1].split(',') if n]
    if dot := re.search(
      r' dot\(%([\w.-]+),.*lhs_contracting_dims={(.*?)}', rest
    ):
      summed = [shapes[dot[1]][int(axis)] for axis in dot[2].split(',')]
      own[here] += 2 * math.prod(shapes[made[1]]) * math.prod(summed)
    turns = re.search(r'"known_trip_count":\{"n":"(\d+)"', made[2])
    for callee in re.findall(r'(?:calls|to_apply|body)=%([\w.-]+)', rest):
      # A loop of unknown length must hold no product.
      unknown = ' while(' in rest and not turns
      times = math.nan if unknown else int(turns[1]) if turns else 1
      calls[here].append((callee, times))

  def total(name: str) -> float:
    inner = ((total(callee), times) for callee, times in calls[name])
    return own[name] + sum(flops and flops * times for flops, times in inner)

  return total(entry)


def _abstract(model, pairs):
  return jax.eval_shape(lambda s: model.init(pairs, {}, s), jnp.int32(0))


@pytest.mark.parametrize('name', STRUCTURES)
def test_a_step_costs_what_its_compiled_products_do(model, name):
  pairs = _pairs(**STRUCTURES[name])
  text = _text(
    lambda s, i: model.step(pairs, model.data['train'], {}, s, i, i, i / 9),
    _abstract(model, pairs),
    jnp.int32(0),
  )
  analytic = model.cost(pairs).flops_per_step
  assert analytic == pytest.approx(_dot_flops(text), rel=0.01)


def test_an_evaluation_costs_what_its_compiled_products_do(model):
  pairs = _pairs(depth=1)
  text = _text(
    lambda d, s: model.evaluate(pairs, d, {}, s),
    model.data['search'],
    _abstract(model, pairs),
  )
  assert '"known_trip_count"' in text
  analytic = model.cost(pairs).flops_per_evaluation
  assert analytic['search'] == pytest.approx(_dot_flops(text), rel=0.01)
  assert set(analytic) == {'search', 'confirm'}


def test_products_in_a_loop_count_as_often_as_it_turns():
  def run(x, w):
    return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, length=7)

  text = _text(run, jnp.ones((3, 4)), jnp.ones((4, 4)))
  assert _dot_flops(text) == 7 * 2 * 3 * 4 * 4


def test_the_cost_is_that_of_the_matrix_products(model):
  vocabulary = model.corpus.vocabulary
  changes = {'heads': 4, 'kv_sharing': 2, 'head_dim': 8, 'mlp_ratio': 2}
  found = model.cost(_pairs(**changes))
  query, key, hidden = 32, 16, 64
  block = 32 * (2 * query + 2 * key) + 2 * 32 * hidden
  matrices = 2 * block + 32 * vocabulary
  per_token = 2 * (matrices + 2 * 2 * query * 16)
  norms, embedding = 5 * 32, 32 * vocabulary
  assert found.weights == matrices + norms + embedding
  assert found.tokens_per_step == 64
  clipping = 2 * found.weights
  assert found.flops_per_step == 3 * per_token * 64 + clipping
  tied = model.cost(_pairs(tied=True, **changes))
  assert tied.flops_per_step == found.flops_per_step - 2 * embedding
  windows = len(model.corpus.evaluation['search'].tokens) * 64 // 16
  batches = math.ceil(windows / 64)
  read = batches * math.ceil(windows / batches)
  assert windows <= read < windows + batches
  assert found.flops_per_evaluation['search'] == per_token * read * 16


def test_a_cost_needs_no_weights(model):
  large = {'depth': 12, 'width': 1024, 'heads': 16, 'head_dim': 64}
  made = model.structure(_pairs(**large))
  assert transformer.number_of_weights(made) > 1.5e8
  assert cost.step_flops(made) > 6 * 64 * 1.5e8
