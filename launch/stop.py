"""Reasons to stop at the end of a round: signals and a file."""

import pathlib
import signal
import sys
from typing import Any

from launch import cli

SIGTERM = 'sigterm'


class StopSignals:
  """Catches Ctrl-C and SIGTERM; a second one stops at once."""

  def __init__(self, workdir: pathlib.Path):
    self._file = workdir / 'STOP'
    self._reason: str | None = None
    signal.signal(signal.SIGINT, self._catch)
    signal.signal(signal.SIGTERM, self._catch)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

  def reason(self) -> str | None:
    """`sigterm`, `interrupted`, `stop_file` or None."""
    return self._reason or ('stop_file' if self._file.exists() else None)

  def _catch(self, number: int, frame: Any) -> None:
    del frame
    if self._reason:
      sys.exit(cli.AGAIN)
    self._reason = SIGTERM if number == signal.SIGTERM else 'interrupted'
    print('stopping at the end of this round', file=sys.stderr)
