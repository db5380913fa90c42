import itertools

import numpy as np
import pytest

from evo import encoding, space

PARAMETERS = {
  'rate': {'kind': 'log_float', 'low': 1e-4, 'high': 1.0, 'default': 0.01},
  'layers': {'kind': 'int', 'low': 1, 'high': 4, 'default': 2},
  'batch': {'kind': 'choice', 'choices': [8, 32, 512], 'default': 8},
  'optimiser': {
    'kind': 'choice',
    'choices': ['adam', 'sgd', 'lion'],
    'default': 'adam',
    'structural': True,
  },
  'nesterov': {
    'kind': 'choice',
    'choices': [False, True],
    'default': False,
    'structural': True,
    'when': {'optimiser': ['sgd']},
  },
  'momentum': {
    'kind': 'float',
    'low': 0.0,
    'high': 1.0,
    'default': 0.9,
    'when': {'optimiser': ['sgd']},
  },
}
SPACE = space.Space.from_json(
  {
    'name': 'mixed',
    'parameters': {
      name: p | {'tier': 'configuration'} for name, p in PARAMETERS.items()
    },
  }
)
ENCODING = encoding.Encoding(SPACE)


def features(**changes):
  configuration = SPACE.canonical(SPACE.baseline | changes)
  return ENCODING.features([configuration])[0]


def columns(name):
  return ENCODING.groups == SPACE.free_names.index(name)


@pytest.mark.parametrize(
  'name,value,place',
  [
    ('rate', 1e-4, 0.0),
    ('rate', 0.01, 0.5),
    ('rate', 1.0, 1.0),
    ('layers', 1, 0.125),
    ('layers', 4, 0.875),
    ('batch', 32, 0.5),
    ('batch', 512, 5 / 6),
  ],
)
def test_numbers_are_at_their_place_on_their_scale(name, value, place):
  assert features(**{name: value})[columns(name)] == pytest.approx([place])


def test_any_two_texts_are_as_far_apart_as_the_ends_of_a_range():
  rows = [features(optimiser=o) for o in ('adam', 'sgd', 'lion')]
  for a, b in itertools.combinations(rows, 2):
    distance = np.linalg.norm((a - b)[columns('optimiser')])
    assert distance == pytest.approx(1.0)


def test_inactive_parameters_are_at_the_middle():
  row = features(optimiser='adam')
  assert row[columns('momentum')] == [0.5]
  ends = [
    features(optimiser='sgd', nesterov=value)[columns('nesterov')]
    for value in (False, True)
  ]
  assert np.allclose(row[columns('nesterov')], np.mean(ends, 0))


def test_columns_of_a_parameter_are_one_group():
  assert ENCODING.groups.tolist() == [0, 1, 2, 3, 3, 3, 4, 4, 5]


def test_what_is_not_free_has_no_column():
  kept = space.Space('few', SPACE.parameters, frozenset({'rate', 'momentum'}))
  few = encoding.Encoding(kept)
  assert few.groups.tolist() == [0, 1]
  one = SPACE.canonical(SPACE.baseline | {'layers': 4})
  rows = few.features([SPACE.baseline, one])
  assert rows.tolist() == [[0.5, 0.5]] * 2


def test_no_configurations_have_no_rows():
  assert ENCODING.features([]).shape == (0, 9)
