"""The ledger: the append-only record of every leg, result and verdict.

One immutable file per round, created only if absent: creating it is the
commit. Each holds its own digest and that of the one before it, so that no bit
of it can change unseen. It holds no clock, host or retry: those go to
`events.jsonl`. Of several hosts the first one writes both.
"""

import hashlib
import json
import time
from typing import Any

from etils import epath

from evo import document, failure, faults, form, storage
from evo import hosts as hosts_lib
from evo import log as log_lib

Record = dict[str, Any]
_RECOVERY = (
  'put it back from a copy, or move it and the later ones away to have them'
  ' computed again'
)
# What is read of events: of all, and of some kinds.
_EVENT = form.fields(time=form.number(0), event=form.text)
# And what a clock goes on from.
_SPENT = form.given(
  **dict.fromkeys(
    (
      *('seconds', 'seconds_compiling', 'seconds_training'),
      *('seconds_evaluating', 'seconds_searching'),
    ),
    form.number(0),
  ),
  compilations=form.whole(),
  compilations_cached=form.whole(),
)
_KINDS = {
  'round': form.fields(round=form.whole(), seconds=form.number(0)),
  'stop': form.fields(reason=form.optional(form.text), seconds=form.number(0)),
  'failed': form.fields(
    round=form.whole(), species=form.whole(), reason=form.text
  ),
}


def encode(record: Record) -> bytes:
  """The one encoding of a record: sorted keys, finite numbers only."""
  text = json.dumps(record, sort_keys=True, allow_nan=False, indent=1)
  return text.encode() + b'\n'


def digest(record: Record) -> str:
  """Of a record without its own digest."""
  return hashlib.sha256(encode(record)).hexdigest()


class Ledger:
  """The records of a workdir, in order.

  Attributes:
    records: all committed records, oldest first, without their own digests.
    digests: of each of them.
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
    self.records: list[Record] = []
    self.digests: list[str] = []
    self._store = storage.Store(directory)
    names = map(_name, range(self._hosts.once(self._count)))
    for name, found in self._store.read_all(names).items():
      self._read(self._directory / name, found.content)
    self._hosts.same(self.digests[-1:], f'the ledger in {self._directory}')

  def append(self, record: Record) -> None:
    """Commits the next record, or checks that it equals the one that stands.

    Raises:
      RuntimeError: another record stands there: the run was not repeated
        exactly, or another process writes to this workdir; or this host came
        to another record than the first one.
    """
    number = len(self.records)
    whole = self._whole(number, record)
    own = digest(whole)
    content = encode(whole | {'digest': own})
    if self._hosts.first:
      self._commit(number, content)
    self.digests.append(own)
    self.records.append(json.loads(encode(whole)))
    if self._hosts.agree(own) != own:
      raise RuntimeError(
        f'host {self._hosts.index} came to another record than host 0 in round'
        f' {number}; expected the same machines, versions and data'
      )

  def digest(self, number: int, record: Record) -> str:
    """That record `number` has, or will have; those before it are committed."""
    return digest(self._whole(number, record))

  def check(self, number: int, record: Record) -> None:
    """Raises Differs unless a recomputed record equals record `number`."""
    if self.digest(number, record) != self.digests[number]:
      raise self.differs(number)

  def differs(self, number: int) -> failure.Differs:
    """That record `number` is not what this run comes to, to raise."""
    return failure.Differs(
      f'{self._path(number)} differs from what was computed again; expected'
      ' the same machine, versions and data as before'
    )

  def _whole(self, number: int, record: Record) -> Record:
    previous = self.digests[number - 1] if number else ''
    return record | {'round': number, 'previous': previous}

  def _count(self) -> int:
    if not self._directory.exists():
      return 0
    paths = self._directory.glob(f'{"[0-9]" * 8}.json')
    numbers = sorted(int(path.stem) for path in paths)
    for i, number in enumerate(numbers):
      if i != number:
        path = self._path(i)
        raise ValueError(
          f'{path} is missing; expected all records: {_RECOVERY}'
        )
    return len(numbers)

  def _path(self, number: int) -> epath.Path:
    return self._directory / _name(number)

  def _read(self, path: epath.Path, content: bytes) -> None:
    try:
      record = document.parse(content, 'a record')
      own, previous = record.pop('digest'), record['previous']
      intact = digest(record) == own
    except (ValueError, KeyError, TypeError, AttributeError):
      intact = False
    if not intact:
      raise ValueError(
        f'{path} is damaged; expected the record that was committed: {_RECOVERY}'
      )
    if previous != ''.join(self.digests[-1:]):
      raise ValueError(
        f'{path} does not follow the record before it; expected the records of'
        f' one run: {_RECOVERY}'
      )
    self.digests.append(own)
    self.records.append(record)

  def _commit(self, number: int, content: bytes) -> None:
    faults.point('ledger.before_append')
    self._hosts.fence()
    name = _name(number)
    if not self._store.write(name, content, storage.ABSENT):
      # Perhaps by who was taken over in that instant, who computed the same, or
      # by this one, where the answer was lost.
      self._hosts.fence()
      if self._store.read(name).content != content:
        raise RuntimeError(
          f'{self._path(number)} was written by another process; this one stops'
        )
    faults.point('ledger.after_append')


def _name(number: int) -> str:
  return f'{number:08d}.json'


class Events:
  """`events.jsonl`: what happened when, for people; no result depends on it."""

  def __init__(
    self, path: epath.PathLike, hosts: hosts_lib.Hosts | None = None
  ):
    self._log = log_lib.Log(path)
    self._hosts = hosts or hosts_lib.Hosts()

  def read(self) -> list[Record]:
    """All events; a line torn by a crash, or spoilt, is left out."""
    events = []
    for line in self._log.read().splitlines():
      try:
        event = document.parse(line, 'an event')
        _EVENT('event', event)
        _SPENT('event', event)
        _KINDS.get(event['event'], form.anything)('event', event)
      except ValueError:
        continue
      events.append(event)
    return events

  def write(self, kind: str, **values: Any) -> None:
    """Appends one event with the time of day."""
    if not self._hosts.first:
      return
    self._log.append(json.dumps({'time': time.time(), 'event': kind} | values))
