"""Tests of searches that something happens to: real processes.

The oracle is the search that nothing happens to: the same to the bit.
"""

import itertools
import json
import os
import signal

import punisher
import pytest
from outcome import outcome, read

from evo import ledger as ledger_lib
from launch import cli

HOUR = 3600.0
# A segment that fails, by the depth of its members.
DEEP = 2
IMPATIENT = 'from launch import watchdog; watchdog.LEAST = 3.0'


@pytest.fixture(scope='module')
def unbroken(launch, small, tmp_path_factory):
  """What the small search comes to."""
  workdir = tmp_path_factory.mktemp('unbroken') / 'run'
  process = launch('search', *small, f'--workdir={workdir}')
  assert process.returncode == 0, process.err
  return outcome(workdir)


@pytest.mark.parametrize('hours', [pytest.param(-1, marks=pytest.mark.slow), 1])
def test_a_clock_that_is_set_by_an_hour_changes_nothing(
  launch, small, unbroken, tmp_path, hours
):
  step = punisher.prelude(f'step_clock(20, {hours * HOUR})')
  flags = [*small, f'--workdir={tmp_path}/run']
  process = launch('search', *flags, prelude=step)
  assert process.returncode == 0, process.err
  times = [e['time'] for e in events(tmp_path / 'run')]
  steps = [after - before for before, after in itertools.pairwise(times)]
  assert max(steps, key=abs) == pytest.approx(hours * HOUR, abs=60)
  assert outcome(tmp_path / 'run') == unbroken
  result = read(tmp_path / 'run/result.json')
  assert 0 < result['seconds'] < 300


@pytest.mark.slow
def test_a_bound_on_minutes_does_not_hear_of_it(launch, small, tmp_path):
  step = punisher.prelude(f'step_clock(20, {HOUR})')
  flags = [*small, f'--workdir={tmp_path}/run', '--max_minutes=30']
  flags += ['--phases=search', '--max_members=8', '--confirm_seeds=0']
  process = launch('search', *flags, prelude=step)
  assert process.returncode == 0, process.err
  result = read(tmp_path / 'run/result.json')
  assert result['stop_reason'] == 'max_members'


@pytest.mark.slow
@pytest.mark.parametrize('years', [-30, 30])
def test_a_search_goes_on_whatever_the_times_of_its_files(
  launch, small, unbroken, tmp_path, years
):
  flags = [*small, f'--workdir={tmp_path}/run']
  strike = punisher.prelude('strike("ledger.before_append", 12)')
  process = launch('search', *flags, prelude=strike)
  assert process.returncode == -signal.SIGKILL
  paths = sorted((tmp_path / 'run').rglob('*'))
  assert paths
  for i, path in enumerate(paths):
    then = path.stat().st_mtime + years * 365 * 24 * HOUR - i
    os.utime(path, (then, then))
  step = punisher.prelude(f'step_clock(0, {years * 365 * 24 * HOUR})')
  process = launch('search', *flags, prelude=step)
  assert process.returncode == 0, process.err
  assert outcome(tmp_path / 'run') == unbroken


def test_a_step_that_hangs_is_given_up_and_tried_again(
  launch, small, unbroken, tmp_path
):
  flags = [*small, f'--workdir={tmp_path}/run']
  hang = f'{punisher.prelude("hang_segment(12)")}; {IMPATIENT}'
  process = launch('search', *flags, prelude=hang, timeout=60)
  assert process.returncode == cli.AGAIN, process.err
  assert 'no round ended in ' in process.err.splitlines()[-1]
  process = launch('search', *flags)
  assert process.returncode == 0, process.err
  assert outcome(tmp_path / 'run') == unbroken


def events(workdir):
  return ledger_lib.Events(workdir / 'events.jsonl').read()


@pytest.fixture(scope='module')
def depths(small, tmp_path_factory):
  """Flags of a search at random among members of one layer and of two."""
  space = read(next(f for f in small if '--space' in f).split('=')[1])
  space['parameters']['depth'] |= {'low': 1, 'high': DEEP}
  space['free'] = [*space['free'], 'depth']
  path = tmp_path_factory.mktemp('depths') / 'space.json'
  path.write_text(json.dumps(space))
  tiers = '--tiers=configuration,architecture'
  return [*small, f'--space={path}', tiers, '--strategy=random']


@pytest.fixture(scope='module')
def deep(launch, depths, tmp_path_factory):
  """That search, unbroken; some of its members are deep and some are not."""
  workdir = tmp_path_factory.mktemp('deep') / 'run'
  process = launch('search', *depths, f'--workdir={workdir}')
  assert process.returncode == 0, process.err
  found = {
    member['configuration']['depth'] for member in ends(workdir).values()
  }
  assert found == {1, DEEP}
  return workdir


def ends(workdir):
  """What came of each member of the search, by id."""
  lines = (workdir / 'ledger.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  told = ('configuration', 'seed', 'status', 'bpb', 'flops', 'tokens')
  return {
    row['member']: {key: row[key] for key in told}
    for row in rows
    if row['phase'] == 'search'
  }


@pytest.mark.slow
def test_what_runs_out_of_memory_once_is_tried_again(
  launch, depths, deep, tmp_path
):
  flags = [*depths, f'--workdir={tmp_path}/run']
  fail = punisher.prelude(f'fail_segment(3, depth={DEEP})')
  process = launch('search', *flags, prelude=fail)
  assert process.returncode == cli.AGAIN
  assert 'injected: the same command tries it once more' in process.err
  process = launch('search', *flags)
  assert process.returncode == 0, process.err
  assert outcome(tmp_path / 'run') == outcome(deep)


@pytest.mark.slow
def test_what_runs_out_of_memory_twice_is_infeasible_and_the_others_are_the_same(
  launch, depths, deep, tmp_path
):
  flags = [*depths, f'--workdir={tmp_path}/run']
  # There is no checkpoint yet: the third segment is the same one each time.
  fail = punisher.prelude(f'fail_segment(3, times=99, depth={DEEP})')
  for _ in range(2):
    process = launch('search', *flags, prelude=fail)
    assert process.returncode == cli.AGAIN, process.err
  process = launch('search', *flags, prelude=fail)
  assert process.returncode == 0, process.err
  expected = ends(deep)
  for member, found in ends(tmp_path / 'run').items():
    if found['configuration']['depth'] == DEEP:
      assert found['status'] == 'infeasible' and found['bpb'] is None
      assert found['flops'] < expected[member]['flops']
    else:
      assert found == expected[member]
  failed = [e for e in events(tmp_path / 'run') if e['event'] == 'failed']
  assert len(failed) == 2
