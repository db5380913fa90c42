"""Documents: what is refused, and how it is named."""

import pytest

from evo import document


@pytest.mark.parametrize(
  'content, message',
  [
    (b'{', 'not JSON (Expecting property name'),
    (b'\x00', 'not JSON ('),
    (b'\xff\xfe\xfa', 'not JSON ('),
    (b'{"a": 1, "a": 1}', 'a is given twice; expected once'),
    (b'{"a": {"b c": 1, "b c": 2}}', 'a."b c" is given twice; expected once'),
    (b'[{"a": [{"b": 1, "b": 2}]}]', 'a.b is given twice; expected once'),
  ],
)
def test_broken_json_and_duplicate_keys_are_refused(content, message):
  with pytest.raises(ValueError) as error:
    document.parse(content, 'a list')
  assert str(error.value).startswith(message)
  assert message.startswith('a') or 'expected a list' in str(error.value)
  assert '\n' not in str(error.value)


def test_a_document_without_duplicates_is_read_as_json():
  value = document.parse(b'{"a": [1, {"b": null}], "c": {}}', 'an object')
  assert value == {'a': [1, {'b': None}], 'c': {}}
  assert type(value['a'][1]) is dict


def test_unknown_and_missing_keys_are_named_by_their_path():
  document.check_keys('', {'a': 1}, ['a'], ['b'])
  for path, value, message in (
    ('', {'a': 1, 'x\ny': 1}, r'"x\ny" is unknown; expected a, b'),
    ('p.q', {'b': 1}, 'p.q.a is missing; expected a, b'),
  ):
    with pytest.raises(ValueError) as error:
      document.check_keys(path, value, ['a'], ['b'])
    assert str(error.value) == message


def test_a_misspelt_name_is_answered_with_what_it_looks_like():
  known = {'beta1': 0, 'beta2': 0, 'width': 0}
  assert document.near('beta3', known) == 'beta2 or beta1'
  assert document.near('widht', known) == 'width'
  assert document.near('depth9', known) == 'one of beta1, beta2, width'
  assert document.near(3, known) == 'one of beta1, beta2, width'
