"""Tests of lineages and of the confirmation."""

import math

import pytest

from evo import member, verification

A, B, C = {'x': 0.0}, {'x': 1.0}, {'x': 2.0}


def leg(i, configuration, source, start, stop):
  return member.Leg(i, None, configuration, source, start, stop, seed=0)


def finish(leg, losses):
  metrics = dict(zip(leg.splits, losses))
  ok = all(math.isfinite(loss) for loss in losses)
  status = member.OK if ok else member.DIVERGED
  return member.Result(leg, status, metrics if ok else {}, stop=leg.stop)


def test_a_lineage_is_followed_through_exploits_to_its_start():
  legs = [
    leg(0, A, None, 0, 2),
    leg(1, B, None, 0, 2),
    leg(1, B, (1, 2), 2, 4),
    leg(2, C, (0, 2), 2, 4),
    leg(3, A, (2, 4), 4, 6),
    leg(2, C, (2, 4), 4, 6),
  ]
  schedule = verification.lineage_schedule(legs, 3, 6)
  assert [(p.configuration, p.stop) for p in schedule] == [
    (A, 2),
    (C, 4),
    (A, 6),
  ]


def test_a_constant_trains_its_configuration_for_the_whole_budget():
  ((piece,),) = verification.constants({'stack': A}, 7).values()
  assert (piece.configuration, piece.stop) == (A, 7)


def test_equal_neighbours_are_one_piece():
  legs = [leg(0, A, None, 0, 2), leg(0, A, (0, 2), 2, 4)]
  assert verification.lineage_schedule(legs, 0, 4) == verification.constant(
    A, 4
  )


def make(champion=None, seeds=(11, 12, 13)):
  return verification.Confirmation(
    {
      'baseline': verification.constant(A, 4),
      'champion': champion or verification.constant(B, 4),
    },
    seeds=list(seeds),
    first_member=20,
    splits=('confirm', 'search'),
  )


def test_the_runs_of_a_pair_share_their_seed_and_start_fresh():
  legs = make().ask(10)
  assert [leg.seed for leg in legs] == [11, 11, 12, 12, 13, 13]
  assert [leg.configuration for leg in legs] == [A, B] * 3
  assert {(leg.source, leg.start, leg.stop) for leg in legs} == {(None, 0, 4)}
  assert [leg.member for leg in legs] == list(range(20, 26))


def test_a_schedule_is_replayed_piece_by_piece_and_scored_at_its_end():
  pieces = (verification.Piece(A, 1), verification.Piece(B, 4))
  confirmation = make(champion=pieces)
  legs = confirmation.ask(10)
  assert legs[1].stop == 1 and legs[1].splits == ()
  confirmation.tell([finish(leg, (0.0, 0.0)) for leg in legs])
  (more, *_) = confirmation.ask(10)
  assert more.source == (more.member, 1) and more.goes_on
  assert more.configuration == B and more.splits == ('confirm', 'search')
  assert more.seed == legs[1].seed


def test_the_gain_is_baseline_minus_champion_on_the_first_split():
  confirmation = make()
  legs = confirmation.ask(4) + confirmation.ask(4)
  losses = [3.0, 2.0, 3.5, 2.6, 3.2, 2.1]
  confirmation.tell([finish(x, (y, 9.0)) for x, y in zip(legs, losses)])
  gain = confirmation.gain()
  assert gain.mean == pytest.approx(1.0) and gain.n == 3
  assert gain.low < 1.0 < gain.high
  assert confirmation.losses('champion', 'search') == [9.0] * 3


def test_a_failed_run_leaves_no_gain_to_claim():
  confirmation = make()
  legs = confirmation.ask(6)
  losses = [3.0, 2.0, 3.5, math.nan, 3.2, 2.1]
  confirmation.tell([finish(x, (y, 9.0)) for x, y in zip(legs, losses)])
  assert confirmation.gain() is None
