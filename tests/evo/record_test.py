"""Tests that records of others are looked at before they are believed."""

import copy

import pytest

from evo import record as record_lib

SEGMENTS = 10


@pytest.fixture
def rounds(records, leg, ended):
  """A member that is trained in two legs, and one beside it that goes on."""
  first, beside = leg(0, stop=2), leg(1, stop=4)
  second = leg(0, start=2, stop=4)
  found = records(
    ('search', [first, beside], []),
    ('search', [], [ended(first)]),
    ('search', [second], []),
    ('search', [], [ended(second), ended(beside)]),
  )
  return found


def put(value, path, new):
  value = inner = copy.deepcopy(value)
  for key in path[:-1]:
    inner = inner[key]
  inner[path[-1]] = new
  return value


def test_sound_records_pass(rounds):
  record_lib.check(rounds, SEGMENTS)
  record_lib.check([], SEGMENTS)


@pytest.mark.parametrize(
  'path, new, said',
  [
    ((1, 'round'), 2, 'round 1.round is 2; expected 1'),
    ((0, 'legs'), None, r'round 0.legs is null; expected a list'),
    (
      (0, 'legs', 1, 'member'),
      0,
      r'legs\[1\].member is 0; expected a member no',
    ),
    ((0, 'legs', 0, 'start'), 1, r'legs\[0\].start is 1; expected 0'),
    (
      (0, 'legs', 0, 'stop'),
      11,
      r'stop is 11; expected more than 0 and at most',
    ),
    ((0, 'legs', 0, 'stop'), 1, r'expected a result of member 0, which ended'),
    ((0, 'legs', 0, 'configuration'), {'x': []}, r'configuration.x is \[\]'),
    (
      (2, 'legs', 0, 'source'),
      [7, 2],
      'expected a state that a leg before left',
    ),
    (
      (2, 'legs', 0, 'source'),
      [0, 1],
      'expected a state that a leg before left',
    ),
    ((1, 'results'), [], 'round 1.results .* expected a result of member 0'),
    ((1, 'results', 0, 'member'), 5, 'member is 5; expected a member at work'),
    ((1, 'results', 0, 'stop'), 1, 'stop is 1; expected from 2 to 2'),
    ((1, 'results', 0, 'status'), 'fine', 'status is "fine"; expected one of'),
    ((1, 'results', 0, 'metrics'), {'search': 1.0}, r'expected losses on \[\]'),
    ((1, 'results', 0, 'flops'), -1.0, 'flops is -1.0; expected a number in'),
  ],
)
def test_what_makes_no_sense_is_named(rounds, path, new, said):
  with pytest.raises(ValueError, match=f'^round {path[0]}.*{said}|{said}'):
    record_lib.check(put(rounds, path, new), SEGMENTS)


def test_an_earlier_version_is_recognised(rounds):
  del rounds[0]['turn']
  with pytest.raises(ValueError, match="no 'turn', since an earlier version"):
    record_lib.check(rounds, SEGMENTS)


def test_what_a_run_goes_on_by_is_looked_at(rounds):
  with pytest.raises(ValueError, match=r'round 0\.decided is missing'):
    record_lib.check_decisions(rounds)
  sound = {'decided': {}, 'split': {}, 'plan': None, 'checkpoint': None}
  sound |= {'asked': {'n': 2, 'fresh': None, 'species': 1}}
  record_lib.check_decisions([record | sound for record in rounds])
