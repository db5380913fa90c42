"""Tests of what the flags say, built."""

import json

import pytest

from evo import space as space_lib
from launch import experiment
from models.structure import Structure


@pytest.fixture
def make(small):
  """A space like the small one, with other parameters, and its trainee."""
  flags = dict(flag.removeprefix('--').split('=') for flag in small)

  def make(change):
    with open(flags['space']) as file:
      value = json.load(file)
    change(value['parameters'])
    value['free'] = [n for n in value['free'] if n in value['parameters']]
    space = space_lib.Space.from_json(value)
    given = {
      'data': flags['data'],
      'tokenizer': 'byte',
      'splits': (0.85, 0.05, 0.05, 0.05),
      'evaluation_tokens': 2048,
      'population': 4,
    }
    return space, experiment.load_trainee(given, space)

  return make


def test_without_a_context_it_is_that_of_the_structure(make):
  space, trainee = make(lambda parameters: parameters.pop('context'))
  assert trainee.corpus.context == Structure.context
  assert trainee.cost(space.structure(space.baseline)).tokens_per_step > 0


def test_a_child_that_cannot_be_takes_over_nothing(make):
  space, trainee = make(lambda parameters: None)
  good = space.structure(space.baseline)
  bad = tuple(dict(good, heads=3, kv_sharing=2).items())
  assert experiment._inherits(trainee, good, good)
  assert not experiment._inherits(trainee, good, bad)
