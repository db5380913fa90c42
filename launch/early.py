"""Signals that come while a command is still being imported."""

import pathlib
import signal
import sys

HELD = {signal.SIGINT, signal.SIGTERM}


def is_command(name: str) -> bool:
  """Whether the module of this name is the command that the process runs."""
  # A console script imports it.
  script = pathlib.Path(sys.argv[0]).name
  return name == '__main__' or script == name.replace('launch.', 'evo-')


def hold() -> None:
  """Holds Ctrl-C and SIGTERM back until `stop.StopSignals` can answer them.

  Imports take seconds, in which they would end the process another way.
  """
  signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
