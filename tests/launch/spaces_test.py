"""The ready spaces: all of the model, feasible, and begun as they say."""

import dataclasses
import functools
import pathlib
import re

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from evo import parameter
from evo import space as space_lib
from launch import cli
from models import cost, hyperparameters, structure, transformer

READY = ('nanogpt', 'nanochat', 'gpt_25m', 'gpt_100m', 'gpt_1b')
ROOT = pathlib.Path(cli.__file__).parents[1]
STRUCTURAL = {f.name for f in dataclasses.fields(structure.Structure)}
STRUCTURAL -= {'vocabulary'}
TRACED = set(hyperparameters.DEFAULTS)

CONDITIONS = (
  ('head_rate head_decay head_init', {'tied': (False,)}),
  ('momentum momentum_warmup', {'optimiser': ('muon',)}),
  ('epsilon', {'optimiser': ('adamw', 'muon', 'schedule_free')}),
  ('dropout_rate', {'dropout': (True,)}),
  ('ema_decay', {'ema': (True,)}),
  ('rope_base rope_fraction', {'position': ('rope',)}),
  ('window_short window_period', {'windows': (True,)}),
  ('softcap', {'capped': (True,)}),
  ('value_gate value_decay', {'value_embeddings': ('alternate', 'all')}),
  ('residual_init x0_init', {'scalars': (True,)}),
)
# Heads that some others can share keys with.
SHARING = dict.fromkeys(READY, (4, 8))
SHARING |= {'gpt_100m': (4, 8, 12), 'gpt_1b': (8, 12, 16, 20, 24)}


@functools.cache
def ready(name):
  return space_lib.load(cli.ready_space(name), cli.ready_space)


@pytest.mark.parametrize('name', READY)
def test_ready_spaces_have_every_parameter_of_the_model_on_its_side(name):
  space = ready(name)
  assert space.name == name
  assert set(space.names) == TRACED
  assert set(space.by_name) - TRACED == STRUCTURAL
  for p in space.parameters:
    assert 0 < len(p.note) < 70, p.name
  tiers = [p.tier for p in space.parameters]
  assert [*map(tiers.count, parameter.TIERS)] == [31, 29, 9]
  assert space.free == set(space.by_name)


class Noting(dict):
  """Notes what is read of it."""

  def __init__(self, values):
    super().__init__(values)
    self.read = set()

  def __getitem__(self, name):
    self.read.add(name)
    return super().__getitem__(name)


@pytest.mark.parametrize('name', READY)
def test_ready_spaces_say_what_is_read_where_training_begins_alone(name):
  h = Noting(hyperparameters.DEFAULTS)
  made = structure.Structure(5, scalars=True, tied=False)
  jax.eval_shape(lambda: transformer.init_weights(made, 0, h))
  assert {p.name for p in ready(name).parameters if p.initial} == h.read


@pytest.mark.parametrize('name', READY)
def test_a_tier_alone_leaves_what_it_cannot_make_active(name):
  idle = {
    'nanogpt': {'head_rate', 'head_decay', 'head_init'}
    | {'momentum', 'momentum_warmup', 'value_decay'},
    'nanochat': set(),
  }.get(name, {'momentum', 'momentum_warmup', 'value_decay'})
  space = ready(name)
  for tier in parameter.TIERS:
    all_of_it = {p.name for p in space.parameters if p.tier == tier}
    assert space.restrict([tier]).free == all_of_it - idle
  assert space.restrict(parameter.TIERS).free == space.free


@pytest.mark.parametrize('name', READY)
def test_ready_spaces_know_every_label_of_the_model(name):
  labels = {
    'activation': structure.ACTIVATIONS,
    'norm': structure.NORMS,
    'placement': structure.PLACEMENTS,
    'position': structure.POSITIONS,
    'value_embeddings': structure.VALUE_EMBEDDINGS,
    'optimiser': structure.OPTIMISERS,
  } | dict.fromkeys(structure.FLAGS, (True, False))
  for p in ready(name).parameters:
    if p.name in labels:
      assert sorted(p.choices) == sorted(labels[p.name]), p.name
    else:
      assert type(p.default) in (int, float), p.name


@pytest.mark.parametrize('name', READY)
def test_what_has_no_effect_is_inactive(name):
  space = ready(name)
  conditions = {p.name: p.when for p in space.parameters if p.when}
  wanted = {n: when for names, when in CONDITIONS for n in names.split()}
  assert conditions == wanted | {'kv_sharing': {'heads': SHARING[name]}}


@pytest.mark.parametrize('name', READY)
@hypothesis.given(seed=st.integers(0, 2**31))
@hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
def test_every_configuration_of_a_ready_space_makes_a_network(name, seed):
  space, rng = ready(name), np.random.default_rng(seed)
  configurations = [space.baseline, *(space.sample(rng) for _ in range(4))]
  for configuration in configurations[:]:
    for _ in range(5):
      configuration = space.mutate(configuration, rng, expected=4)
      configurations.append(configuration)
  parents = rng.choice(configurations, size=len(space.free)).tolist()
  configurations.append(space.recombine(space.baseline, parents))
  contexts = space.by_name['context'].choices
  for configuration in configurations:
    pairs = dict(space.structure(configuration))
    made = structure.Structure(vocabulary=65, **pairs)
    assert max(contexts) % made.context == 0
    assert set(space.hyperparameters(configuration)) == TRACED


def test_nanogpt_begins_with_nanogpts_recipe_for_a_cpu():
  space = ready('nanogpt')
  traced = space.hyperparameters(space.baseline)
  # nanoGPT decays from the end of the warm-up, as a start at 0 does too.
  assert traced['decay_start'] <= traced['warmup'] == 100 / 2000
  assert traced | {'decay_start': 0} == hyperparameters.DEFAULTS
  made = dict(space.structure(space.baseline))
  shapes = {'depth': 4, 'width': 128, 'heads': 4, 'head_dim': 32}
  shapes |= {'context': 64, 'batch': 12, 'kv_sharing': 1, 'mlp_ratio': 4}
  labels = {'activation': 'gelu', 'norm': 'layer', 'placement': 'pre'}
  labels |= {'position': 'learned', 'value_embeddings': 'none'}
  labels |= {'optimiser': 'adamw'}
  flags = dict.fromkeys(structure.FLAGS, False) | {'tied': True}
  assert made == shapes | labels | flags


def test_nanochat_begins_with_a_small_nanochat():
  space = ready('nanochat')
  made = dict(space.structure(space.baseline))
  assert made['optimiser'] == 'muon' and made['value_embeddings'] == 'alternate'
  for name in ('qk_norm', 'windows', 'capped', 'scalars'):
    assert made[name] is True
  for name in ('tied', 'parallel', 'bias', 'dropout', 'ema'):
    assert made[name] is False
  modern = structure.Structure(vocabulary=1)
  for name in ('activation', 'norm', 'placement', 'position', 'kv_sharing'):
    assert made[name] == getattr(modern, name)
  assert made['heads'] * made['head_dim'] == made['width'] == 128
  # Whatever the schedule, no block but the last sees more than a quarter.
  assert space.baseline['window_short'] * 4 == made['context']
  assert space.baseline['window_period'] == made['depth'] == 4
  assert space.baseline['out_init'] == 0


@pytest.mark.parametrize(
  'name, millions', [('gpt_25m', 25), ('gpt_100m', 100), ('gpt_1b', 1000)]
)
def test_gpts_of_bytes_have_the_size_of_their_name_and_suit_tpus(
  name, millions
):
  space = ready(name)
  pairs = dict(space.structure(space.baseline))
  made = structure.Structure(vocabulary=256, **pairs)
  weights = sum(leaf.size for leaf in jax.tree.leaves(cost.shapes(made)))
  assert weights == pytest.approx(millions * 1e6, rel=0.03)
  assert made.heads * made.head_dim == made.width
  assert made.context == 2048 and made.head_dim == 128
  # What the fast attention of TPUs and the chips' lanes ask for.
  assert not (made.windows or made.dropout or made.capped)
  assert all(width % 128 == 0 for width in space.by_name['width'].choices)


def test_the_models_readme_sorts_all_parameters_as_the_code_does():
  text = (ROOT / 'models/README.md').read_text()
  section = text.split('## Parameters\n')[1].split('\n## ')[0]
  found = {'structural': [], 'traced': []}
  side = None
  for line in section.splitlines():
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    if len(cells) == 2 and cells[0].split(':')[0] in found:
      side = cells[0].split(':')[0]
    elif len(cells) == 2 and side:
      found[side] += ' '.join(re.findall(r'`(.+?)`', cells[0])).split()
    else:
      side = None
  for names in found.values():
    assert len(names) == len(set(names))
  assert set(found['structural']) == STRUCTURAL
  assert set(found['traced']) == TRACED
