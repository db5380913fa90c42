"""Extensions: what changes, what stays, and what bad ones are told."""

import json
import pathlib

import pytest

from evo import space as space_lib

BASE = {
  'name': 'base',
  'parameters': {
    'rate': {
      'kind': 'log_float',
      'tier': 'configuration',
      'default': 0.01,
      'low': 0.001,
      'high': 0.1,
      'note': 'a guess',
    },
    'rule': {
      'kind': 'choice',
      'tier': 'architecture',
      'default': 'adam',
      'choices': ['adam', 'sgd', 'lion'],
      'structural': True,
    },
    'momentum': {
      'kind': 'float',
      'tier': 'configuration',
      'default': 0.9,
      'low': 0,
      'high': 1,
      'when': {'rule': ['sgd', 'lion']},
    },
    'nesterov': {
      'kind': 'choice',
      'tier': 'configuration',
      'default': 0,
      'choices': [0, 1],
      'when': {'momentum': [0.9]},
    },
  },
}
NEW = {'kind': 'int', 'tier': 'objective', 'default': 1, 'low': 0, 'high': 3}


@pytest.fixture
def write(tmp_path):
  """Writes base.json and a document that extends it; returns the latter."""

  def make(name='mine', *, base=BASE, extends='base.json', **values):
    (tmp_path / 'base.json').write_text(json.dumps(base))
    path = tmp_path / f'{name}.json'
    value = {'name': name, 'extends': extends} | values
    path.write_text(json.dumps(value))
    return path

  return make


def base():
  return space_lib.Space.from_json(BASE)


def changed(path):
  """What a space has that the base has not."""
  space = space_lib.load(path)
  before = base().by_name
  return {n: p for n, p in space.by_name.items() if before.get(n) != p}


def test_attributes_are_changed_one_by_one(write):
  path = write(parameters={'rate': {'low': 0.005, 'default': 0.02}})
  (rate,) = changed(path).values()
  assert (rate.low, rate.default, rate.high) == (0.005, 0.02, 0.1)
  assert rate.note == 'a guess' and rate.kind == 'log_float'
  assert space_lib.load(path).name == 'mine'
  assert space_lib.load(path).free == base().free


def test_an_entry_with_a_kind_is_a_whole_parameter(write):
  entry = {'kind': 'choice', 'tier': 'objective', 'default': 1}
  entry |= {'choices': [1, 2]}
  made = changed(write(parameters={'rate': entry, 'noise': NEW}))
  assert made['rate'].low is None and made['rate'].note == ''
  assert made['noise'].high == 3
  space = space_lib.load(write(parameters={'noise': NEW}))
  assert tuple(space.by_name) == (*BASE['parameters'], 'noise')
  assert 'noise' in space.free


def test_null_takes_an_attribute_away(write):
  (momentum,) = changed(write(parameters={'momentum': {'when': None}})).values()
  assert momentum.when is None and momentum.high == 1


def test_what_is_fixed_keeps_its_value_through_a_search(write):
  space = space_lib.load(write(fixed={'rule': 'lion', 'momentum': 0.8}))
  assert space.free_names == ('rate', 'nesterov')
  assert space.baseline['rule'] == 'lion'
  assert space.baseline['momentum'] == 0.8
  # A space that stands alone may fix too.
  alone = space_lib.Space.from_json(BASE | {'fixed': {'rate': 0.05}})
  assert alone.free_names == ('rule', 'momentum', 'nesterov')
  assert alone.baseline['rate'] == 0.05


def test_free_lists_all_that_may_change(write):
  space = space_lib.load(write(free=['momentum', 'rate']))
  assert space.free_names == ('rate', 'momentum')
  small = BASE | {'free': ['rate']}
  path = write(base=small, parameters={'noise': NEW, 'rule': {'note': 'x'}})
  assert space_lib.load(path).free_names == ('rate', 'noise')


def test_choices_that_are_gone_are_gone_from_conditions_too(write):
  narrow = {'rule': {'choices': ['adam', 'lion']}}
  space = space_lib.load(write(parameters=narrow))
  assert space.by_name['momentum'].when == {'rule': ('lion',)}
  assert space.free == base().free
  # What was asked for by hand is no leftover.
  narrow['momentum'] = {'when': {'rule': ['sgd']}}
  with pytest.raises(ValueError, match='when.rule is "sgd"; expected one of'):
    space_lib.load(write(parameters=narrow))


def test_what_can_never_be_active_again_is_left_out_of_the_search(write):
  rule = BASE['parameters']['rule'] | {'choices': ['adam', 'adan']}
  path = write(parameters={'rule': rule, 'noise': NEW})
  space = space_lib.load(path)
  assert space.free_names == ('rate', 'rule', 'noise')
  for name in ('momentum', 'nesterov'):
    assert space.by_name[name].when is None
  with pytest.raises(ValueError, match='free is "nesterov"; expected a par'):
    space_lib.load(write(parameters={'rule': rule}, free=['nesterov']))


def test_spaces_extend_each_other_in_a_chain_from_anywhere(
  write, tmp_path, monkeypatch
):
  write(parameters={'rate': {'high': 0.05}})
  folder = tmp_path / 'deep'
  folder.mkdir()
  value = {'name': 'last', 'extends': '../mine.json', '$schema': 'x.json'}
  value['parameters'] = {'rate': {'low': 0.002}}
  (folder / 'last.json').write_text(json.dumps(value))
  monkeypatch.chdir('/')
  rate = space_lib.load(folder / 'last.json').by_name['rate']
  assert (rate.low, rate.high) == (0.002, 0.05)


def test_ready_spaces_are_found_by_name(write, tmp_path):
  path = write(extends='ready')
  asked = []

  def find(name):
    asked.append(name)
    if name != 'ready':
      raise ValueError(f'space {name!r}; expected ready')
    return tmp_path / 'base.json'

  assert space_lib.load(path, find).by_name == base().by_name
  assert asked == ['ready']
  with pytest.raises(ValueError) as error:
    space_lib.load(write(extends='nowhere'), find)
  words = "extends: space 'nowhere'; expected ready"
  assert str(error.value) == f'{path}: {words}'


def test_what_was_resolved_is_written_as_a_space_of_its_own(write):
  path = write(parameters={'noise': NEW}, fixed={'rate': 0.02})
  space = space_lib.load(path)
  text = json.dumps(space.to_json())
  assert 'extends' not in text and 'fixed' not in text
  assert space_lib.Space.from_json(json.loads(text)) == space


@pytest.mark.parametrize(
  'values, message',
  [
    (
      {'parameters': {'rate': {'low': 1}}},
      'parameters.rate.low is 1; expected less than high, 0.1',
    ),
    (
      {'parameters': {'rate': {'low': 0.05}}},
      'parameters.rate.default is 0.01; expected a number in [0.05, 0.1]',
    ),
    (
      {'parameters': {'rule': {'choices': ['sgd', 'lion']}}},
      'parameters.rule.default is "adam"; expected one of "sgd", "lion"',
    ),
    (
      {'parameters': {'rate': {'lower': 1}}},
      'parameters.rate.lower is unknown; expected kind, tier',
    ),
    (
      {'parameters': {'rata': {'low': 1}}},
      'parameters.rata is new here; expected a kind, a tier and a default, or'
      ' rate',
    ),
    (
      {'parameters': {'noise': {'kind': 'int'}}},
      'parameters.noise.tier is missing; expected kind, tier',
    ),
    ({'parameters': {'rate': 1}}, 'parameters.rate is 1; expected an object'),
    ({'parameters': []}, 'parameters is []; expected an object'),
    (
      {'parameters': {'rule': {'structural': False}}},
      'parameters.rule.choices is "adam"; expected only numbers unless',
    ),
    (
      {'parameters': {'rule': {'when': {'rule': ['sgd']}}}},
      'parameters.rule.when is ["rule", "rule"]; expected conditions without',
    ),
    ({'fixed': 1}, 'fixed is 1; expected an object'),
    ({'fixed': {'rates': 1}}, 'fixed.rates is unknown; expected rate'),
    ({'fixed': {'rate': 1}}, 'fixed.rate is 1; expected a number in [0.001'),
    ({'free': 'rate'}, 'free is "rate"; expected a list of names'),
    ({'free': ['rates']}, 'free is "rates"; expected rate'),
    (
      {'free': ['rate'], 'fixed': {'rate': 0.1}},
      'free is "rate"; expected a parameter that is not fixed',
    ),
    ({'extends': 3}, 'extends is 3; expected a name or the path of a JSON'),
    (
      {'extends': 'none.json'},
      'extends is "none.json"; expected a file, its path relative to this',
    ),
    (
      {'extends': 'mine.json'},
      'extends is "mine.json"; expected a space that does not extend this one',
    ),
    ({'extend': 'base'}, 'extend is unknown; expected name, extends'),
    ({'$schema': 1}, '$schema is 1; expected text'),
    ({'name': ''}, 'name is ""; expected one line of text'),
  ],
)
def test_errors_name_the_file_and_the_path_in_it(write, values, message):
  path = write()
  value = json.loads(path.read_text()) | values
  path.write_text(json.dumps(value))
  with pytest.raises(ValueError) as error:
    space_lib.load(path)
  assert str(error.value).startswith(f'{path}: {message}')
  assert '\n' not in str(error.value)


def test_a_base_that_is_wrong_is_named_itself(write, tmp_path):
  path = write(base={'name': 'base', 'parameters': {'a': NEW | {'low': 9}}})
  with pytest.raises(ValueError) as error:
    space_lib.load(path)
  words = f'{tmp_path}/base.json: parameters.a.low is 9; expected less than'
  assert str(error.value).startswith(words)


def test_a_circle_of_three_files_is_refused_where_it_closes(tmp_path):
  again = f'../{tmp_path.name}/b'
  for name, other in (('a', 'b'), ('b', 'c'), ('c', again)):
    value = {'name': name, 'extends': f'{other}.json'}
    (tmp_path / f'{name}.json').write_text(json.dumps(value))
  with pytest.raises(ValueError) as error:
    space_lib.load(tmp_path / 'a.json')
  file, message = str(error.value).split(': ', 1)
  assert pathlib.Path(file).name == 'c.json'
  words = 'expected a space that does not extend this one'
  assert message == f'extends is "{again}.json"; {words}'


def test_a_document_by_itself_does_not_say_what_it_extends():
  value = BASE | {'extends': 'base.json'}
  with pytest.raises(ValueError, match='^extends is unknown; expected name'):
    space_lib.Space.from_json(value)
