"""Tests of a campaign's pace, on ledgers made by hand."""

import pytest

from evo import pace, rows


@pytest.fixture
def paced(leg, searched, confirmed, records, line_run):
  """Makes the pace of rounds; every leg costs 7 FLOPs."""

  def make(*rounds):
    known = records(*rounds)
    return pace.pace(rows.leg_rows(known, line_run), line_run)

  return make


def test_the_screen_claims_the_best_so_far_and_the_gate_what_held(
  paced, leg, searched, confirmed
):
  x = {'x': 0.7}
  found = paced(
    searched((leg(0), 2.0), (leg(1, x), 1.0), (leg(2, {'x': 0.8}), 1.5)),
    confirmed(3, [(2.0, 1.5), (2.2, 1.69)], x),
  )
  assert found.flops == 7 * 7
  assert found.screen == [(0, 0), (14, 1.0)]
  (_, nothing), (at, gain) = found.verified
  assert nothing == 0 and at == 49
  assert gain == pytest.approx(0.505)


def test_quarters_tell_the_gain_by_then(paced, leg, searched, confirmed):
  x = {'x': 0.7}
  found = paced(
    searched((leg(0), 2.0), (leg(1, x), 1.0), (leg(2, {'x': 0.8}), 1.5)),
    searched((leg(3), 2.0)),
    confirmed(4, [(2.0, 1.5), (2.2, 1.69)], x),
  )
  quarters = found.quarters()
  assert [q['share'] for q in quarters] == [0.25, 0.5, 0.75, 1.0]
  assert [q['screen'] for q in quarters] == [1.0, 1.0, 1.0, 1.0]
  assert [q['verified'] for q in quarters[:3]] == [0, 0, 0]
  assert quarters[3]['verified'] == pytest.approx(0.505)
  assert 'null' not in quarters[0]  # The noise was not measured.


def test_a_gate_that_is_not_passed_verifies_nothing(
  paced, leg, searched, confirmed
):
  found = paced(
    searched((leg(0), 2.0), (leg(1, {'x': 0.7}), 1.0)),
    confirmed(2, [(2.0, 2.1), (2.2, 2.0)], {'x': 0.7}),
  )
  assert found.verified == [(0, 0)] and found.confirmed == []
  assert found.round_of(1) is None


def test_tiers_count_verdicts_and_add_up_what_is_confirmed():
  changes = [
    {'tier': 'architecture', 'verdict': 'confirmed', 'effect': -0.2},
    {'tier': 'architecture', 'verdict': 'refuted', 'effect': 0.1},
    {'tier': 'objective', 'verdict': 'undecided', 'effect': None},
    {'tier': 'architecture', 'verdict': 'confirmed', 'effect': -0.1},
  ]
  first, second = pace.tiers(changes)
  assert first == {
    'tier': 'architecture',
    'changes': 3,
    'confirmed': 2,
    'refuted': 1,
    'undecided': 0,
    'gain': pytest.approx(0.3),
  }
  assert second['gain'] == 0.0 and second['undecided'] == 1


def test_a_search_without_a_baseline_claims_nothing(paced, leg, searched):
  found = paced(searched((leg(0), None), (leg(1, {'x': 0.7}), 1.0)))
  assert found.screen == [(0, 0)]


def test_a_run_stopped_before_a_leg_had_ended_has_no_pace_yet(paced, leg):
  found = paced(('search', [leg(0)], []))
  assert found.flops == 0 and found.screen == [(0, 0)]
