"""Checkpoints: Orbax directories with digests of our own beside them.

Orbax restores some flipped bits silently, so every checkpoint has a JSON file
beside it, its seal, written last: a note, a digest of all files, and one of the
seal itself. A checkpoint without it is not there, and one that differs never
reaches Orbax. The seal also names the directory, which is new each time: whoever
still writes, though another process has taken the run over, spoils nothing. Of
several hosts each writes the shards that it holds, and the first one the rest.
"""

import collections
import concurrent.futures
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from evo import disk, document, failure, faults, lull, storage
from evo import hosts as hosts_lib

PyTree = Any

# Orbax numbers the saves of a process. One that begins during another, in some
# other thread, takes that one's number, and both wait for signals in vain.
_SAVING = threading.Lock()

_SEAL = '.json'
_PLACE = r'[\w-]+\.[0-9a-f]{8}'


def digest(directory: epath.Path) -> str:
  """A digest of the names and contents of all files below a directory."""
  hasher = hashlib.sha256()
  for path in sorted(_files(directory)):
    content = path.read_bytes()
    name = path.relative_to(directory).as_posix()
    hasher.update(f'{name} {len(content)} '.encode())
    hasher.update(content)
  return hasher.hexdigest()


def require_room(folder: epath.Path, tree: PyTree) -> None:
  """Raises OSError unless Orbax finds room for a pytree of arrays."""
  beside = (1 << 16) + (1 << 10) * len(jax.tree.leaves(tree))
  disk.require_room(folder, _bytes(tree) + beside)


def read(
  checkpointer: ocp.StandardCheckpointer,
  directory: epath.Path,
  abstract: PyTree,
) -> PyTree:
  """What Orbax wrote to a directory, though perhaps for others.

  Raises:
    failure.Differs: it is not such a pytree.
    OSError: it cannot be reached.
  """
  try:
    return checkpointer.restore(directory, abstract)
  except Exception as error:  # Orbax raises what comes of it.
    if isinstance(error, OSError | failure.Outage):
      raise
    if failure.is_full(error) or failure.is_outage(error):
      raise
    why = ' '.join(str(error).split())[:200]
    raise failure.Differs(
      f'{directory} cannot be read ({type(error).__name__}: {why}); expected'
      ' arrays of the same members'
    ) from error


class Checkpoints:
  """The checkpoints of a workdir.

  Saving fetches and writes in a background thread, one after another;
  reading, listing and removing wait for what is still being written. All
  hosts do all of it, in the same order.

  Attributes:
    directory: that holds them.
    restores: how many were read back from storage.
  """

  def __init__(
    self,
    directory: epath.PathLike,
    recent_bytes: int = 1 << 28,
    hosts: hosts_lib.Hosts | None = None,
  ):
    """Opens a directory, which need not exist yet.

    Args:
      directory: local or `gs://`; all hosts see the same.
      recent_bytes: memory for rows that were saved last, so that most
        heirs need not wait for storage.
      hosts: of the run.
    """
    self._hosts = hosts or hosts_lib.Hosts()
    self.directory = storage.folder(directory)  # Orbax demands absolute paths.
    self.restores = 0
    self._recent_bytes = recent_bytes
    self._recent = collections.OrderedDict()
    self._writer = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    self._pending = {}
    self._failure: Exception | None = None  # Of a write.

  def save(
    self,
    name: str,
    tree: PyTree,
    note: Callable[[], dict[str, Any]] = dict,
    *,
    remember: bool = False,
  ) -> None:
    """Saves a pytree of arrays; one of the same name is replaced.

    Args:
      name: letters, digits and dashes.
      tree: arrays that nobody writes to or donates from now on; they need
        not be computed yet.
      note: gives what `note` will return, JSON-able.
      remember: keep the arrays in memory, for a restore soon.
    """
    if remember:
      self._remember(name, tree)
    place = f'{name}.{self._hosts.agree(secrets.token_hex(4))}'
    self._pending[name] = self._writer.submit(
      self._write, name, tree, note, place
    )

  def wait(self) -> None:
    """Waits until all that was saved is on storage; raises if it failed."""
    for future in list(self._pending.values()):
      future.result()
    self._pending.clear()

  def names(self) -> list[str]:
    """Names of complete checkpoints, sorted."""
    self.wait()

    def find() -> list[str]:
      if not self.directory.exists():
        return []
      return sorted(p.stem for p in self.directory.glob(f'*{_SEAL}'))

    return self._hosts.once(find)

  def note(self, name: str) -> dict[str, Any] | None:
    """The note saved with a checkpoint; None where its seal is damaged."""
    self.wait()
    return self._hosts.once(lambda: self._seal(name)).get('note')

  def written(self, name: str) -> bool:
    """Whether a checkpoint is there; for notes, which are made in order."""
    return self._path(name).exists()

  def damage(self, name: str) -> str | None:
    """What is wrong with a checkpoint, in words; None if it is intact."""
    self.wait()
    return self._hosts.once(lambda: self._damage(name))

  def restore(self, name: str, abstract: PyTree) -> PyTree:
    """Reads a checkpoint back and verifies it.

    Args:
      name: of a saved checkpoint.
      abstract: shapes and dtypes expected, with shardings where the arrays
        belong on devices.

    Returns:
      The arrays, in the structure of `abstract`.

    Raises:
      failure.Damaged: the checkpoint is missing, or not what was saved.
    """
    if name in self._recent:
      self._recent.move_to_end(name)
      return self._recent[name]
    with lull.expected():
      if damage := self.damage(name):
        raise failure.Damaged(damage)
      with self._checkpointer() as checkpointer:
        place = self._hosts.once(lambda: self._seal(name)['place'])
        tree = read(checkpointer, self.directory / place, abstract)
    self.restores += 1
    return tree

  def sweep(self, keep: Callable[[str], bool]) -> None:
    """Deletes all other checkpoints, and what killed writes left behind."""
    self.wait()
    for name in list(self._recent):
      if not keep(name):
        del self._recent[name]
    if not (self._hosts.first and self.directory.exists()):
      return
    faults.point('checkpoint.before_remove')
    self._hosts.fence()
    paths = sorted(self.directory.iterdir())
    sealed = [path.stem for path in paths if path.suffix == _SEAL]
    kept = [name for name in sealed if keep(name)]
    stay = {f'{name}{_SEAL}' for name in kept}
    stay |= {self._seal(name).get('place') for name in kept}
    # Seals first: without its own a checkpoint is not there.
    for path in sorted(paths, key=lambda path: path.suffix != _SEAL):
      if path.name in stay:
        continue
      if path.is_dir():
        path.rmtree(missing_ok=True)
      else:
        path.unlink(missing_ok=True)
      faults.point('checkpoint.within_remove')

  def _path(self, name: str) -> epath.Path:
    return self.directory / f'{name}{_SEAL}'

  def _seal(self, name: str) -> dict[str, Any]:
    """Of a checkpoint; empty where it is damaged."""
    try:
      seal = document.parse(self._path(name).read_bytes(), 'a seal')
      intact = seal['digest'] == _of_seal(seal)
      # Of this folder, whatever a seal of others says.
      intact = intact and bool(re.fullmatch(_PLACE, seal['place']))
    except (ValueError, KeyError, TypeError):
      intact = False
    return seal if intact else {}

  def _damage(self, name: str) -> str | None:
    if not self.written(name):
      return f'checkpoint {name} is missing; expected {self._path(name)}'
    seal = self._seal(name)
    directory = self.directory / seal.get('place', name)
    there = seal and directory.is_dir()
    if there and digest(directory) == seal['files']:
      return None
    return f'checkpoint {name} is damaged; expected {directory} as it was saved'

  def _write(self, *args: Any) -> None:
    # What is written later may build on what could not be.
    if self._failure:
      raise self._failure
    try:
      self._put(*args)
    except Exception as error:
      self._failure = error
      raise

  def _put(
    self,
    name: str,
    tree: PyTree,
    note: Callable[[], dict[str, Any]],
    place: str,
  ) -> None:
    tree = jax.tree.map(_fetch, tree)
    if self._hosts.first:
      faults.point('checkpoint.before_write')
      self._hosts.fence()
      self.directory.mkdir(parents=True, exist_ok=True)
      require_room(self.directory, tree)
    with _SAVING, self._checkpointer() as checkpointer:
      checkpointer.save(self.directory / place, tree)
    if self._hosts.first:
      faults.point('checkpoint.before_seal')
      self._hosts.fence()
      files = digest(self.directory / place)
      if not storage.is_remote(self.directory):
        for path in _files(self.directory / place):
          storage.sync(path)
      said = json.loads(json.dumps(note()))  # As it will be read.
      seal = {'place': place, 'files': files, 'note': said}
      seal['digest'] = _of_seal(seal)
      draft = self.directory / f'{place}.draft'
      storage.publish(
        self._path(name), json.dumps(seal), draft, 'checkpoint.before_replace'
      )
      faults.point('checkpoint.after_seal')

  def _checkpointer(self) -> ocp.StandardCheckpointer:
    # Hosts that are named wait for each other over the coordination service;
    # by default they would on their devices, out of step with the segments.
    several = self._hosts.count > 1
    named = set(range(self._hosts.count)) if several else None
    return ocp.StandardCheckpointer(
      multiprocessing_options=ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes=named
      )
    )

  def _remember(self, name: str, tree: PyTree) -> None:
    self._recent[name] = tree
    self._recent.move_to_end(name)
    size = sum(_bytes(tree) for tree in self._recent.values())
    while size > self._recent_bytes and self._recent:
      size -= _bytes(self._recent.popitem(last=False)[1])


def _of_seal(seal: dict[str, Any]) -> str:
  own = [seal[key] for key in ('place', 'files', 'note')]
  own = json.dumps(own, sort_keys=True)
  return hashlib.sha256(own.encode()).hexdigest()


def _files(directory: epath.Path) -> Iterator[epath.Path]:
  for path in directory.iterdir():
    if path.is_dir():
      yield from _files(path)
    else:
      yield path


def _fetch(leaf: Any) -> Any:
  """The array on this host, unless other hosts hold parts of it."""
  if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
    return leaf
  return np.asarray(leaf)


def _bytes(tree: PyTree) -> int:
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
