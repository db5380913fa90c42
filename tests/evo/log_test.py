"""Tests of texts that grow."""

import pytest

from evo import log


@pytest.fixture(params=['disk', 'bucket'])
def place(request, tmp_path):
  """A log that is not there."""
  if request.param == 'disk':
    return f'{tmp_path}/run/events'
  request.getfixturevalue('bucket')
  return 'gs://bucket/run/events'


def test_lines_come_back_in_order(place):
  assert log.Log(place).read() == ''
  for start in (0, 5):  # Another process goes on.
    growing = log.Log(place)
    for i in range(start, start + 5):
      growing.append(f'line {i}')
  assert log.Log(place).read() == ''.join(f'line {i}\n' for i in range(10))


def test_two_that_append_lose_nothing(place):
  one, other = log.Log(place), log.Log(place)
  for i in range(4):
    one.append(f'one {i}')
    other.append(f'other {i}')
  lines = log.Log(place).read().splitlines()
  assert sorted(lines) == sorted(
    f'{name} {i}' for name in ('one', 'other') for i in range(4)
  )


def test_a_line_torn_by_a_full_disk_spoils_no_other(tmp_path):
  (tmp_path / 'events').write_text('one\ntw')
  log.Log(tmp_path / 'events').append('three')
  assert log.Log(tmp_path / 'events').read().splitlines() == [
    'one',
    'tw',
    'three',
  ]


def test_in_a_bucket_it_grows_piece_by_piece(bucket, monkeypatch):
  monkeypatch.setattr(log, '_FULL', 100)
  lines = [f'{i:030d}' for i in range(10)]
  for half in (lines[:5], lines[5:]):
    growing = log.Log('gs://bucket/events')
    for line in half:
      growing.append(line)
  assert len(bucket.names('events/')) == 4
  assert log.Log('gs://bucket/events').read().split() == lines


def test_a_line_whose_answer_was_lost_stands_once(bucket):
  growing = log.Log('gs://bucket/events')
  growing.append('first')
  bucket.lose_every = 1
  growing.append('second')
  assert log.Log('gs://bucket/events').read() == 'first\nsecond\n'
