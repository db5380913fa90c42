"""Tests of what `launch.status` says."""

import dataclasses
import json
import subprocess
import sys

import pytest

from evo import ledger
from launch import owner, status


@pytest.fixture
def run(line_run):
  """The content of run.json."""
  return line_run | {
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


@pytest.fixture
def search(leg, searched):
  """A round in which member 1 beats the baseline."""
  return searched((leg(0), 2.0), (leg(1, {'x': 0.7}), 1.0))


@pytest.fixture
def write(tmp_path, run, records):
  """Writes a workdir; events are (second of the day, kind, values)."""

  def make(*rounds, events=(), run=run):
    (tmp_path / 'run.json').write_text(json.dumps(run))
    book = ledger.Ledger(tmp_path / 'ledger')
    for record in records(*rounds):
      book.append(record)
    lines = [
      json.dumps({'time': time, 'event': kind, 'round': 0} | values)
      for time, kind, values in events
    ]
    (tmp_path / 'events.jsonl').write_text('\n'.join(lines))
    return status.read(tmp_path)

  return make


def told(state, now):
  """Lines of the description by their name."""
  lines = status.describe(state, now).splitlines()
  return {line[:10].strip(): line[10:] for line in lines}


START = (0.0, 'start', {})


def test_a_run_that_just_started_has_no_records(tmp_path, run):
  (tmp_path / 'run.json').write_text(json.dumps(run))
  said = told(status.read(tmp_path), 0.0)
  assert said['state'].startswith('starting')
  assert said['next'].endswith('touch runs/x/STOP')
  assert 'phase' not in said


def test_a_run_at_work_tells_how_far_it_is(write, search, leg):
  events = [
    START,
    (10.0, 'round', {'seconds': 10.0}),
    (20.0, 'round', {'seconds': 20.0}),
  ]
  going = leg(2)
  state = write(search, ('search', [going], []), events=events)
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


def test_runs_at_a_larger_scale_are_spent_too(write, search, records, tmp_path):
  book = ledger.Ledger(tmp_path / 'transfer/champion-1/ledger')
  for record in records(search):
    book.append(record)
  assert told(write(search), 0.0)['spent'] == '12 tokens, 28 FLOPs'


def test_heirs_cost_less_in_the_estimate(write, leg, searched):
  root = leg(0, stop=5, keep=True)
  child = leg(1, start=5, source=[0, 5])
  events = [
    START,
    (5.0, 'round', {'seconds': 5.0}),
    (7.0, 'round', {'seconds': 7.0}),
  ]
  rounds = (searched((root, None)), searched((child, 1.0)))
  state = write(*rounds, events=events)
  # Members cost 1 and a half, so .75 on average; 14 FLOPs in 7 seconds.
  assert status.remaining(state) == pytest.approx((7 * (3 + 4) - 14) / 2)


def test_a_bound_on_minutes_is_what_is_left_of_them(write, search, run):
  flags = run['flags'] | {'max_members': 0, 'max_minutes': 2}
  events = [START, (30.0, 'round', {'seconds': 30.0})]
  state = write(search, events=events, run=run | {'flags': flags})
  assert status.remaining(state) == 90.0


def test_a_silent_run_was_killed_or_is_stuck(write, search):
  events = [START, (10.0, 'round', {'seconds': 10.0})]
  state = write(search, events=events)
  assert told(state, 100.0)['state'].startswith('running')
  said = told(state, 1000.0)
  assert said['state'] == 'silent for 16.5 min: killed, or stuck'
  assert said['next'] == 'to go on: python -m launch.search --workdir=runs/x'
  assert 'left' not in said


def test_long_rounds_make_it_patient(write, search):
  events = [START, (300.0, 'round', {'seconds': 300.0})]
  state = write(search, events=events)
  assert told(state, 1300.0)['state'].startswith('running')


def test_a_finished_run_shows_the_gain(write, search, confirmed):
  events = [START, (90.0, 'stop', {'seconds': 90.0, 'reason': 'max_members'})]
  trial = confirmed(2, [(2.0, 1.5), (2.2, 1.9)])
  said = told(write(search, trial, events=events), 95.0)
  assert said['state'] == (
    'stopped 5 s ago: the bound on members was reached (--max_members)'
  )
  assert said['phase'] == 'confirm, 2 rounds done'
  assert said['gain'].startswith('+0.4000 [-0.8706, +1.6706] from 2 fresh')
  assert said['next'] == 'finished: read runs/x/report.md'


@pytest.mark.parametrize(
  'reason, text', [('sigterm', 'to go on: python'), ('stop_file', 'rm runs/x')]
)
def test_a_stopped_run_says_how_to_go_on(reason, text, write, search):
  events = [START, (9.0, 'stop', {'seconds': 9.0, 'reason': reason})]
  assert text in told(write(search, events=events), 10.0)['next']


@pytest.mark.parametrize(
  'values, text',
  [
    ({}, 'at work'),
    ({'boot': 'an earlier one'}, 'dead'),
    ({'host': 'elsewhere'}, 'on another host, or stopped'),
  ],
)
def test_who_holds_the_workdir_is_named(values, text, tmp_path, write, search):
  holder = dataclasses.replace(owner.Holder.here(), **values)
  content = json.dumps(dataclasses.asdict(holder))
  (tmp_path / 'owner.json').write_text(content)
  said = told(write(search, events=[START]), 10.0)
  assert said['holder'] == f'process {holder.pid} on {holder.host}: {text}'
  (tmp_path / 'owner.json').unlink()
  assert 'holder' not in told(status.read(tmp_path), 10.0)


def test_a_torn_event_is_left_out(tmp_path, write, search):
  write(search, events=[START])
  with (tmp_path / 'events.jsonl').open('a') as file:
    file.write('\n{"time": 3, "ev')
  assert len(status.read(tmp_path).events) == 1


def test_nothing_is_written(make_campaign, describe, tmp_path):
  campaign = make_campaign(tmp_path)
  campaign.run()
  run = describe(campaign, tmp_path)
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


def test_the_command_answers_without_jax(tmp_path, write, search):
  write(search, events=[START])
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
