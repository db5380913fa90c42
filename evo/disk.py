"""Disk: how much of it a workdir takes, may take and finds."""

import dataclasses
import errno
import os
import shutil

from etils import epath

from evo import storage


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
  if storage.is_remote(folder):
    return storage.size(folder)
  if not folder.exists():
    return 0
  total = 0
  for path in folder.iterdir():
    total += used(path) if path.is_dir() else path.stat().length
  return total


def require_room(folder: epath.Path, more: int) -> None:
  """Raises OSError unless the disk of a folder has room for so many bytes.

  For libraries that fail late, at length and with threads that never end. Of
  remote storage nothing is asked.
  """
  if storage.is_remote(folder):
    return
  if shutil.disk_usage(folder).free < more:
    code = errno.ENOSPC
    raise OSError(code, os.strerror(code), str(folder))
