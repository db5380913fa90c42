"""Tests of legs, results and folded randomness."""

import json
import math

import numpy as np

from evo import member

LEG = member.Leg(3, 1, {'x': 1.5}, (1, 2), 2, 5, 7, True, ('confirm', 'search'))


def test_a_leg_survives_json():
  assert member.Leg.from_json(json.loads(json.dumps(LEG.to_json()))) == LEG
  fresh = member.Leg(0, None, {}, None, 0, 5, 7)
  assert member.Leg.from_json(json.loads(json.dumps(fresh.to_json()))) == fresh


def test_the_first_split_gives_the_loss_and_failures_rank_last():
  good = member.Result(LEG, member.OK, {'confirm': 2.0, 'search': 1.0})
  assert good.loss == 2.0
  assert member.Result(LEG, member.DIVERGED, {}).loss == math.inf


def test_only_a_member_that_names_itself_goes_on():
  assert not LEG.goes_on
  assert member.Leg(1, None, {}, (1, 2), 2, 5, 7).goes_on
  assert not member.Leg(0, None, {}, None, 0, 5, 7).goes_on


def test_folding_is_the_same_on_every_machine():
  # Computed once; a change would orphan every ledger.
  assert member.fold(0, 'search') == 1109967855
  assert 0 <= member.fold(2**40, 'a', 1) < 2**31


def test_folded_names_do_not_run_into_each_other():
  seeds = {member.fold(0, 'a', i) for i in range(10000)}
  assert len(seeds) > 9990
  assert member.fold(1, 11) != member.fold(11, 1)


def test_generators_of_a_name_do_not_depend_on_earlier_draws():
  first = member.generator(0, 'ask', 5)
  first.random(100)
  again = member.generator(0, 'ask', 5).random(3)
  np.testing.assert_array_equal(member.generator(0, 'ask', 5).random(3), again)
