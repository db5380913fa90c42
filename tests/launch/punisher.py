"""What tests do to a process from within, at the points of `evo.faults`.

Given to the fixture `launch` as a prelude, which runs before the command.
"""

import itertools
import os
import pathlib
import signal
import sys
import threading
import time

import jax

from evo import faults, population, rounds

_COUNTING = threading.Lock()  # Points are passed in several threads.


def prelude(call):
  """Python that makes a call of this module in a process of its own."""
  folder = pathlib.Path(__file__).parent
  return (
    f'import sys; sys.path.append("{folder}"); import punisher; punisher.{call}'
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
        _send(number)

  faults.hook = hook


def hold_up(name, nth, path):
  """Waits where a point is passed the nth time, until a file is there."""
  left = [nth]

  def hook(passed):
    left[0] -= passed == name
    while left[0] == 0 and not os.path.exists(path):
      time.sleep(0.01)

  faults.hook = hook


def strike_after(points, seconds):
  """Kills this process so long after so many points, of whatever name."""
  left = [points]

  def end():
    time.sleep(seconds)
    _send(signal.SIGKILL)

  def hook(passed):
    del passed
    with _COUNTING:
      left[0] -= 1
      if left[0] == 0:
        threading.Thread(target=end, daemon=True).start()

  faults.hook = hook


def fail_segment(nth, host=0, times=1, **structure):
  """Has devices of a host report that they are out of memory.

  Args:
    nth: segment, counted from 1, that fails first.
    host: whose devices.
    times: segments in a row that fail.
    **structure: values of parameters; only segments of such species count.
  """
  if int(os.environ.get('JAX_PROCESS_ID', 0)) == host:
    numbers = range(nth, nth + times)
    _disturb(numbers, structure, _run_out_of_memory)


def hang_segment(nth):
  """Has the nth segment, counted from 1, never come back."""
  _disturb([nth], {}, lambda: time.sleep(10**6))


def step_clock(nth, seconds):
  """Sets the wall clock of Python where the nth point is passed."""
  left, now = [nth], time.time

  def hook(passed):
    del passed
    with _COUNTING:
      left[0] -= 1

  def stepped():
    return now() + (seconds if left[0] <= 0 else 0)

  faults.hook = hook
  time.time = stepped
  time.time_ns = lambda: int(1e9 * stepped())


def _run_out_of_memory():
  raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: injected')


def _disturb(numbers, structure, happen):
  """Lets something happen at segments of species with such a structure."""
  dispatch, segment = rounds.Rounds._dispatch, population.Population.segment
  count, working = itertools.count(1), {}

  def dispatched(self, id):
    working.clear()
    working.update(self._catalogue.species[id].structure)
    return dispatch(self, id)

  def disturbed(self, slots):
    if structure.items() <= working.items() and next(count) in numbers:
      happen()
    return segment(self, slots)

  rounds.Rounds._dispatch = dispatched
  population.Population.segment = disturbed


def _send(number):
  """Sends this process a signal and does nothing before it has come."""
  os.kill(os.getpid(), number)
  time.sleep(0.1)


def note_writes(path):
  """Writes to a file which paths Python code opens to write, makes or moves."""
  file = open(path, 'a', buffering=1)
  makers = {'os.mkdir': (0,), 'os.rename': (0, 1), 'os.link': (1,)}
  makers |= {'os.symlink': (1,), 'os.remove': (0,), 'os.rmdir': (0,)}

  def audit(event, args):
    if event == 'open':
      # Files by their number were opened before; flags are of os.open's.
      writes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
      paths = [args[0]] if writes and not isinstance(args[0], int) else []
    else:
      paths = [args[i] for i in makers.get(event, ())]
      if event in ('os.remove', 'os.rmdir') and args[1] != -1:
        paths = []  # Relative to a folder that was opened before.
    for made in paths:
      file.write(f'{os.path.abspath(os.fsdecode(made))}\n')

  sys.addaudithook(audit)
