import math

import numpy as np
import pytest
import scipy.stats

from evo.strategies import pbt

BAD = math.inf


def tell(strategy, finish, legs, losses):
  told = zip(legs, losses, strict=True)
  strategy.tell([finish(leg, loss) for leg, loss in told])


def step(strategy, finish, losses, n=99):
  """Tells losses to the legs of one interval; returns the legs."""
  legs = strategy.ask(n)
  tell(strategy, finish, legs, losses)
  return legs


def test_a_cohort_trains_interval_by_interval(box, finish):
  strategy = pbt.PBT(box('x'), population=4, segments=7, interval=3)
  spans = []
  for _ in range(3):
    legs = step(strategy, finish, [0.0, 1.0, 2.0, 3.0])
    spans.append({(leg.start, leg.stop, leg.keep) for leg in legs})
  assert spans == [{(0, 3, False)}, {(3, 6, False)}, {(6, 7, False)}]


@pytest.mark.parametrize('segments,interval', [(10, 2), (40, 8), (3, 1)])
def test_a_fifth_of_the_budget_is_the_interval(box, segments, interval):
  assert pbt.PBT(box('x'), segments=segments).interval == interval


def test_the_worst_are_replaced_by_children_of_the_best(box, finish):
  strategy = pbt.PBT(box('x'), population=4)
  first = step(strategy, finish, [3.0, 1.0, 0.0, 2.0])
  second = strategy.ask(4)
  assert [leg.member for leg in second] == [1, 2, 3, 4]
  assert [leg.goes_on for leg in second] == [True, True, True, False]
  assert [leg.source for leg in second] == [(1, 2), (2, 2), (3, 2), (2, 2)]
  assert [leg.parent for leg in second] == [None, None, None, 2]
  for leg in second[:3]:
    assert leg.configuration == first[leg.member].configuration
  assert second[3].configuration != first[2].configuration


def test_a_member_that_goes_on_keeps_its_parent(box, finish):
  strategy = pbt.PBT(box('x'), population=4)
  step(strategy, finish, [0.0, 1.0, 2.0, 3.0])
  step(strategy, finish, [0.0, 1.0, 2.0, 0.5])
  (child,) = [leg for leg in strategy.ask(4) if leg.member == 4]
  assert (child.parent, child.source) == (0, (4, 4))


def test_a_child_is_perturbed_from_what_its_donor_has_now(box, finish):
  strategy = pbt.PBT(
    box('x', kind='log_float', low=1e-6, high=1.0, default=1e-3),
    population=2,
    resample=0.0,
    factors=(0.5, 0.5),
  )
  step(strategy, finish, [0.0, 1.0])
  step(strategy, finish, [1.0, 0.0])
  legs = strategy.ask(2)
  values = [leg.configuration['x'] for leg in legs]
  assert np.allclose(values, [5e-4, 2.5e-4])
  assert [leg.parent for leg in legs] == [0, 2]


def test_nothing_is_compared_before_all_stand_at_the_same_segment(box, finish):
  strategy = pbt.PBT(box('x'), population=4)
  legs = strategy.ask(4)
  tell(strategy, finish, legs[:3], [0.0, 1.0, 2.0])
  assert strategy.ask(4) == []
  tell(strategy, finish, legs[3:], [3.0])
  assert len(strategy.ask(4)) == 4


def test_few_slots_take_an_interval_in_parts(box, finish):
  strategy = pbt.PBT(box('x'), population=4)
  step(strategy, finish, [0.0, 1.0, 2.0, 3.0])
  some = strategy.ask(3)
  tell(strategy, finish, some, [0.0, 1.0, 2.0])
  rest = strategy.ask(3)
  assert [leg.member for leg in some + rest] == [0, 1, 2, 4]
  assert strategy.ask(3) == []


def test_every_source_stands_on_the_devices_when_its_heir_is_asked(box, finish):
  strategy = pbt.PBT(box('x'), population=4)
  step(strategy, finish, [3.0, 0.0, 1.0, BAD])
  legs = strategy.ask(4)
  assert {leg.source for leg in legs} <= {(0, 2), (1, 2), (2, 2)}
  assert not any(leg.keep for leg in legs) and strategy.pinned() == set()


def test_a_diverged_member_is_replaced_even_beyond_the_quantile(box, finish):
  strategy = pbt.PBT(box('x'), population=8)
  losses = [BAD, BAD, BAD, 1.0, BAD, BAD, BAD, 0.0]
  step(strategy, finish, losses)
  legs = strategy.ask(8)
  assert [leg.member for leg in legs] == [3, 7, 8, 9, 10, 11, 12, 13]
  assert {leg.parent for leg in legs[2:]} <= {3, 7}


def test_the_next_cohort_starts_when_all_have_diverged(box, finish):
  strategy = pbt.PBT(box('x'), population=3)
  step(strategy, finish, [BAD] * 3)
  assert strategy.pinned() == set()
  legs = strategy.ask(3)
  assert [leg.member for leg in legs] == [3, 4, 5]
  assert {(leg.source, leg.parent, leg.start) for leg in legs} == {
    (None, None, 0)
  }


def test_a_finished_cohort_is_followed_by_newly_drawn_members(box, finish):
  strategy = pbt.PBT(box('x'), population=4, segments=2, interval=1)
  step(strategy, finish, [0.0, 1.0, 2.0, 3.0])
  last = step(strategy, finish, [0.0, 1.0, 2.0, 3.0])
  assert [leg.member for leg in last] == [0, 1, 2, 4]
  assert strategy.pinned() == set()
  assert strategy.ask(4, fresh=0) == []
  legs = strategy.ask(4, fresh=3)
  assert [leg.member for leg in legs] == [5, 6, 7]
  for leg in legs:
    assert (leg.source, leg.parent, leg.start) == (None, None, 0)
    assert leg.configuration == strategy.initial_configuration(leg.member)


def test_selections_within_a_cohort_need_no_fresh_members(box, finish):
  strategy = pbt.PBT(box('x'), population=4)
  step(strategy, finish, [0.0, 1.0, 2.0, 3.0])
  assert len(strategy.ask(4, fresh=0)) == 4


@pytest.mark.parametrize('n,fresh,size', [(9, None, 4), (3, 9, 3), (9, 2, 2)])
def test_a_cohort_is_as_large_as_all_bounds_allow(box, n, fresh, size):
  assert len(pbt.PBT(box('x'), population=4).ask(n, fresh)) == size


def test_a_lone_member_goes_on_alone(box, finish):
  strategy = pbt.PBT(box('x'), population=1)
  for start in (0, 2, 4, 6, 8):
    (leg,) = step(strategy, finish, [1.0])
    assert (leg.member, leg.start) == (0, start)


def test_exploit_only_copies_configurations_unchanged(box, finish):
  strategy = pbt.PBT(box('x'), population=2, explore=False)
  first = step(strategy, finish, [0.0, 1.0])
  legs = strategy.ask(2)
  assert [leg.source for leg in legs] == [(0, 2), (0, 2)]
  assert {leg.configuration['x'] for leg in legs} == {
    first[0].configuration['x']
  }


def test_explore_only_changes_every_member_and_copies_none(box, finish):
  strategy = pbt.PBT(box('x'), population=3, exploit=False)
  first = step(strategy, finish, [0.0, 1.0, BAD])
  legs = strategy.ask(3)
  assert [leg.source for leg in legs] == [(0, 2), (1, 2)]
  assert all(leg.goes_on for leg in legs)
  for before, after in zip(first, legs):
    assert before.configuration != after.configuration


def test_donors_are_uniform_in_the_best_quantile(box, finish):
  counts = np.zeros(40)
  for seed in range(100):
    strategy = pbt.PBT(box('x'), population=40, seed=seed)
    ranks = np.random.default_rng(seed).permutation(40)
    step(strategy, finish, ranks.astype(float))
    legs = strategy.ask(40)
    on = {leg.member for leg in legs if leg.goes_on}
    assert on == set(np.flatnonzero(ranks < 30).tolist())
    for leg in legs[30:]:
      counts[ranks[leg.parent]] += 1
  assert counts[10:].sum() == 0
  assert scipy.stats.chisquare(counts[:10]).pvalue > 0.01
