"""Tests of what may still start under the bounds."""

import types

import pytest

from evo import allowance as allowance_lib
from evo import bounds, member, species, trainee


def engine(slots=4):
  """Members cost 100 FLOPs, 10 a segment, and 5 an evaluation."""
  only = species.Species(0, (), trainee.Cost(1.0, 1, {'search': 5.0}, 1), 10)
  return types.SimpleNamespace(
    size=slots,
    budget=species.Budget(100.0, 10),
    catalogue=types.SimpleNamespace(baseline=only, evaluation_flops=5.0),
    seats=types.SimpleNamespace(species=lambda leg: only),
  )


def make(confirmation=0, takes_over=False, finishes=True, shares=None, **given):
  strategy = types.SimpleNamespace(
    evaluations=1, takes_over=takes_over, finishes=finishes
  )
  return allowance_lib.Allowance(
    bounds.Bounds(**given),
    engine(),
    strategy,
    confirmation=confirmation,
    confirmation_evaluations=2,
    **shares or {},
  )


def leg(i, source=None, start=0, stop=10):
  return member.Leg(i, None, {}, source, start, stop, seed=0)


def test_without_bounds_any_number_may_start():
  allowance = make()
  assert allowance.fresh() is None and allowance.exhausted() == 'done'


def test_members_count_as_they_start():
  allowance = make(members=3)
  allowance.start([leg(0), leg(1)])
  assert allowance.fresh() == 1
  allowance.start([leg(2), leg(0, (0, 3), 3)])
  assert allowance.fresh() == 0 and allowance.exhausted() == 'max_members'


def test_an_exploit_counts_nothing():
  allowance = make(members=3, takes_over=True)
  allowance.start([leg(0), leg(1)])
  allowance.start([leg(2, (0, 4), 4)])
  assert allowance.started == 2 and allowance.fresh() == 1


def test_flops_are_kept_back_for_the_confirmation():
  # A confirmation of 2 runs costs 2 x (100 + 2 x 5) = 220.
  assert make(flops=1060, confirmation=2).fresh() == 8
  assert make(flops=1059, confirmation=2).fresh() == 7
  assert make(flops=100, confirmation=2).exhausted() == 'max_flops'


def test_an_heir_commits_only_what_is_left_of_its_budget():
  allowance = make(flops=205)
  allowance.start([leg(0)])
  assert allowance.fresh() == 0
  allowance = make(flops=205)
  allowance.start([leg(1, (0, 9), 9)])
  assert allowance.fresh() == 1


def test_members_that_may_be_left_unfinished_pay_leg_by_leg():
  allowance = make(flops=325, finishes=False)
  assert allowance.offer(8) == (3, 3)
  allowance.start([leg(0, stop=1), leg(1, stop=1)])  # 10 + 5 each.
  assert allowance.offer(8) == (2, 2)
  allowance.start([leg(0, (0, 1), 1, stop=10)])  # 90 + 5.
  assert allowance.offer(8) == (1, 1) and allowance.started == 2
  allowance.start([leg(2), leg(0, (0, 9), 9)])
  assert allowance.offer(8) == (0, 0)
  assert make(members=2, finishes=False).offer(8) == (8, 2)


def test_minutes_wait_for_the_speed_and_then_are_a_plan():
  allowance = make(minutes=1.0)
  assert allowance.fresh() == 4
  allowance.start([leg(i) for i in range(4)])
  assert allowance.fresh() == 0
  allowance.executed = 80.0
  allowance.replan(seconds=5.2, speed=20.0, charged=80.0)
  assert allowance.plan == {
    'minutes': 1.0,
    'flops': pytest.approx(80 + 20 * 0.95 * (60 * 0.97 - 5.2)),
  }
  assert allowance.fresh() == 6
  allowance.replan(seconds=50.0, speed=1.0, charged=80.0)
  assert allowance.plan['flops'] == pytest.approx(80 + 0.95 * (58.2 - 50))


def test_a_plan_pays_for_evaluations_as_those_do_that_it_is_compared_with():
  allowance = make(minutes=1.0)
  # Of 100 FLOPs charged 80 were training: as many more come with the rest.
  allowance.executed = 80.0
  allowance.replan(seconds=8.2, speed=8.0, charged=100.0)
  assert allowance.plan['flops'] == pytest.approx(100 + 10 * 0.95 * 50)


def test_the_bound_that_binds_first_is_named():
  allowance = make(minutes=1.0, flops=1e6)
  allowance.plan = {'minutes': 1.0, 'flops': 50.0}
  assert allowance.exhausted() == 'max_minutes'
  allowance = make(minutes=1.0, flops=50.0)
  allowance.plan = {'minutes': 1.0, 'flops': 1e6}
  assert allowance.exhausted() == 'max_flops'


def test_a_cycle_gets_its_share_of_the_members():
  # Four slots: the search of a cycle has at least sixteen members.
  allowance = make(members=60)
  allowance.begin_cycle(3)
  assert allowance.fresh() == 20
  allowance.start([leg(i) for i in range(20)])
  assert allowance.fresh() == 0
  allowance.begin_cycle(2)
  assert allowance.fresh() == 20
  allowance.start([leg(i) for i in range(20, 40)])
  allowance.begin_cycle(1)
  assert allowance.fresh() == 20


def test_of_a_few_members_there_are_rather_fewer_cycles():
  for members, first in ((24, 24), (32, 16), (40, 20), (47, 24), (48, 16)):
    allowance = make(members=members)
    allowance.begin_cycle(3)
    assert allowance.fresh() == first


def test_a_cycle_gets_its_share_of_the_flops_its_search_a_share_of_that():
  # A member costs 105 at most.
  allowance = make(flops=105 * 200.0, shares={'search_share': 0.5})
  allowance.begin_cycle(2)
  assert allowance.fresh() == 50
  allowance.start([leg(i) for i in range(50)])
  assert allowance.fresh() == 0
  allowance.verify([leg(i) for i in range(50, 60)], evaluations=2)
  allowance.begin_cycle(1)
  left = 105 * 150 - 10 * 110
  assert allowance.fresh() == left // 2 // 105
  assert allowance.verifications() == left // 110


def test_a_verification_keeps_to_the_share_of_its_cycle_if_it_is_told_to():
  allowance = make(flops=105 * 200.0, shares={'search_share': 0.5})
  allowance.begin_cycle(2)
  allowance.start([leg(i) for i in range(50)])
  # A run costs 110; half of the bound is this cycle's, half of that searched.
  with allowance.sharing(runs=4):
    assert allowance.verifications() == 105 * 50 // 110 - 4
    assert allowance.expected() == int((105 * 50 - 440) / 121)
    allowance.verify([leg(i) for i in range(50, 60)], evaluations=2)
    assert allowance.verifications() == 105 * 50 // 110 - 14
  # What comes after it is not cut short.
  assert allowance.verifications() == (105 * 150 - 1100) // 110


def test_a_later_gate_of_three_arms_is_left_room_for_all_of_them():
  shares = {'search_share': 0.9}
  allowance = make(flops=105 * 40.0, confirmation=20, shares=shares)
  allowance.begin_cycle(1, confirmation=30)
  assert allowance.fresh() == (105 * 40 - 30 * 110) // 105


def test_what_was_spent_elsewhere_is_no_longer_there():
  allowance = make(flops=1000.0)
  allowance.charge(300.0)
  assert allowance.left() == 700


def test_a_search_leaves_room_for_its_confirmation():
  shares = {'search_share': 0.9}
  allowance = make(flops=105 * 40.0, confirmation=20, shares=shares)
  allowance.begin_cycle(1)
  assert allowance.fresh() == (105 * 40 - 20 * 110) // 105


def test_what_is_held_back_is_free_once_it_is_released():
  # A run of a confirmation costs 110 at most.
  shares = {'held_share': 0.2, 'held_runs': 4}
  allowance = make(flops=1e4, shares=shares)
  assert allowance.left() == 8000 - 440
  assert allowance.verifications() == (8000 - 440) // 110
  allowance.release(held_runs=2)
  assert allowance.left() == 1e4 - 220
  allowance.release()
  assert allowance.left() == 1e4


def test_a_bound_with_room_for_fewer_than_are_needed_is_the_reason():
  allowance = make(flops=105 * 10.0)
  assert allowance.exhausted() == 'done'
  assert allowance.exhausted(least=11) == 'max_flops'
  allowance = make(members=12)
  allowance.start([leg(i) for i in range(6)])
  assert allowance.exhausted(least=8) == 'max_members'
