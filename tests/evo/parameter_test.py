"""Parameters: where values lie, how they move, and what bad ones are told."""

import dataclasses
import functools
import math

import numpy as np
import pytest
from scipy import stats

from evo import parameter

Parameter = parameter.Parameter
ALPHA = 1e-4  # Seeds are fixed: a test that passes once passes always.

RATE = Parameter('rate', 'log_float', 'configuration', 1e-3, 1e-4, 1e-2)
DECAY = Parameter('decay', 'float', 'configuration', 0.0, 0.0, 0.5)
LAYERS = Parameter('layers', 'int', 'architecture', 4, 1, 8, structural=True)
STEPS = Parameter('steps', 'int', 'configuration', 50, 0, 100)
BATCH = Parameter('batch', 'choice', 'configuration', 4, choices=(2, 4, 8, 16))
SHAPE = Parameter(
  'shape', 'choice', 'architecture', 'x', choices=('x', 'y'), structural=True
)
KINDS = (RATE, DECAY, LAYERS, STEPS, BATCH, SHAPE)


def rng(seed=0):
  return np.random.default_rng(seed)


@pytest.mark.parametrize('p', KINDS, ids=lambda p: p.name)
def test_a_mutation_always_moves_even_from_a_bound(p):
  generator = rng()
  for u in (0, 1):
    start = p.at(u)
    for _ in range(100):
      assert p.mutated(start, generator, step=0.15, resample=0.1) != start


def assert_gaussian(values, sd):
  """Chi-square over ten bins that the declared Gaussian makes equal."""
  bins = np.floor(stats.norm.cdf(values, scale=sd) * 10).astype(int)
  assert stats.chisquare(np.bincount(bins, minlength=10)).pvalue > ALPHA


def test_steps_follow_the_declared_gaussian():
  generator = rng()
  settings = {'step': 0.05, 'resample': 0}
  perturbed = functools.partial(DECAY.perturbed, factors=())
  for p, start, change in (
    (RATE, 1e-3, RATE.mutated),
    (DECAY, 0.25, DECAY.mutated),
    (DECAY, 0.25, perturbed),
  ):
    ends = [change(start, generator, **settings) for _ in range(3000)]
    assert_gaussian([p.unit(end) - p.unit(start) for end in ends], 0.05)


def test_integer_steps_are_the_rounded_gaussian_and_never_0_in_mutation():
  generator = rng()
  settings = {'step': 0.01, 'resample': 0}
  perturbed = functools.partial(STEPS.perturbed, factors=())
  edges = np.array([-np.inf, -1.5, -0.5, 0.5, 1.5, np.inf])
  shares = np.diff(stats.norm.cdf(edges))
  for change in (perturbed, STEPS.mutated):
    moves = [change(50, generator, **settings) - 50 for _ in range(3000)]
    counts = np.histogram(moves, edges)[0]
    if change == STEPS.mutated:
      assert counts[2] == 0
      counts = counts[[0, 1, 3, 4]]
      shares = shares[[0, 1, 3, 4]] + [0, shares[2] / 2, shares[2] / 2, 0]
    assert stats.chisquare(counts, shares * 3000).pvalue > ALPHA


def test_distances_are_shares_of_the_range_or_1_between_labels():
  assert RATE.distance(1e-4, 1e-3) == pytest.approx(0.5)
  assert DECAY.distance(0.5, 0.0) == 1
  assert LAYERS.distance(2, 4) == pytest.approx(2 / 8)
  assert BATCH.distance(2, 16) == pytest.approx(3 / 4)
  assert SHAPE.distance('x', 'y') == 1
  for p in KINDS:
    assert p.distance(p.default, p.default) == 0
  many = dataclasses.replace(SHAPE, choices=('x', 'y', 'z', True, 2))
  assert many.distance('x', 2) == many.distance(True, 'z') == 1


FLOAT = {
  'kind': 'float',
  'tier': 'objective',
  'default': 1,
  'low': 0,
  'high': 2,
}
LOG = FLOAT | {'kind': 'log_float'}
CHOICE = {
  'kind': 'choice',
  'tier': 'objective',
  'default': 1,
  'choices': [1, 2],
}


@pytest.mark.parametrize(
  'value, message',
  [
    (FLOAT | {'kind': []}, 'a.kind is []; expected float, log_float'),
    (FLOAT | {'tier': 'x'}, 'a.tier is "x"; expected'),
    (FLOAT | {'low': '0'}, 'a.low is "0"; expected a finite number'),
    (FLOAT | {'low': None}, 'a.low is null; expected'),
    (FLOAT | {'high': math.inf}, 'a.high is Infinity; '),
    (FLOAT | {'low': True}, 'a.low is true; expected'),
    (FLOAT | {'low': 2}, 'a.low is 2; expected less than high'),
    (LOG, 'a.low is 0; expected more than 0'),
    (FLOAT | {'default': 3}, 'a.default is 3; expected a number in [0, 2]'),
    (
      FLOAT | {'kind': 'int', 'high': 1.5},
      'a.high is 1.5; expected an integer',
    ),
    (FLOAT | {'structural': 1}, 'a.structural is 1; expected true or false'),
    (FLOAT | {'note': 1}, 'a.note is 1; expected text'),
    (FLOAT | {'choices': [1]}, 'a.choices is [1]; expected nothing'),
    (CHOICE | {'low': 0}, 'a.low is 0; expected nothing'),
    (
      CHOICE | {'choices': [1, 1.0]},
      'a.choices is [1, 1.0]; expected at least two distinct',
    ),
    (
      CHOICE | {'choices': [1, 'b']},
      'a.choices is "b"; expected only numbers unless',
    ),
    (
      CHOICE | {'choices': [1, True]},
      'a.choices is true; expected only numbers unless',
    ),
    (
      CHOICE | {'choices': [1, {}], 'structural': True},
      'a.choices is {}; expected true, false, text and finite',
    ),
    (CHOICE | {'default': 3}, 'a.default is 3; expected one of 1, 2'),
    (
      CHOICE | {'when': ['b']},
      'a.when is ["b"]; expected lists of values by parameter',
    ),
    (FLOAT | {'when': {'a': 1}}, 'a.when.a is 1; expected a list of values'),
  ],
)
def test_a_bad_attribute_is_named_by_its_path_on_one_line(value, message):
  with pytest.raises(ValueError) as error:
    Parameter.from_json('a', value)
  assert str(error.value).startswith(message)
  assert '; expected ' in str(error.value)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['', 'a b', '1a', 'b\n', 'β1', 3])
def test_a_name_is_an_identifier_that_all_files_can_hold(name):
  with pytest.raises(
    ValueError, match='expected letters, digits and underscor'
  ):
    Parameter(name, 'float', 'objective', 0, 0, 1)
