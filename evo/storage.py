"""Storage: folders on a disk or in a bucket of Google Cloud Storage.

What hangs on who comes first goes through a `Store`, which replaces a file only
where nobody else has replaced it since it was read, alike on disks and under
`gs://`. All else goes through `epath`, which in a bucket is `evo.bucket`.
"""

import dataclasses
import importlib.util
import os
import re
from collections.abc import Iterable
from typing import Any

import tensorstore as ts
from etils import epath

from evo import failure, faults, lull

# Seconds for which an outage is sat out, and at the start of a command.
PATIENCE, AT_START = 180.0, 30.0
# Of a file that is not there.
ABSENT = ts.KvStore.TimestampedStorageGeneration(generation=b'\x02').generation

# Seconds after which an answer is late.
_LATE = 5.0
_BUCKET = re.compile(r'gs://([a-z0-9][a-z0-9._-]+)((?:/[\w.=+@-]+)+)/?')
# With these TensorStore names what it was refused, and not for a while.
_REFUSALS = ('PERMISSION_DENIED', 'UNAUTHENTICATED', 'NOT_FOUND')


def is_remote(path: epath.PathLike) -> bool:
  """Whether a path lies in a bucket."""
  return os.fspath(path).startswith('gs://')


def folder(path: epath.PathLike) -> epath.Path:
  """An absolute path, ready to be used.

  Raises:
    ValueError: it is no path in a bucket, or what is needed for one is not
      installed.
  """
  if not is_remote(path):
    return epath.Path(path).resolve()
  _split(path)
  _prepare()
  return epath.Path(path)


def check(path: epath.PathLike) -> None:
  """Asks the bucket of a path, if it lies in one.

  Raises:
    ValueError: as `folder`, or it is a path of another kind of storage.
    failure.Refused: there is no such bucket, or it may not be listed.
    failure.Outage: it does not answer.
  """
  if not is_remote(path):
    if '://' in os.fspath(path):
      raise ValueError(f'{path}; expected a folder or gs://BUCKET/FOLDER')
    return
  folder(path)
  name, _ = _split(path)
  _file_system().check(name, AT_START)


def publish(path: epath.Path, text: str, draft: epath.Path, point: str) -> None:
  """Writes a file whole or not at all, in place of an earlier one.

  Args:
    path: of the file.
    text: its content.
    draft: written first on a disk; a bucket shows nothing that is not whole.
    point: named instant before it is there.
  """
  if is_remote(path):
    faults.point(point)
    path.write_text(text)
    return
  draft.write_text(text)
  sync(draft)
  faults.point(point)
  draft.replace(path)
  sync(path.parent)


def sync(path: epath.PathLike) -> None:
  """Waits until a file or folder would outlast a loss of power.

  A folder is its list of names. What a bucket has taken does outlast it.
  """
  if is_remote(path):
    return
  number = os.open(path, os.O_RDONLY)
  try:
    os.fsync(number)
  finally:
    os.close(number)


def size(path: epath.PathLike) -> int:
  """Bytes of all that is below a folder in a bucket, if anything is."""
  return _file_system().du(os.fspath(path))


@dataclasses.dataclass(frozen=True)
class Found:
  """What was read of a file.

  Attributes:
    content: of it; empty where it is not there.
    generation: names what was read, for `Store.write`.
  """

  content: bytes
  generation: bytes


class Store:
  """The files of one folder, which need not exist."""

  def __init__(self, path: epath.PathLike):
    """Touches nothing yet."""
    self._folder = folder(path)
    spec = {'driver': 'file', 'path': f'{self._folder}/'}
    if is_remote(path):
      bucket, name = _split(path)
      spec = {'driver': 'gcs', 'bucket': bucket, 'path': f'{name}/'}
    self._store = ts.KvStore.open(spec).result()

  def read(self, name: str) -> Found:
    """Reads a file, which need not be there.

    Raises:
      failure.Outage: storage does not answer.
      failure.Refused: it may not be read.
    """
    return self.read_all([name])[name]

  def read_all(self, names: Iterable[str]) -> dict[str, Found]:
    """As `read`, several at once; by name, in their order."""
    futures = {name: self._store.read(name) for name in names}
    found = {}
    for name, future in futures.items():
      result = self._result(future)
      found[name] = Found(result.value, result.stamp.generation)
    return found

  def write(self, name: str, content: bytes | None, generation: bytes) -> bytes:
    """Replaces one generation of a file, or removes it.

    Where storage loses its own answer, it may be replaced and said not to be.

    Args:
      name: of the file.
      content: None removes it.
      generation: that has to stand there, such as `ABSENT`.

    Returns:
      The new generation; empty if another one stood there.

    Raises:
      failure.Outage: storage does not answer; it may be replaced nevertheless.
      failure.Refused: it may not be written.
    """
    written = self._store.write(name, content, if_equal=generation)
    return self._result(written).generation

  def _result(self, future: ts.Future) -> Any:
    """What storage answers, which TensorStore asks again and again."""
    try:
      return _await(future)
    except TimeoutError as error:
      raise failure.Outage(os.fspath(self._folder), PATIENCE) from error
    except ValueError as error:
      if str(error).startswith(_REFUSALS) and is_remote(self._folder):
        raise failure.Refused(os.fspath(self._folder), str(error)) from error
      raise


def _await(future: ts.Future) -> Any:
  try:
    return future.result(timeout=_LATE)
  except TimeoutError:
    with lull.expected():
      return future.result(timeout=PATIENCE)


def _split(path: epath.PathLike) -> tuple[str, str]:
  """Name of the bucket, and of the folder in it."""
  match = _BUCKET.fullmatch(os.fspath(path))
  if match is None or {'.', '..'} & set(match[2].split('/')):
    raise ValueError(f'{os.fspath(path)}; expected gs://BUCKET/FOLDER')
  return match[1], match[2].strip('/')


def _prepare() -> None:
  """Lets `epath`, and so Orbax, use `evo.bucket`."""
  if importlib.util.find_spec('gcsfs') is None:
    raise ValueError(
      'gs:// needs gcsfs; expected an installation with pip install'
      " 'datapoint[gcs]'"
    )
  from evo import bucket  # Takes a second to import.

  bucket.install()


def _file_system() -> Any:
  import fsspec

  return fsspec.filesystem('gcs', finalize_on_close=True)
