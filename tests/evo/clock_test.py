"""Tests of the clock, with a time of its own."""

import pytest

from evo import clock, ledger, program


@pytest.fixture
def now(monkeypatch):
  time = [100.0]
  monkeypatch.setattr(clock.time, 'monotonic', lambda: time[0])
  return time


def test_searching_runs_from_the_first_dispatch_to_the_last_result(
  tmp_path, now
):
  made = clock.Clock(program.Meter(), ledger.Events(tmp_path / 'events'))
  now[0] += 5
  made.dispatched()
  assert made.speed() is None
  for _ in range(2):
    now[0] += 10
    made.collected(30.0, 50)
    made.dispatched()
  now[0] += 7
  assert made.spent()['seconds_searching'] == 20
  assert made.seconds == 32 and made.speed() == 3.0
  assert made.tokens_per_second() == 5.0


def test_what_is_compiled_in_the_first_round_is_no_part_of_the_speed(
  tmp_path, now
):
  meter = program.Meter(compiling=4.0)
  made = clock.Clock(meter, ledger.Events(tmp_path / 'events'))
  made.dispatched()
  for compiling in (30.0, 5.0):
    now[0] += 10 + compiling
    meter.compiling += compiling
    made.collected(30.0, 50)
  # Later on it is: new structures come again and again.
  assert made.spent()['seconds_searching'] == 25
  assert made.speed() == pytest.approx(60 / 25)


def test_the_speed_is_that_of_the_last_rounds(tmp_path, now):
  made = clock.Clock(program.Meter(), ledger.Events(tmp_path / 'events'))
  made.dispatched()
  for seconds in [100] * 50 + [10] * 30:
    now[0] += seconds
    made.collected(30.0, 50)
  assert made.speed() == pytest.approx(3.0)


def test_earlier_sessions_count_up_to_their_last_round(tmp_path, now):
  events = ledger.Events(tmp_path / 'events')
  events.write(
    'round', round=0, seconds=40.0, seconds_training=30.0, compilations=7
  )
  events.write('stop', seconds=99.0)
  made = clock.Clock(program.Meter(training=2.0), events)
  now[0] += 1
  assert made.seconds == 41.0 and made.spent()['seconds_training'] == 32.0
  assert made.spent()['compilations'] == 7
