"""The schema of spaces says what the reader says, where a schema can."""

import copy
import dataclasses
import json
import pathlib

import jsonschema
import pytest

from evo import parameter
from evo import space as space_lib
from launch import cli


def schema():
  path = pathlib.Path(cli.__file__).parent / 'space.schema.json'
  return json.loads(path.read_text())


@pytest.fixture(scope='module')
def validator():
  jsonschema.Draft202012Validator.check_schema(schema())
  return jsonschema.Draft202012Validator(schema())


# Documents that the reader refuses; False where a schema cannot tell, because
# it would have to compare values with each other.
FLOAT = {'kind': 'float', 'tier': 'objective', 'default': 1, 'low': 0}
FLOAT |= {'high': 2}
CHOICE = {'kind': 'choice', 'tier': 'objective', 'default': 1}
CHOICE |= {'choices': [1, 2]}
LABEL = CHOICE | {'choices': ['a', 'b'], 'default': 'a', 'structural': True}
BAD = [
  ([], True),
  ({}, True),
  ({'name': 'x'}, True),
  ({'name': '', 'parameters': {'a': FLOAT}}, True),
  ({'name': 'a\nb', 'parameters': {'a': FLOAT}}, True),
  ({'name': 'b\n', 'parameters': {'a': FLOAT}}, True),
  ({'name': 'x', 'parameters': {}}, True),
  ({'name': 'x', 'parameters': []}, True),
  ({'name': 'x', 'parameters': {'a': FLOAT}, 'author': 'me'}, True),
  ({'name': 'x', 'parameters': {'a': FLOAT}, '$schema': 1}, True),
  ({'name': 'x', 'parameters': {'a': FLOAT}, 'free': 'a'}, True),
  ({'name': 'x', 'parameters': {'a': FLOAT}, 'free': ['b']}, False),
  ({'name': 'x', 'parameters': {'a': FLOAT}, 'fixed': ['a']}, True),
  ({'name': 'x', 'parameters': {'a': FLOAT}, 'fixed': {'a': [1]}}, True),
  ({'name': 'x', 'parameters': {'a': FLOAT}, 'fixed': {'a': 7}}, False),
  *[
    ({'name': 'x', 'parameters': {name: FLOAT}}, True)
    for name in ('', 'a b', '1a', 'b\n', 'β')
  ],
  *[
    ({'name': 'x', 'parameters': {'a': entry}}, True)
    for entry in (
      3,
      {'kind': 'int'},
      FLOAT | {'kind': 'double'},
      FLOAT | {'tier': 'x'},
      FLOAT | {'step': 1},
      FLOAT | {'low': '0'},
      FLOAT | {'low': None},
      FLOAT | {'high': True},
      FLOAT | {'default': 'a'},
      FLOAT | {'kind': 'log_float'},
      FLOAT | {'kind': 'int', 'high': 1.5},
      FLOAT | {'kind': 'int', 'default': 0.5},
      FLOAT | {'structural': 1},
      FLOAT | {'initial': 1},
      LABEL | {'initial': True},
      FLOAT | {'note': 1},
      FLOAT | {'choices': [1, 2]},
      FLOAT | {'when': ['b']},
      FLOAT | {'when': {}},
      FLOAT | {'when': {'b': 1}},
      FLOAT | {'when': {'b': []}},
      {k: v for k, v in FLOAT.items() if k != 'low'},
      {k: v for k, v in CHOICE.items() if k != 'choices'},
      {k: v for k, v in CHOICE.items() if k != 'default'},
      CHOICE | {'low': 0},
      CHOICE | {'choices': [1]},
      CHOICE | {'choices': [1, 1.0]},
      CHOICE | {'choices': [1, 'b']},
      CHOICE | {'choices': [1, True]},
      CHOICE | {'choices': [1, {}], 'structural': True},
      LABEL | {'structural': False},
    )
  ],
  *[
    ({'name': 'x', 'parameters': {'a': entry}}, False)
    for entry in (
      FLOAT | {'low': 3},
      FLOAT | {'default': 3},
      CHOICE | {'default': 3},
      FLOAT | {'when': {'b': [1]}},
      FLOAT | {'when': {'a': [1]}},
    )
  ],
]
BAD_CHANGES = [
  ({'extends': 1}, True),
  ({'name': None}, True),
  ({'parameters': {'a': 3}}, True),
  ({'parameters': {'a': {'tier': 'x'}}}, True),
  ({'parameters': {'a': {'lower': 0}}}, True),
  ({'parameters': {'a': {'low': '0'}}}, True),
  ({'parameters': {'a': {'choices': [1]}}}, True),
  ({'parameters': {'a': {'when': {}}}}, True),
  ({'parameters': {'a': {'kind': 'float'}}}, True),
  ({'parameters': {'c': {'low': 0}}}, False),
  ({'parameters': {'a': {'low': 3}}}, False),
  ({'parameters': {'a': {'choices': [1, 2]}}}, False),
]
GOOD_CHANGES = [
  {},
  {'$schema': 'https://example.org', 'parameters': {}},
  {'parameters': {'a': {'low': 0.5, 'when': None, 'note': 'x'}, 'c': LABEL}},
  {'parameters': {'b': {'choices': [1, 2, 3], 'low': None}}, 'free': ['a']},
  {'fixed': {'a': 1, 'b': 2}},
  {'parameters': {'a': LABEL}, 'fixed': {'a': 'b'}},
]


@pytest.mark.parametrize('document, telling', BAD)
def test_the_schema_refuses_what_the_reader_refuses(
  validator, document, telling
):
  with pytest.raises(ValueError):
    space_lib.Space.from_json(copy.deepcopy(document))
  assert validator.is_valid(document) != telling


@pytest.mark.parametrize('changes, telling', BAD_CHANGES)
def test_the_schema_refuses_changes_that_the_reader_refuses(
  validator, tmp_path, changes, telling
):
  document = {'name': 'x', 'extends': 'base.json'} | changes
  with pytest.raises(ValueError):
    read(tmp_path, document)
  assert validator.is_valid(document) != telling


@pytest.mark.parametrize('changes', GOOD_CHANGES)
def test_the_schema_takes_changes_that_the_reader_takes(
  validator, tmp_path, changes
):
  document = {'name': 'x', 'extends': 'base.json'} | changes
  read(tmp_path, document)
  validator.validate(document)


def read(folder, document):
  base = {'name': 'base', 'parameters': {'a': FLOAT, 'b': CHOICE}}
  for name, value in (('base', base), ('x', document)):
    (folder / f'{name}.json').write_text(json.dumps(value))
  return space_lib.load(folder / 'x.json')


@pytest.mark.parametrize(
  'name', sorted(path.stem for path in cli.SPACES.glob('*.json'))
)
def test_the_schema_takes_the_ready_spaces_and_they_name_it(validator, name):
  path = cli.ready_space(name)
  document = json.loads(path.read_text())
  validator.validate(document)
  validator.validate(space_lib.load(path, cli.ready_space).to_json())
  target = path.parent / document['$schema']
  assert json.loads(target.read_text()) == schema()


def test_the_schema_knows_the_kinds_tiers_and_attributes_of_the_reader():
  known = schema()['$defs']['parameter']['properties']
  fields = [f.name for f in dataclasses.fields(parameter.Parameter)]
  assert list(known) == fields[1:]
  changes = schema()['$defs']['changes']['properties']
  assert set(known) - set(changes) == {'kind'}
  assert known['kind']['enum'] == list(parameter.KINDS)
  assert changes['tier']['enum'] == list(parameter.TIERS)
