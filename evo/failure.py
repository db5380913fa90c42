"""Failures after which the same command can go on."""

import errno
import os
from collections.abc import Iterator

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Damaged(Exception):
  """A checkpoint that was there is missing or not what was saved."""


class Differs(RuntimeError):
  """What stands in a workdir is not what its own command comes to again."""


class Failed(Exception):
  """A species could not be trained on: out of memory, or an error in it.

  Attributes:
    species: its id.
  """

  def __init__(self, species: int, reason: str):
    super().__init__(f'species {species} failed: {reason}')
    self.species, self.reason = species, reason


class Outage(Exception):
  """Storage does not answer, or not now."""

  def __init__(self, where: str, seconds: float, why: str = ''):
    why = f' ({why})' if why else ''
    super().__init__(
      f'{where} did not answer for {seconds:.0f} s{why}; expected an answer:'
      ' then the same command goes on'
    )


class Refused(OSError):
  """Storage answers that this account may not do it."""

  def __init__(self, where: str, answer: str):
    super().__init__(
      f'{where} refuses: {answer}; expected a bucket in which this account may'
      ' list, read, write and delete'
    )


def is_refused(error: BaseException | None) -> bool:
  """Whether an error, or one behind it, says that storage refuses."""
  return any(isinstance(each, Refused) for each in _chain(error))


def has_no_room(error: BaseException | None) -> bool:
  """Whether devices have no memory for something."""
  # JAX's errors have no kinds but by their text.
  return str(error).startswith('RESOURCE_EXHAUSTED')


def is_outage(error: BaseException | None) -> bool:
  """Whether an error, or one behind it, says that storage does not answer."""
  # TensorStore's errors are all of one kind.
  return any(
    isinstance(each, Outage) or 'retry attempts failed' in str(each)
    for each in _chain(error)
  )


def is_full(error: BaseException | None) -> bool:
  """Whether an error, or one behind it, says that storage is full."""
  for each in _chain(error):
    number = each.errno if isinstance(each, OSError) else None
    # Libraries of C++ have their own errors, with the system's text in them.
    if number in _FULL or any(os.strerror(n) in str(each) for n in _FULL):
      return True
  return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
  """An error and those behind it; one raised again can be behind itself."""
  seen = set()
  while error is not None and id(error) not in seen:
    yield error
    seen.add(id(error))
    error = error.__cause__ or error.__context__
