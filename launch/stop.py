"""Reasons to stop at the end of a round: signals and a file."""

import contextlib
import signal
import sys
import threading
import time
from typing import Any

from etils import epath

from evo import failure, storage
from launch import cli, early

SIGTERM = 'sigterm'

# Seconds between two looks at a bucket.
_EVERY = 5.0


class StopSignals:
  """Catches Ctrl-C and SIGTERM; a second one stops at once."""

  def __init__(self, workdir: epath.Path):
    """Begins to catch them.

    Args:
      workdir: where the file is looked for; in a bucket by a thread of its own,
        for whoever asks must not wait for storage.
    """
    self._file, self._there = workdir / 'STOP', False
    self._remote = storage.is_remote(workdir)
    if self._remote:
      threading.Thread(target=self._look, daemon=True).start()
    self._reason: str | None = None
    signal.signal(signal.SIGINT, self._catch)
    signal.signal(signal.SIGTERM, self._catch)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, early.HELD)

  def reason(self) -> str | None:
    """`sigterm`, `interrupted`, `stop_file` or None."""
    if self._reason:
      return self._reason
    there = self._there if self._remote else self._file.exists()
    return 'stop_file' if there else None

  def _look(self) -> None:
    while not self._there:
      time.sleep(_EVERY)
      # Where storage does not answer, the loop hears of it by itself.
      with contextlib.suppress(failure.Outage, OSError):
        self._there = self._file.exists()

  def _catch(self, number: int, frame: Any) -> None:
    del frame
    if self._reason:
      # Whoever asks twice by hand does not want it to be started again.
      by_hand = self._reason != SIGTERM and number == signal.SIGINT
      sys.exit(0 if by_hand else cli.AGAIN)
    self._reason = SIGTERM if number == signal.SIGTERM else 'interrupted'
    print('stopping at the end of this round', file=sys.stderr)
