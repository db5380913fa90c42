"""Lulls: stretches in which nothing moves for minutes and nothing is wrong.

Compiling and reading from storage are; a watchdog that knows of them need not
take them for a standstill.
"""

import contextlib
from collections.abc import Iterator

_LULLS: list[None] = []  # Of all threads; appending and popping are atomic.


@contextlib.contextmanager
def expected() -> Iterator[None]:
  """What happens within may take minutes."""
  _LULLS.append(None)
  try:
    yield
  finally:
    _LULLS.pop()


def now() -> bool:
  """Whether some thread of this process is within one."""
  return bool(_LULLS)
