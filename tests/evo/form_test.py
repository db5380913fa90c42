"""Tests of forms: what fits, and what is said of what does not."""

import math

import pytest

from evo import form

CHECK = form.fields(
  member=form.whole(),
  losses=form.listed(form.number(), size=2),
  note=form.optional(form.text),
)
SOUND = {'member': 3, 'losses': [1, 2.5], 'note': None}


def test_what_has_the_form_passes_and_may_have_more():
  CHECK('result', SOUND | {'more': object})
  form.exactly(x=form.anything)('', {'x': []})
  form.given(x=form.whole())('', {'y': 1})


@pytest.mark.parametrize(
  'changed, said',
  [
    ({'member': True}, 'result.member is true; expected a whole number in'),
    ({'member': 2**60}, 'result.member is 1152921504606846976; expected'),
    ({'member': -1}, 'result.member is -1; expected a whole number in [0,'),
    ({'losses': [1]}, 'result.losses is [1]; expected 2 values'),
    ({'losses': {}}, 'result.losses is {}; expected a list'),
    ({'losses': [1, math.nan]}, 'result.losses[1] is NaN; expected a number'),
    ({'losses': [1, 10**400]}, 'result.losses[1] is 1000'),
    ({'losses': ['1', 2]}, 'result.losses[0] is "1"; expected a number'),
    ({'note': 3}, 'result.note is 3; expected text'),
    ({'note': '\ud800'}, 'result.note is "\\ud800"; expected text'),
  ],
)
def test_the_path_the_value_and_what_is_expected_are_said(changed, said):
  with pytest.raises(ValueError) as raised:
    CHECK('result', SOUND | changed)
  text = str(raised.value)
  assert text.startswith(said) and '; expected ' in text
  assert '\n' not in text and len(text) < 400


@pytest.mark.parametrize('value', [None, 1, [], 'x'])
def test_what_is_no_object_is_said_to_be_none(value):
  with pytest.raises(ValueError, match='^it is .*; expected an object$'):
    CHECK('', value)


def test_a_key_that_is_missing_or_too_much_is_named():
  with pytest.raises(ValueError, match='^a.x is missing; expected x, y$'):
    form.fields(x=form.anything, y=form.anything)('a', {'y': 1})
  with pytest.raises(ValueError, match=r'^a\.z is unknown; expected x$'):
    form.exactly(x=form.anything)('a', {'x': 1, 'z': 1})


def test_labels_names_and_patterns_are_of_text_alone():
  for check in (form.one_of('a', 'b'), form.name, form.matching('[ab]')):
    check('x', 'a')
    for other in ('a b', '', 1, None, ['a'], {'a': 1}):
      with pytest.raises(ValueError, match='^x is .*; expected '):
        check('x', other)
