"""Tests of what `launch.status` says."""

import json
import subprocess
import sys

import pytest

from evo import ledger
from launch import status
from tests.evo import result_test

RUN = result_test.RUN | {
  'flags': {
    'workdir': 'runs/x',
    'strategy': 'evolution',
    'max_members': 4,
    'max_flops': None,
    'max_minutes': None,
    'confirm_seeds': 2,
  },
  'flops_per_member': 7.0,
  'command': 'python -m launch.search --workdir=runs/x',
}
leg, searched = result_test.leg, result_test.searched
SEARCH = searched((leg(0), 2.0), (leg(1, result_test.OTHER), 1.0))
CONFIRM = result_test.confirmed(2, [(2.0, 1.5), (2.2, 1.9)])


def write(folder, *rounds, events=(), run=RUN):
  """A workdir; events are (second of the day, kind, values)."""
  (folder / 'run.json').write_text(json.dumps(run))
  book = ledger.Ledger(folder / 'ledger')
  for record in result_test.records(*rounds):
    book.append(record)
  lines = [
    json.dumps({'time': time, 'event': kind} | values)
    for time, kind, values in events
  ]
  (folder / 'events.jsonl').write_text('\n'.join(lines))
  return status.read(folder)


def told(state, now):
  """Lines of the description by their name."""
  lines = status.describe(state, now).splitlines()
  return {line[:10].strip(): line[10:] for line in lines}


START = (0.0, 'start', {})


def test_a_run_that_just_started_has_no_records(tmp_path):
  (tmp_path / 'run.json').write_text(json.dumps(RUN))
  said = told(status.read(tmp_path), 0.0)
  assert said['state'].startswith('starting')
  assert said['next'].endswith('touch runs/x/STOP')
  assert 'phase' not in said


def test_a_run_at_work_tells_how_far_it_is(tmp_path):
  events = [
    START,
    (10.0, 'round', {'seconds': 10.0}),
    (20.0, 'round', {'seconds': 20.0}),
  ]
  going = leg(2)
  state = write(tmp_path, SEARCH, ('search', [going], []), events=events)
  said = told(state, 25.0)
  assert said['state'] == 'running; last sign of life 5 s ago'
  assert said['phase'] == 'search, 2 rounds done'
  assert said['members'] == '3 started, 2 finished, 0 failed; at most 4'
  assert said['best'] == (
    '1.0000 bpb (member 1); baseline 2.0000; lower is better'
  )
  assert said['spent'] == '6 tokens, 14 FLOPs'
  assert said['time'] == '20 s'
  # 4 members and 4 runs to confirm at 7 FLOPs, less 14; at 14 in 20 seconds.
  assert status.remaining(state) == pytest.approx((8 * 7 - 14) / (14 / 20))
  assert said['left'].startswith('about ')


def test_heirs_cost_less_in_the_estimate(tmp_path):
  root = leg(0, stop=5, keep=True)
  child = leg(1, start=5, source=[0, 5])
  events = [
    START,
    (5.0, 'round', {'seconds': 5.0}),
    (7.0, 'round', {'seconds': 7.0}),
  ]
  rounds = (searched((root, None)), searched((child, 1.0)))
  state = write(tmp_path, *rounds, events=events)
  # Members cost 1 and a half, so .75 on average; 14 FLOPs in 7 seconds.
  assert status.remaining(state) == pytest.approx((7 * (3 + 4) - 14) / 2)


def test_a_bound_on_minutes_is_what_is_left_of_them(tmp_path):
  run = RUN | {'flags': RUN['flags'] | {'max_members': 0, 'max_minutes': 2}}
  events = [START, (30.0, 'round', {'seconds': 30.0})]
  state = write(tmp_path, SEARCH, events=events, run=run)
  assert status.remaining(state) == 90.0


def test_a_silent_run_was_killed_or_is_stuck(tmp_path):
  events = [START, (10.0, 'round', {'seconds': 10.0})]
  state = write(tmp_path, SEARCH, events=events)
  assert told(state, 100.0)['state'].startswith('running')
  said = told(state, 1000.0)
  assert said['state'] == 'silent for 16.5 min: killed, or stuck'
  assert said['next'] == 'to go on: python -m launch.search --workdir=runs/x'
  assert 'left' not in said


def test_long_rounds_make_it_patient(tmp_path):
  events = [START, (300.0, 'round', {'seconds': 300.0})]
  state = write(tmp_path, SEARCH, events=events)
  assert told(state, 1300.0)['state'].startswith('running')


def test_a_finished_run_shows_the_gain(tmp_path):
  events = [START, (90.0, 'stop', {'seconds': 90.0, 'reason': 'max_members'})]
  said = told(write(tmp_path, SEARCH, CONFIRM, events=events), 95.0)
  assert said['state'] == (
    'stopped 5 s ago: the bound on members was reached (--max_members)'
  )
  assert said['phase'] == 'confirm, 2 rounds done'
  assert said['gain'].startswith('+0.4000 [-0.8706, +1.6706] from 2 fresh')
  assert said['next'] == 'finished: read runs/x/report.md'


@pytest.mark.parametrize(
  'reason, text', [('sigterm', 'to go on: python'), ('stop_file', 'rm runs/x')]
)
def test_a_stopped_run_says_how_to_go_on(tmp_path, reason, text):
  events = [START, (9.0, 'stop', {'seconds': 9.0, 'reason': reason})]
  assert text in told(write(tmp_path, SEARCH, events=events), 10.0)['next']


def test_a_torn_event_is_left_out(tmp_path):
  write(tmp_path, SEARCH, events=[START])
  with (tmp_path / 'events.jsonl').open('a') as file:
    file.write('\n{"time": 3, "ev')
  assert len(status.read(tmp_path).events) == 1


def test_nothing_is_written(make_campaign, tmp_path):
  campaign = make_campaign(tmp_path)
  campaign.run()
  run = result_test.describe(campaign, tmp_path)
  (tmp_path / 'run.json').write_text(json.dumps(run))
  before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')}
  said = told(status.read(tmp_path), 0.0)
  assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')} == before
  assert said['members'].startswith('12 started, 12 finished')
  assert 'gain' in said


def test_a_folder_without_a_run_is_bad_input(tmp_path):
  with pytest.raises(ValueError, match=r'expected a folder with run\.json'):
    status.read(tmp_path)
  done = subprocess.run(
    [sys.executable, '-m', 'launch.status', f'--workdir={tmp_path}/x'],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  assert done.stdout == ''
  assert done.stderr == (
    f'error: workdir is {tmp_path}/x; expected a folder with run.json\n'
  )


def test_the_command_answers_without_jax(tmp_path):
  write(tmp_path, SEARCH, events=[START])
  code = (
    'import sys\n'
    'from launch import cli, status\n'
    f'sys.argv = ["status", "--workdir={tmp_path}"]\n'
    'try:\n'
    '  status.run()\n'
    'finally:\n'
    '  print("jax" in sys.modules)\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[-1] == 'False'
  assert done.stdout.startswith('run ')
