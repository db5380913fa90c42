"""The watchdog: ends this host's process when the run cannot go on.

A step may hang. A host that dies, is stopped or is stuck leaves the others in a
collective for ever, and what JAX notices of it comes late or not at all. So each
host tells the others that it lives over the coordination service, and leaves with
exit code 42, start me again, once another one has been silent, or its own rounds
have come to a standstill. No clock but the monotonic one is read.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from evo import lull
from launch import cli
from launch import stop as stop_lib

# Seconds between two signs of life, and after which a host is given up. A host
# that was slow for five seconds is not lost.
EVERY, SILENCE = 0.5, 12.0
# Seconds after an error in which a host that is its cause falls silent for so
# long as no living one is.
VERDICT, QUIET = 4.5, 2.5
# Seconds after SIGTERM on any host in which a round has to end: machines that
# are taken away leave about thirty.
GRACE = 15.0
# A round may take so many times as long as the longest, and at least so long;
# or so long before one was measured, or while something compiles.
TIMES, LEAST, LULL = 20, 60.0, 1800.0


class Watchdog:
  """Watches this host and the others; ends the process with 42.

  Attributes:
    heard: monotonic second of the last sign of life of each other host.
    failed: called with the failure of another host's devices, once.
  """

  def __init__(self, stop: stop_lib.StopSignals, several: bool = True):
    """Begins with this host only; `join` adds the others.

    Args:
      stop: reasons to stop on this host.
      several: whether there are others.
    """
    self._stop, self._client = stop, None
    self._name = 'this host'
    self.heard: dict[int, float] = {}
    self.failed: Callable[[Any], None] = lambda failure: None
    self._failure: Any = None  # Of this host's own devices.
    self._refusal: str | None = None  # What this host was given is wrong.
    self._signs: dict[int, str] = {}
    self._reasons: dict[int, str] = {}
    self._asked: float | None = None  # When a SIGTERM was first known of.
    self._stopping = False
    self._moved, self._longest = time.monotonic(), None
    self._lulled = True  # In this round, so far.
    self._off = threading.Event()
    if several:
      _catch_aborts(self._aborted)
    self._spawn(self._listen, _wakeups())
    self._spawn(self._watch)

  def join(self, client: Any, index: int, count: int) -> None:
    """Begins to give signs of life and to expect them.

    Args:
      client: of the coordination service.
      index: of this host.
      count: of hosts.
    """
    self._client, self._name = client, f'host {index}'
    self._key = f'alive/{index}'
    now = time.monotonic()
    self.heard = {host: now for host in range(count) if host != index}
    self._spawn(self._live)

  def moved(self) -> None:
    """Notes that a round has ended."""
    now = time.monotonic()
    if not self._lulled:
      self._longest = max(self._longest or 0.0, now - self._moved)
    self._moved, self._lulled = now, False
    self._stopping = self._asked is not None

  def reason(self) -> str | None:
    """Why this host or another one was asked to stop, if it was."""
    return self._stop.reason() or next(iter(self._reasons.values()), None)

  def fail(self, failure: Any) -> None:
    """Tells the other hosts that devices of this one failed, JSON-able.

    Ends the process if that is due to the loss of another host.
    """
    self.convict(failure)
    self._failure = failure

  def refuse(self, line: str) -> None:
    """Tells the other hosts that what this one was given cannot be used.

    Returns once they have heard of it; they end with that line.
    """
    self._refusal = line
    # The first host is the one whose end they would notice.
    time.sleep(EVERY * (8 if self._key == 'alive/0' else 4))

  def convict(self, error: Any) -> None:
    """Ends the process if an error is due to the loss of another host."""
    deadline = time.monotonic() + VERDICT
    while time.monotonic() < deadline:
      if lost := self._silent(QUIET):
        self._end(f'{_names(lost)} was lost: {error}')
      time.sleep(EVERY / 4)

  def off(self) -> None:
    """Watches no longer."""
    self._off.set()

  def _spawn(self, function: Callable, *args: Any) -> None:
    threading.Thread(target=function, args=args, daemon=True).start()

  def _listen(self, signals: socket.socket) -> None:
    """Hears of SIGTERM even while the main thread is in a collective."""
    while True:
      if signal.SIGTERM in signals.recv(1):
        self._asked = self._asked or time.monotonic()

  def _live(self) -> None:
    """Gives signs of life and takes those of the others."""
    count = 0
    while not self._off.wait(EVERY):
      count += 1
      reason = self._stop.reason() or (self._asked and stop_lib.SIGTERM)
      try:
        sign = json.dumps([count, reason, self._failure, self._refusal])
        self._client.key_value_set(self._key, sign, True)
        found = self._client.key_value_dir_get('alive/')
      except Exception as error:
        self._end(f'host 0 does not answer: {error}')
        return
      for key, sign in found:
        self._hear(int(key.rpartition('/')[2]), sign)

  def _hear(self, host: int, sign: str) -> None:
    if host not in self.heard or self._signs.get(host) == sign:
      return
    self._signs[host], self.heard[host] = sign, time.monotonic()
    _, reason, failure, refusal = json.loads(sign)
    if refusal and not self._refusal:
      cli.leave(refusal, cli.BAD_INPUT)
    if reason:
      self._reasons.setdefault(host, reason)
    if reason == stop_lib.SIGTERM:
      self._asked = self._asked or time.monotonic()
    if failure:
      self.failed(failure)
      self._end(f'devices of host {host} failed: {failure["reason"]}')

  def _watch(self) -> None:
    """Looks for reasons to end the process."""
    before = time.monotonic()
    while not self._off.wait(0.25):
      now = time.monotonic()
      if now - before > SILENCE / 2:
        # This process itself was stopped, and could not hear anything.
        self.heard = dict.fromkeys(self.heard, now)
        self._moved += now - before
      before = now
      self._lulled = self._lulled or lull.now()
      self._look(now)

  def _look(self, now: float) -> None:
    limit = self._limit()
    if lost := self._silent(SILENCE):
      self._end(f'{_names(lost)} gave no sign of life for {SILENCE:.0f} s')
    elif now - self._moved > limit:
      self._end(f'no round ended in {limit:.0f} s')
    elif self._asked and not self._stopping and now - self._asked > GRACE:
      self._end(f'SIGTERM, and no round ended in {GRACE:.0f} s')

  def _limit(self) -> float:
    """Seconds that the present round may take."""
    if self._longest is None or self._lulled:
      return LULL
    return max(LEAST, TIMES * self._longest)

  def _silent(self, seconds: float) -> list[int]:
    """Hosts without a sign of life for so long."""
    now = time.monotonic()
    return [host for host, then in self.heard.items() if now - then > seconds]

  def _aborted(self) -> None:
    lost = 'host 0 was lost' if self._client else 'not all hosts came'
    self._end(f'{lost}, and JAX gave up')

  def _end(self, reason: str) -> None:
    if self._off.is_set():
      return
    if self._refusal:  # Others who have heard of it may be gone by now.
      cli.leave(self._refusal, cli.BAD_INPUT)
    line = ' '.join(f'{self._name} ends: {reason}'.split())
    os.write(sys.stderr.fileno(), f'{line}\n'.encode())
    os._exit(cli.AGAIN)


def _names(hosts: list[int]) -> str:
  return 'host ' + ' and '.join(map(str, hosts))


def _wakeups() -> socket.socket:
  """Gives the number of each signal that Python handles, at once."""
  ours, pythons = socket.socketpair()
  pythons.setblocking(False)
  signal.set_wakeup_fd(pythons.detach(), warn_on_full_buffer=False)
  return ours


def _catch_aborts(function: Callable[[], None]) -> None:
  """Calls a function where a library aborts the process.

  JAX does when the coordination service is lost, in a thread of its own. Its
  exit code would be 134, and handlers of Python's do not run in time.
  """
  global _handler  # Kept alive: C has only its address.
  _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: function())
  libc = ctypes.CDLL(None)
  libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
  libc.signal.restype = ctypes.c_void_p
  libc.signal(signal.SIGABRT, ctypes.cast(_handler, ctypes.c_void_p))
