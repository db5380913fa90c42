"""A text that grows: a file on a disk; a folder of pieces in a bucket.

Objects in a bucket cannot be appended to. There the last piece is written anew
for each line, until it is full; in order of their names the pieces are the text.
"""

import os

from etils import epath

from evo import storage

# Bytes of a piece: as much is written for each line.
_FULL = 1 << 16


class Log:
  """A text that lines are appended to, one by one."""

  def __init__(self, path: epath.PathLike):
    """Touches nothing yet.

    Args:
      path: of the file, or of the folder of pieces where it is in a bucket.
    """
    self._path = storage.folder(path)
    self._store: storage.Store | None = None
    self._number, self._last = 0, storage.Found(b'', storage.ABSENT)

  def read(self) -> str:
    """All of it, as far as it is text; empty where nothing was appended."""
    if not self._path.exists():
      return ''
    if not storage.is_remote(self._path):
      return self._path.read_bytes().decode(errors='replace')
    found = storage.Store(self._path).read_all(self._pieces())
    return b''.join(piece.content for piece in found.values()).decode(
      errors='replace'
    )

  def append(self, line: str) -> None:
    """Appends a line without its end; no other one is the same."""
    if storage.is_remote(self._path):
      self._append(line.encode() + b'\n')
      return
    self._path.parent.mkdir(parents=True, exist_ok=True)
    with open(self._path, 'ab+') as file:
      # A full disk may have torn the last line.
      begin = b''
      if file.tell():
        file.seek(-1, os.SEEK_END)
        begin = b'' if file.read() == b'\n' else b'\n'
      file.write(begin + line.encode() + b'\n')

  def _append(self, line: bytes) -> None:
    if self._store is None:
      self._store = storage.Store(self._path)
      pieces = self._pieces()
      self._number = max(len(pieces) - 1, 0)
      self._last = self._store.read(self._name())
    # Again if an answer was lost, or somebody else appended to it.
    while not self._last.content.endswith(line):
      if len(self._last.content) + len(line) > _FULL and self._last.content:
        self._number += 1
        self._last = self._store.read(self._name())
        continue
      content = self._last.content + line
      generation = self._store.write(
        self._name(), content, self._last.generation
      )
      if generation:
        self._last = storage.Found(content, generation)
      else:
        self._last = self._store.read(self._name())

  def _pieces(self) -> list[str]:
    if not self._path.exists():
      return []
    return sorted(path.name for path in self._path.iterdir())

  def _name(self) -> str:
    return f'{self._number:08d}'
