"""Who works on a workdir: `owner.json`, held by one process at a time.

It names its holder by host, boot, process and the start of that process, and
counts beats; there is no clock in it. It is replaced only where nobody else has
written it since it was read, which storage decides, alike on disks and on
`gs://`. A holder of which this host knows that it is dead is replaced at once,
another one once its beats have stood still. A holder that slept through that
finds out before it writes anything again, and ends.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import sys
import threading
import time
from collections.abc import Iterator

from etils import epath

from evo import document, failure, faults, form, storage
from evo import hosts as hosts_lib
from launch import cli

NAME = 'owner.json'
# Seconds between two beats, and after which one that gave none is replaced.
EVERY, PATIENCE = 5.0, 30.0

_FORM = form.fields(
  host=form.text,
  boot=form.text,
  namespace=form.text,
  pid=form.whole(),
  start=form.whole(),
  beat=form.whole(),
)

_LINUX = sys.platform == 'linux'  # Elsewhere only beats tell.


class Lost(cli.InputError):
  """Another process has taken the workdir over."""


@dataclasses.dataclass(frozen=True)
class Holder:
  """A process that holds a workdir.

  Attributes:
    host: its name.
    boot: of the host; another one after each start.
    namespace: in which `pid` counts: containers have their own.
    pid: of the process.
    start: of the process, in ticks since the host's.
    beat: counts up while it works.
  """

  host: str
  boot: str
  namespace: str
  pid: int
  start: int
  beat: int = 0

  @classmethod
  def here(cls) -> 'Holder':
    """This process."""
    pid, name = os.getpid(), socket.gethostname()
    if not _LINUX:
      return cls(name, '', '', pid, 0)
    boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    namespace = os.readlink('/proc/self/ns/pid')
    _, start = _process(pid)
    return cls(name, boot, namespace, pid, start)

  def __str__(self) -> str:
    return f'process {self.pid} on {self.host}'

  def is_(self, other: 'Holder') -> bool:
    """Whether both are the same process."""
    return dataclasses.replace(self, beat=other.beat) == other

  def works(self) -> bool | None:
    """Whether it does; None where this host cannot tell, or it is stopped."""
    here = Holder.here()
    if not _LINUX or self.host != here.host:
      return None
    if self.boot != here.boot:
      return False
    if self.namespace != here.namespace:
      return None
    state, start = _process(self.pid) or ('gone', None)
    if start != self.start or state in 'XZ':
      return False
    return None if state in 'Tt' else True


class Owner:
  """Holds a workdir for this process."""

  def __init__(self, workdir: epath.Path):
    """Touches nothing yet.

    Args:
      workdir: need not exist.
    """
    self._workdir, self._me = workdir, Holder.here()
    self._over = threading.Event()
    self._store = storage.Store(workdir)

  def acquire(self) -> None:
    """Begins to hold the workdir; watches for a while who holds it.

    Raises:
      ValueError: another process does, and works.
    """
    # Again if somebody else was faster; who works by now is left alone. It may
    # also be that only the answer was lost.
    while not self._write(self._me, self._vacant()) and not self._generation():
      pass
    faults.point('owner.acquired')
    threading.Thread(target=self._beat, daemon=True).start()

  def check(self) -> None:
    """Raises Lost if another process holds the workdir by now."""
    holder = read(self._workdir)
    if holder is None or not holder.is_(self._me):
      by = holder or 'another process, which is done with it,'
      raise Lost(
        f'{self._workdir} was taken over by {by} while {self._me} did not'
        ' answer, so this one ends; expected one search at a time'
      )

  def release(self) -> None:
    """Ends to hold it; if it was taken over, leaves it alone."""
    self._over.set()
    # Again if a last beat came between.
    while (mine := self._generation()) and not self._write(None, mine):
      pass

  def _vacant(self) -> bytes:
    """The generation of what may be replaced, after a watch if need be."""
    while True:
      found = self._store.read(NAME)
      holder = _parse(found.content)
      works = holder.works() if holder else None
      if not found.content or works is False:
        return found.generation
      if works:
        raise ValueError(_refusal(self._workdir, holder))
      after = self._watch(found, holder)
      if after.content == found.content:
        return found.generation
      later = _parse(after.content)
      if holder and later and later.is_(holder):
        raise ValueError(_refusal(self._workdir, later))

  def _watch(
    self, found: storage.Found, holder: Holder | None
  ) -> storage.Found:
    """What stands there once it is another, or its time is over."""
    begin, after, told = time.monotonic(), found, False
    while (
      after.content == found.content
      and (waited := time.monotonic() - begin) < PATIENCE
    ):
      if waited > PATIENCE / 3 and not told:
        told = True
        print(
          f'{self._workdir} is held by {holder or "somebody"}, who gives no sign'
          f' of life: waiting for {PATIENCE - waited:.0f} s',
          file=sys.stderr,
        )
      time.sleep(min(1.0, PATIENCE / 10))
      after = self._store.read(NAME)
    return after

  def _beat(self) -> None:
    """Counts up until it is over, or taken over."""
    beat = 0
    while not self._over.wait(EVERY):
      beat += 1
      try:
        if not (mine := self._generation()):
          return
        self._write(dataclasses.replace(self._me, beat=beat), mine)
      except failure.Outage as error:
        # The loop may be within a library that would wait for much longer.
        cli.leave(str(error))
      except Exception:
        pass  # A beat is missed. The loop hears of it by itself.

  def _generation(self) -> bytes:
    """Of what stands there, if this process wrote it; empty if not."""
    found = self._store.read(NAME)
    holder = _parse(found.content)
    return found.generation if holder and holder.is_(self._me) else b''

  def _write(self, holder: Holder | None, generation: bytes) -> bool:
    """Replaces one generation, or removes it; False if another stands there."""
    content = None
    if holder:
      content = json.dumps(dataclasses.asdict(holder), indent=1).encode()
    return bool(self._store.write(NAME, content, generation))


@contextlib.contextmanager
def hold(workdir: epath.Path, hosts: hosts_lib.Hosts) -> Iterator[None]:
  """Holds a workdir, for all hosts, as long as nobody takes it over.

  Let go of where all went well, or nothing was begun. Otherwise something may
  still be written in the background, so only the end of the process lets go.

  Args:
    workdir: need not exist.
    hosts: the first one holds it, and asks its fence before it writes.

  Raises:
    cli.InputError: another process holds it, or took it over.
  """
  owner = Owner(workdir)
  with cli.input_errors():
    hosts.once(owner.acquire)
  if not hosts.first:
    yield
    return
  hosts.fence = owner.check
  try:
    yield
  except cli.InputError:
    owner.release()
    raise
  except failure.Outage:
    raise
  except Exception:
    owner.check()  # Whatever went wrong, that would be why.
    raise
  faults.point('owner.before_release')
  owner.release()


def read(workdir: epath.PathLike) -> Holder | None:
  """Who holds a workdir; None if nobody does that can be told."""
  return _parse(storage.Store(workdir).read(NAME).content)


def look(workdir: epath.Path) -> None:
  """Raises ValueError if a process is known to work on a workdir."""
  holder = read(workdir)
  if holder and holder.works():
    raise ValueError(_refusal(workdir, holder))


def _refusal(workdir: epath.Path, holder: Holder) -> str:
  return (
    f'--workdir={workdir} is held by {holder}; expected one search at a time, or'
    ' another --workdir'
  )


def _parse(content: bytes) -> Holder | None:
  """The holder in a file; None if it is absent or damaged."""
  try:
    value = document.parse(content, 'a holder')
    _FORM('', value)
    names = [field.name for field in dataclasses.fields(Holder)]
    return Holder(**{name: value[name] for name in names})
  except ValueError:
    return None


def _process(pid: int) -> tuple[str, int] | None:
  """State and start of a process of this host; None if there is none."""
  try:
    text = pathlib.Path(f'/proc/{pid}/stat').read_text()
  except (FileNotFoundError, ProcessLookupError):
    return None
  # The name of the command may hold anything but this.
  fields = text.rpartition(')')[2].split()
  return fields[0], int(fields[19])
