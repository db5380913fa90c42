"""Tests of the signals that stop a command, in processes of their own."""

import signal
import subprocess
import sys

import pytest

TWICE = """
import os, sys
from etils import epath
from launch import stop

signals = stop.StopSignals(epath.Path(sys.argv[1]))
for number in map(int, sys.argv[2:]):
  os.kill(os.getpid(), number)
  assert signals.reason() == {2: 'interrupted', 15: 'sigterm'}[int(sys.argv[2])]
"""
HELD = """
import signal, sys
sys.argv = [sys.argv[1]]
import launch.{name}
held = signal.pthread_sigmask(signal.SIG_BLOCK, [])
print(sorted(held & {{signal.SIGINT, signal.SIGTERM}}))
"""
INTERRUPTED = """
from launch import sample
def main(argv):
  raise KeyboardInterrupt
sample.main = main
sample.run()
"""


def run(code, *args):
  return subprocess.run(
    [sys.executable, '-c', code, *map(str, args)],
    capture_output=True,
    text=True,
  )


@pytest.mark.parametrize(
  ('signals', 'code'),
  [
    ([signal.SIGINT], 0),
    ([signal.SIGTERM], 0),
    ([signal.SIGINT, signal.SIGINT], 0),
    ([signal.SIGTERM, signal.SIGTERM], 42),
    ([signal.SIGINT, signal.SIGTERM], 42),
    ([signal.SIGTERM, signal.SIGINT], 42),
  ],
)
def test_a_second_signal_ends_it_to_be_started_again_unless_it_is_by_hand(
  tmp_path, signals, code
):
  process = run(TWICE, tmp_path, *(number.value for number in signals))
  assert process.returncode == code, process.stderr


@pytest.mark.parametrize('name', ['search', 'train', 'replay', 'compare'])
def test_signals_wait_while_a_command_is_imported(name):
  own = run(HELD.format(name=name), f'/usr/bin/evo-{name}')
  assert own.returncode == 0, own.stderr
  assert own.stdout.count('SIG') == 2
  another = run(HELD.format(name=name), '/usr/bin/pytest')
  assert another.stdout == '[]\n'


def test_a_command_that_is_interrupted_says_so_and_is_no_failure():
  process = run(INTERRUPTED)
  assert process.returncode == 0 and process.stderr == 'interrupted\n'
