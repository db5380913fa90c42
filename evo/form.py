"""Forms: what JSON that comes from outside has to look like.

A form takes the path of a value and the value, and raises a ValueError of one
line, "PATH is VALUE; expected WORDS", unless it fits.

  check = fields(member=whole(), losses=listed(number()), note=optional(text))
  check('result', value)
"""

import re
from collections.abc import Callable
from typing import Any

from evo import document

Form = Callable[[str, Any], None]

# What float64 holds exactly, and what it holds at all with room to add up.
_WHOLE, _NUMBER = 2**53, 1e300


def whole(low: int = 0, high: int = _WHOLE) -> Form:
  """A whole number in [low, high]; true and false are none."""

  def check(path: str, value: Any) -> None:
    ok = type(value) is int and low <= value <= high
    words = f'a whole number in [{low}, {high}]'
    document.require(ok, path, value, words)

  return check


def number(low: float = -_NUMBER, high: float = _NUMBER) -> Form:
  """A number in [low, high]; NaN is in no range."""

  def check(path: str, value: Any) -> None:
    ok = type(value) in (int, float) and low <= value <= high
    document.require(ok, path, value, f'a number in [{low:g}, {high:g}]')

  return check


def text(path: str, value: Any) -> None:
  """A string that can be written as UTF-8."""
  ok = isinstance(value, str) and _encodes(value)
  document.require(ok, path, value, 'text')


def matching(pattern: str) -> Form:
  """A string that a regular expression matches whole."""

  def check(path: str, value: Any) -> None:
    ok = isinstance(value, str) and re.fullmatch(pattern, value)
    document.require(ok, path, value, f'text such as {pattern}')

  return check


def name(path: str, value: Any) -> None:
  """Letters, digits and underscores."""
  ok = isinstance(value, str) and value.isascii() and value.isidentifier()
  document.require(ok, path, value, 'letters, digits and underscores')


def boolean(path: str, value: Any) -> None:
  """True or false."""
  document.require(isinstance(value, bool), path, value, 'true or false')


def scalar(path: str, value: Any) -> None:
  """What a parameter may have for a value."""
  if not isinstance(value, bool | str):
    number()(path, value)


def anything(path: str, value: Any) -> None:
  """All JSON."""
  del path, value


def nothing(path: str, value: Any) -> None:
  """Null."""
  document.require(value is None, path, value, 'null')


def one_of(*labels: str) -> Form:
  """One of some strings."""

  def check(path: str, value: Any) -> None:
    ok = isinstance(value, str) and value in labels
    document.require(ok, path, value, f'one of {", ".join(labels)}')

  return check


def optional(form: Form) -> Form:
  """Null, or of a form."""

  def check(path: str, value: Any) -> None:
    if value is not None:
      form(path, value)

  return check


def listed(form: Form, size: int | None = None) -> Form:
  """A list of values of a form, of this size if there is one."""

  def check(path: str, value: Any) -> None:
    document.require(isinstance(value, list), path, value, 'a list')
    ok = size is None or len(value) == size
    document.require(ok, path, value, f'{size} values')
    for i, item in enumerate(value):
      form(f'{path}[{i}]', item)

  return check


def mapping(form: Form) -> Form:
  """An object whose values have a form, whatever their keys."""

  def check(path: str, value: Any) -> None:
    document.require(isinstance(value, dict), path, value, 'an object')
    for key, item in value.items():
      form(document.join(path, key), item)

  return check


def fields(**forms: Form) -> Form:
  """An object that has these keys, and perhaps others."""

  def check(path: str, value: Any) -> None:
    document.require(isinstance(value, dict), path, value, 'an object')
    for key, form in forms.items():
      where = document.join(path, key)
      if key not in value:
        raise ValueError(f'{where} is missing; expected {", ".join(forms)}')
      form(where, value[key])

  return check


def exactly(**forms: Form) -> Form:
  """An object that has these keys and no others."""

  def check(path: str, value: Any) -> None:
    fields(**forms)(path, value)
    document.check_keys(path, value, tuple(forms), ())

  return check


def given(**forms: Form) -> Form:
  """An object in which those of these keys that it has fit."""

  def check(path: str, value: Any) -> None:
    document.require(isinstance(value, dict), path, value, 'an object')
    for key in forms.keys() & value.keys():
      forms[key](document.join(path, key), value[key])

  return check


def _encodes(value: str) -> bool:
  """Whether it has no half of a surrogate pair."""
  return not any('\ud800' <= character <= '\udfff' for character in value)
