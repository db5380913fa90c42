"""What the model takes, and the words for what it does not."""

import pytest

from evo import space as space_lib
from launch import cli, parameters


def extended(**values):
  base = space_lib.load(cli.ready_space('nanogpt'))
  value = {'name': 'mine', 'extends': 'nanogpt'} | values
  return space_lib.Space.from_json(value, base)


def choice(choices, **values):
  entry = {'kind': 'choice', 'tier': 'architecture', 'structural': True}
  return entry | {'default': choices[0], 'choices': choices} | values


@pytest.mark.parametrize('name', ['nanogpt', 'nanochat'])
def test_the_model_takes_the_ready_spaces(name):
  parameters.check(space_lib.load(cli.ready_space(name)))


def test_a_space_may_leave_parameters_out_or_narrow_them():
  one = {'name': 'one', 'parameters': {'depth': choice([2, 3])}}
  parameters.check(space_lib.Space.from_json(one))
  narrow = {'activation': {'choices': ['gelu', 'swiglu']}}
  narrow['mlp_ratio'] = choice([2.5, 8 / 3])
  narrow['context'] = choice([24, 48, 96])
  narrow['heads'] = choice([4, 8, 12])
  parameters.check(extended(parameters=narrow))


INT = {'kind': 'int', 'tier': 'architecture', 'default': 1, 'structural': True}
FLOAT = INT | {'kind': 'float', 'low': 1, 'high': 2}


@pytest.mark.parametrize(
  'name, entry, message',
  [
    ('rate', FLOAT, 'rate is unknown to the model; expected head_rate'),
    (
      'learning_rte',
      FLOAT,
      'learning_rte is unknown to the model; expected le',
    ),
    ('vocabulary', INT | {'low': 1, 'high': 2}, 'vocabulary is unknown to the'),
    (
      'beta1',
      {'structural': True},
      'beta1.structural is true; expected false: a new value of it needs no',
    ),
    (
      'depth',
      {'structural': False},
      'depth.structural is false; expected true: each value of it is a',
    ),
    (
      'activation',
      choice(['gelu', 'tanh']),
      'activation.choices is "tanh"; expected one of "gelu", "relu2"',
    ),
    ('ema', INT | {'low': 0, 'high': 2}, 'ema.kind is "int"; expected choice'),
    ('ema', choice([0, 1]), 'ema.choices is 0; expected one of false, true'),
    ('width', FLOAT, 'width.kind is "float"; expected choice or int'),
    ('width', choice([32, 33.5]), 'width.choices is 33.5; expected whole num'),
    ('depth', INT | {'low': 0, 'high': 2}, 'depth.low is 0; expected whole'),
    (
      'mlp_ratio',
      INT | {'low': 1, 'high': 2},
      'mlp_ratio.kind is "int"; expected choice or float',
    ),
    ('mlp_ratio', choice([1, 'a']), 'mlp_ratio.choices is "a"; expected num'),
    ('mlp_ratio', choice([0, 1]), 'mlp_ratio.choices is 0; expected numbers'),
    ('context', choice([32, 48]), 'context is 32; expected divisors of the'),
  ],
)
def test_what_the_model_does_not_take_is_named_by_its_path(
  name, entry, message
):
  space = extended(parameters={name: entry})
  with pytest.raises(ValueError) as error:
    parameters.check(space)
  assert str(error.value).startswith(f'parameters.{message}')
  assert '\n' not in str(error.value)


def test_a_baseline_that_makes_no_network_is_refused():
  heads = {'heads': choice([3, 5]), 'kv_sharing': choice([2, 3], when=None)}
  with pytest.raises(ValueError, match='^the baseline has kv_sharing 2 with 3'):
    parameters.check(extended(parameters=heads))
