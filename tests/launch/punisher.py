"""What tests do to a process from within, at the points of `evo.faults`.

Given to the fixture `launch` as a prelude, which runs before the command.
"""

import os
import signal
import threading
import time

from evo import faults

_COUNTING = threading.Lock()  # Points are passed in several threads.


def prelude(call):
  """Python that makes a call of this module in a process of its own."""
  return (
    'import sys; sys.path.append("tests/launch");'
    f' import punisher; punisher.{call}'
  )


def note(path):
  """Writes the name of each point that is passed to a file."""

  def hook(name):
    with _COUNTING, open(path, 'a') as file:
      file.write(f'{name}\n')

  faults.hook = hook


def strike(name, nth=1, number=signal.SIGKILL):
  """Sends this process a signal where it passes a point the nth time."""
  left = [nth]

  def hook(passed):
    with _COUNTING:
      left[0] -= passed == name
      if left[0] == 0 and passed == name:
        os.kill(os.getpid(), number)

  faults.hook = hook


def strike_after(points, seconds):
  """Kills this process so long after so many points, of whatever name."""
  left = [points]

  def end():
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)

  def hook(passed):
    del passed
    with _COUNTING:
      left[0] -= 1
      if left[0] == 0:
        threading.Thread(target=end, daemon=True).start()

  faults.hook = hook
