"""Tests of two processes on one workdir: real searches on real files."""

import dataclasses
import json
import re
import signal
import time

import punisher
import pytest
from outcome import outcome

from launch import owner as owner_lib

IMPATIENT = 'from launch import owner; owner.PATIENCE = 1'


@pytest.fixture(scope='module')
def unbroken(launch, small, tmp_path_factory):
  """What a search comes to that nobody disturbs."""
  workdir = tmp_path_factory.mktemp('unbroken') / 'run'
  process = launch('search', *small, f'--workdir={workdir}')
  assert process.returncode == 0, process.err
  assert not (workdir / 'owner.json').exists()
  return outcome(workdir)


@pytest.fixture
def start(launch, small, tmp_path, started):
  """Starts searches in one workdir."""

  def make(*flags, **options):
    flags = [*small, f'--workdir={tmp_path}/run', *flags]
    started.append(launch('search', *flags, wait=False, **options))
    return started[-1]

  return make


def end(process):
  process.out, process.err = process.communicate(timeout=120)
  return process.returncode


def wait_until(condition):
  deadline = time.monotonic() + 120
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.01)


def wait_until_stopped(process):
  """Until the process is stopped by a signal."""
  wait_until(lambda: owner_lib._process(process.pid)[0] in 'Tt')


def content(workdir):
  """Bytes of all files, and when they were written."""
  files = [path for path in workdir.rglob('*') if path.is_file()]
  return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def test_a_second_search_is_refused_and_the_first_goes_on(
  start, tmp_path, unbroken
):
  go_on = tmp_path / 'go_on'
  call = f'hold_up("ledger.after_append", 5, "{go_on}")'
  first = start(prelude=punisher.prelude(call))
  wait_until((tmp_path / 'run/ledger/00000004.json').exists)
  second = start()
  assert end(second) == 2
  (line,) = second.err.splitlines()
  named = rf'held by process {first.pid} on .+; expected .+'
  assert re.fullmatch(f'error: --workdir={tmp_path}/run is {named}', line)
  assert not second.out
  go_on.touch()
  assert end(first) == 0
  assert outcome(tmp_path / 'run') == unbroken


COMMANDS = {
  'search': [],
  'train': ['--configuration={folder}/baseline.json'],
  'compare': ['--strategies=random,sobol', '--seeds=2'],
}


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_that_trains_refuses_a_workdir_in_use(
  launch, small, tmp_path, command
):
  space = next(flag for flag in small if flag.startswith('--space'))
  with open(space.split('=')[1]) as file:
    parameters = json.load(file)['parameters']
  baseline = {name: p['default'] for name, p in parameters.items()}
  (tmp_path / 'baseline.json').write_text(json.dumps(baseline))
  flags = [flag.format(folder=tmp_path) for flag in COMMANDS[command]]
  if command == 'train':
    own = ('--max_members', '--confirm_seeds')
    small = [flag for flag in small if not flag.startswith(own)]
  (tmp_path / 'run').mkdir()
  here = owner_lib.Holder.here()
  text = json.dumps(dataclasses.asdict(here))
  (tmp_path / 'run/owner.json').write_text(text)
  before = content(tmp_path)
  process = launch(command, *small, *flags, f'--workdir={tmp_path}/run')
  assert process.returncode == 2, process.err
  (line,) = process.err.splitlines()
  assert re.fullmatch(r'error: .+ is held by .+; expected .+', line)
  assert f'process {here.pid}' in line
  assert content(tmp_path) == before


ASLEEP = [
  'ledger.before_append',
  pytest.param('checkpoint.before_write', marks=pytest.mark.slow),
]


@pytest.mark.parametrize('point', ASLEEP)
def test_one_that_slept_through_a_takeover_wakes_and_writes_nothing(
  start, tmp_path, unbroken, point
):
  prelude = punisher.prelude(f'strike("{point}", 5, 19)')  # SIGSTOP
  sleeper = start(prelude=prelude)
  wait_until_stopped(sleeper)
  other = start(prelude=IMPATIENT)
  assert end(other) == 0, other.err
  assert f'process {sleeper.pid}' in other.err and 'resuming' in other.err
  before = content(tmp_path)
  sleeper.send_signal(signal.SIGCONT)
  assert end(sleeper) == 2, sleeper.err
  last = sleeper.err.splitlines()[-1]
  assert re.fullmatch(r'error: .+ was taken over by .+; expected .+', last)
  assert 'Traceback' not in sleeper.err
  assert content(tmp_path) == before
  assert outcome(tmp_path / 'run') == unbroken


@pytest.mark.slow
def test_one_that_wakes_beside_its_successor_ends_and_that_one_goes_on(
  start, tmp_path, unbroken
):
  prelude = punisher.prelude('strike("ledger.before_append", 5, 19)')
  sleeper = start(prelude=prelude)
  wait_until_stopped(sleeper)
  # The successor stops before the very record that the sleeper would write.
  prelude = punisher.prelude('strike("ledger.before_append", 1, 19)')
  other = start(prelude=f'{prelude}; {IMPATIENT}')
  wait_until_stopped(other)
  sleeper.send_signal(signal.SIGCONT)
  assert end(sleeper) == 2, sleeper.err
  assert f'taken over by process {other.pid}' in sleeper.err
  other.send_signal(signal.SIGCONT)
  assert end(other) == 0, other.err
  assert outcome(tmp_path / 'run') == unbroken
