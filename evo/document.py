"""JSON documents that people write: strict reading, one-line complaints.

A complaint reads "PATH is VALUE; expected WORDS", with the path of keys from
the root of the document and the value as JSON.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any


class _Pairs(list):
  """The members of a JSON object as they stand, duplicates included."""


def parse(content: bytes, expected: str) -> Any:
  """Reads JSON whose objects have distinct keys.

  Args:
    content: the bytes of a file.
    expected: what it should hold, for the message where it is not JSON.

  Raises:
    ValueError: it is not JSON, or an object has a key twice.
  """
  try:
    value = json.loads(content, object_pairs_hook=_Pairs)
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f'not JSON ({error}); expected {expected}') from error
  return _unpaired('', value)


def _unpaired(path: str, value: Any) -> Any:
  """Turns pairs into dicts, refusing duplicate keys by their path."""
  if type(value) is list:
    return [_unpaired(path, item) for item in value]
  if not isinstance(value, _Pairs):
    return value
  result = {}
  for key, child in value:
    where = _join(path, key)
    if key in result:
      raise ValueError(f'{where} is given twice; expected once')
    result[key] = _unpaired(where, child)
  return result


def check_keys(
  path: str,
  value: dict[str, Any],
  required: Sequence[str],
  optional: Sequence[str],
) -> None:
  """Raises ValueError unless an object has the required keys, no strangers.

  Args:
    path: of the value; empty at the root, whose keys then stand alone.
    value: the object.
    required: keys that it must have.
    optional: keys that it may have too.
  """
  known = ', '.join((*required, *optional))
  for key in value:
    if key not in (*required, *optional):
      raise ValueError(f'{_join(path, key)} is unknown; expected {known}')
  for key in required:
    if key not in value:
      raise ValueError(f'{_join(path, key)} is missing; expected {known}')


def _join(path: str, key: Any) -> str:
  return f'{path}.{plain(key)}' if path else plain(key)


def require(ok: Any, what: str, value: Any, expected: str) -> None:
  """Raises ValueError "WHAT is VALUE; expected EXPECTED" unless ok."""
  if not ok:
    raise complaint(what, value, expected)


def complaint(what: str, value: Any, expected: str) -> ValueError:
  """The error "WHAT is VALUE; expected EXPECTED", to raise."""
  return ValueError(f'{what} is {show(value)}; expected {expected}')


def show(value: Any) -> str:
  """A value as JSON on one line."""
  return json.dumps(value, default=repr, skipkeys=True)


def plain(name: Any) -> str:
  """A name as it is where it is one, else quoted on one line."""
  ok = isinstance(name, str) and name.isidentifier()
  return name if ok else show(name)


def near(name: Any, known: Iterable[str]) -> str:
  """The known names that a name looks like, or all of them, in words."""
  known = list(known)
  found = difflib.get_close_matches(str(name), known)
  return ' or '.join(found) or 'one of ' + ', '.join(known)
