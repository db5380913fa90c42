"""Disk: how much of it a workdir takes and may take, and how it fails."""

import dataclasses
import errno
import os

from etils import epath

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Damaged(Exception):
  """A checkpoint that was there is missing or not what was saved."""


@dataclasses.dataclass(frozen=True)
class Disk:
  """Room for a folder.

  Attributes:
    folder: with all that it holds.
    most: bytes that it may hold.
  """

  folder: epath.Path
  most: float

  def used(self) -> int:
    """Bytes of all files in the folder."""
    return used(self.folder)

  def has_room(self, more: float) -> bool:
    """Whether so many bytes more stay within the bound."""
    return self.used() + more <= self.most


def used(folder: epath.Path) -> int:
  """Bytes of all files below a folder, which need not be there."""
  if not folder.exists():
    return 0
  total = 0
  for path in folder.iterdir():
    total += used(path) if path.is_dir() else path.stat().length
  return total


def is_full(error: BaseException | None) -> bool:
  """Whether an error, or one behind it, says that storage is full."""
  # Libraries of C++ have their own errors, with the system's text in them.
  while error is not None:
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL or any(os.strerror(n) in str(error) for n in _FULL):
      return True
    error = error.__cause__ or error.__context__
  return False
