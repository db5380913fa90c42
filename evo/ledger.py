"""The ledger: the append-only record of every leg, result and verdict.

One immutable file per round, created only if absent: creating it is the
commit. Each holds the digest of the one before it. It holds no clock, host or
retry: those go to `events.jsonl`.
"""

import hashlib
import json
import time
from typing import Any

import tensorstore as ts
from etils import epath

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

  def __init__(self, directory: epath.PathLike):
    """Reads the records of a directory, which need not exist yet.

    Raises:
      ValueError: a record is damaged, missing, or not the one its successor
        was committed after.
    """
    self._directory = epath.Path(directory)
    self._previous = ''
    self.records: list[Record] = []
    self._store = None
    while (path := self._path(len(self.records))).exists():
      self.records.append(self._read(path))

  def append(self, record: Record) -> None:
    """Commits the next record, or checks that it equals the one that stands.

    Raises:
      RuntimeError: another record stands there: the run was not repeated
        exactly, or another process writes to this workdir.
    """
    number = len(self.records)
    content = encode(record | {'round': number, 'previous': self._previous})
    if not self._create(number, content):
      raise RuntimeError(
        f'{self._path(number)} was written by another process; this one stops'
      )
    self._previous = hashlib.sha256(content).hexdigest()
    self.records.append(json.loads(content))

  def check(self, number: int, record: Record) -> None:
    """Raises RuntimeError unless a recomputed record equals record `number`."""
    standing = dict(self.records[number])
    standing.pop('previous')
    if encode(record | {'round': number}) != encode(standing):
      raise RuntimeError(
        f'{self._path(number)} differs from what was computed again; expected'
        ' the same machine, versions and data as before'
      )

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

  def __init__(self, path: epath.PathLike):
    self._path = epath.Path(path)

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
    self._path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({'time': time.time(), 'event': kind} | values)
    with self._path.open('a') as file:
      file.write(line + '\n')
