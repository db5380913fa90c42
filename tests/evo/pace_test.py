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


@pytest.fixture
def in_cycles(leg, searched, confirmed, records, line_run):
  """Makes the pace of rounds of which each is given with its cycle."""

  def make(*rounds):
    known = records(*(round for _, round in rounds))
    for record, (cycle, _) in zip(known, rounds, strict=True):
      record['cycle'] = cycle
    return pace.pace(rows.leg_rows(known, line_run), line_run)

  return make


@pytest.fixture
def against_both(leg, ended):
  """Makes a gate of a later cycle: (baseline, stack, champion) by seed."""

  def make(first, losses, stack, champion):
    legs, results = [], []
    values = {'baseline': None, 'stack': stack, 'champion': champion}
    for i, triple in enumerate(losses):
      for j, (arm, loss) in enumerate(zip(values, triple, strict=True)):
        own = {'seed': 80 + i, 'arm': arm, 'splits': ['confirm', 'search']}
        begun = leg(first + 3 * i + j, values[arm], **own)
        legs.append(begun)
        results.append(ended(begun, loss, loss))
    return 'confirm', legs, results

  return make


@pytest.mark.parametrize('champion,total', [(1.0, 1.2), (1.5, 0.7)])
def test_a_later_gate_measures_the_total_anew(
  in_cycles, leg, searched, confirmed, against_both, champion, total
):
  x, better = {'x': 0.7}, {'x': 0.9}
  triples = [(2.2 + s, 1.5 + s, champion + 1.01 * s) for s in (0.0, 0.1)]
  found = in_cycles(
    (0, searched((leg(0), 2.0), (leg(1, x), 1.0))),
    # The first champion seems to gain 1, of which .7 are found again.
    (0, confirmed(2, [(2.0, 1.0), (2.2, 1.201)], x)),
    (1, searched((leg(6, x), 1.0), (leg(7, better), 0.5))),
    (1, against_both(8, triples, x, better)),
  )
  gains = [gain for _, gain in found.verified]
  # Passed, it is the champion's over the first baseline; else the stack's.
  assert gains == pytest.approx([0.0, 0.9995, total], abs=1e-3)


def test_without_the_noise_of_pairs_there_is_no_band(
  leg, ended, searched, records, line_run
):
  legs, results = [], []
  for i in range(8):
    own = {'seed': 40 + i, 'arm': 'baseline', 'splits': ['confirm', 'search']}
    legs.append(leg(i - 8, **own))
    results.append(ended(legs[-1], 2.0 + i, 2.0 + i))
  known = records(
    ('calibrate', legs, results),
    searched((leg(0), 2.0), (leg(1, {'x': 0.7}), 1.0)),
  )
  found = pace.pace(rows.leg_rows(known, line_run), line_run)
  assert found.null == found.null_high == []
