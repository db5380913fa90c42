"""The ledger: the append-only record of every leg, result and verdict.

One immutable file per round, created only if absent: creating it is the
commit. Each holds the digest of the one before it. It holds no clock, host or
retry: those go to `events.jsonl`. Of several hosts the first one writes both.
"""

import hashlib
import json
import time
from typing import Any

import tensorstore as ts
from etils import epath

from evo import faults
from evo import hosts as hosts_lib

Record = dict[str, Any]
_ABSENT = ts.KvStore.TimestampedStorageGeneration(generation=b'\x02').generation


def encode(record: Record) -> bytes:
  """The one encoding of a record: sorted keys, finite numbers only."""
  text = json.dumps(record, sort_keys=True, allow_nan=False, indent=1)
  return text.encode() + b'\n'


class Ledger:
  """The records of a workdir, in order.

  Attributes:
    records: all committed records, oldest first.
  """

  def __init__(
    self, directory: epath.PathLike, hosts: hosts_lib.Hosts | None = None
  ):
    """Reads the records of a directory, which need not exist yet.

    Args:
      directory: all hosts see the same.
      hosts: of the run.

    Raises:
      ValueError: a record is damaged, missing, or not the one its successor
        was committed after; or other hosts see other records.
    """
    self._directory = epath.Path(directory)
    self._hosts = hosts or hosts_lib.Hosts()
    self._previous = ''
    self.records: list[Record] = []
    self._store = None
    count = self._hosts.once(self._count)
    while len(self.records) < count:
      self.records.append(self._read(self._path(len(self.records))))
    self._hosts.same(self._previous, f'the ledger in {self._directory}')

  def append(self, record: Record) -> None:
    """Commits the next record, or checks that it equals the one that stands.

    Raises:
      RuntimeError: another record stands there: the run was not repeated
        exactly, or another process writes to this workdir; or this host came
        to another record than the first one.
    """
    number = len(self.records)
    content = encode(record | {'round': number, 'previous': self._previous})
    if self._hosts.first:
      self._commit(number, content)
    self._previous = hashlib.sha256(content).hexdigest()
    self.records.append(json.loads(content))
    if self._hosts.agree(self._previous) != self._previous:
      raise RuntimeError(
        f'host {self._hosts.index} came to another record than host 0 in round'
        f' {number}; expected the same machines, versions and data'
      )

  def check(self, number: int, record: Record) -> None:
    """Raises RuntimeError unless a recomputed record equals record `number`."""
    standing = dict(self.records[number])
    standing.pop('previous')
    if encode(record | {'round': number}) != encode(standing):
      raise RuntimeError(
        f'{self._path(number)} differs from what was computed again; expected'
        ' the same machine, versions and data as before'
      )

  def _count(self) -> int:
    count = 0
    while self._path(count).exists():
      count += 1
    return count

  def _path(self, number: int) -> epath.Path:
    return self._directory / f'{number:08d}.json'

  def _read(self, path: epath.Path) -> Record:
    content = path.read_bytes()
    try:
      record = json.loads(content)
      previous = record['previous']
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(f'{path} is damaged; expected a JSON record') from error
    if previous != self._previous:
      raise ValueError(
        f'{path} does not follow the record before it; expected the digest'
        f' {self._previous}'
      )
    self._previous = hashlib.sha256(content).hexdigest()
    return record

  def _commit(self, number: int, content: bytes) -> None:
    faults.point('ledger.before_append')
    self._hosts.fence()
    if not self._create(number, content):
      # Perhaps by who was taken over in that instant, who computed the same.
      self._hosts.fence()
      if self._path(number).read_bytes() != content:
        raise RuntimeError(
          f'{self._path(number)} was written by another process; this one stops'
        )
    faults.point('ledger.after_append')

  def _create(self, number: int, content: bytes) -> bool:
    if self._store is None:
      self._directory.mkdir(parents=True, exist_ok=True)
      spec = {'driver': 'file', 'path': f'{self._directory.resolve()}/'}
      self._store = ts.KvStore.open(spec).result()
    written = self._store.write(
      f'{number:08d}.json', content, if_equal=_ABSENT
    ).result()
    return bool(written.generation)


class Events:
  """`events.jsonl`: what happened when, for people; no result depends on it."""

  def __init__(
    self, path: epath.PathLike, hosts: hosts_lib.Hosts | None = None
  ):
    self._path = epath.Path(path)
    self._hosts = hosts or hosts_lib.Hosts()

  def read(self) -> list[Record]:
    """All events; a line torn by a crash is left out."""
    if not self._path.exists():
      return []
    events = []
    for line in self._path.read_text().splitlines():
      try:
        events.append(json.loads(line))
      except ValueError:
        continue
    return events

  def write(self, kind: str, **values: Any) -> None:
    """Appends one event with the time of day."""
    if not self._hosts.first:
      return
    self._path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({'time': time.time(), 'event': kind} | values)
    with self._path.open('a') as file:
      file.write(line + '\n')
