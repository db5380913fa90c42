"""JSON documents that people write: strict reading, one-line complaints.

A complaint reads "PATH is VALUE; expected WORDS", with the path of keys from
the root of the document and the value as JSON.
"""

import difflib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from etils import epath

Form = Callable[[str, Any], None]

_LARGEST = 1 << 26  # Bytes of a document.
# Characters of a value in a complaint.
_LONGEST = 200


class _Pairs(list):
  """The members of a JSON object as they stand, duplicates included."""


def parse(content: bytes, expected: str) -> Any:
  """Reads JSON with finite numbers whose objects have distinct keys.

  Args:
    content: the bytes of a file.
    expected: what it should hold, for the message where it is not JSON.

  Raises:
    ValueError: it is not JSON, an object has a key twice, or it is nested too
      deep to be walked through.
  """
  try:
    value = json.loads(
      content,
      object_pairs_hook=_Pairs,
      parse_constant=_finite,
      parse_float=_finite,
    )
  except ValueError as error:
    raise ValueError(f'not JSON ({error}); expected {expected}') from error
  except RecursionError as error:
    raise ValueError(f'nested too deep; expected {expected}') from error
  try:
    return _unpaired('', value)
  except RecursionError as error:
    raise ValueError(f'nested too deep; expected {expected}') from error


def read(path: epath.PathLike, expected: str, form: Form) -> Any:
  """Reads a JSON file whose value has a form.

  Args:
    path: of the file.
    expected: what it should hold.
    form: raises ValueError unless a value, given after its path, fits.

  Raises:
    ValueError: one line naming the file and what is wrong.
    OSError: the file cannot be read.
  """
  try:
    value = parse(content(path, expected), expected)
    form('', value)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  return value


def content(path: epath.PathLike, expected: str) -> bytes:
  """The bytes of a document, whose kind and size are looked at first.

  Raises:
    ValueError: there is no such file, or it is far too large.
    OSError: it cannot be read.
  """
  path = epath.Path(path)
  if not path.is_file():
    raise ValueError(f'no file; expected {expected}')
  if (size := path.stat().length) > _LARGEST:
    raise ValueError(f'{size:,} bytes; expected {expected} in {_LARGEST:,}')
  return path.read_bytes()


def _finite(text: str) -> float:
  """A number; JSON knows no others, but Python's reader does."""
  value = float(text)
  if not math.isfinite(value):
    raise ValueError(f'{text} is not finite')
  return value


def _unpaired(path: str, value: Any) -> Any:
  """Turns pairs into dicts, refusing duplicate keys by their path."""
  if type(value) is list:
    return [_unpaired(path, item) for item in value]
  if not isinstance(value, _Pairs):
    return value
  result = {}
  for key, child in value:
    where = join(path, key)
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
      raise ValueError(f'{join(path, key)} is unknown; expected {known}')
  for key in required:
    if key not in value:
      raise ValueError(f'{join(path, key)} is missing; expected {known}')


def join(path: str, key: Any) -> str:
  """The path of what an object has under a key; an empty path is the root."""
  return f'{path}.{plain(key)}' if path else plain(key)


def require(ok: Any, what: str, value: Any, expected: str) -> None:
  """Raises ValueError "WHAT is VALUE; expected EXPECTED" unless ok."""
  if not ok:
    raise complaint(what, value, expected)


def complaint(what: str, value: Any, expected: str) -> ValueError:
  """The error "WHAT is VALUE; expected EXPECTED", to raise."""
  text = show(value)
  if len(text) > _LONGEST:
    text = f'{text[:_LONGEST]}...'
  return ValueError(f'{what or "it"} is {text}; expected {expected}')


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
