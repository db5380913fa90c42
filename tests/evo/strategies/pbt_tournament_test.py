import math

import numpy as np
import scipy.stats

from evo.strategies import pbt_tournament

BAD = math.inf


def select(box, finish, losses, seed=0):
  """Legs of the first and second interval of a cohort with these losses."""
  strategy = pbt_tournament.PBTTournament(
    box('x'), seed=seed, population=len(losses)
  )
  first = strategy.ask(len(losses))
  told = zip(first, losses, strict=True)
  strategy.tell([finish(leg, loss) for leg, loss in told])
  return first, strategy.ask(len(losses))


def test_the_worse_of_two_copies_the_better(box, finish):
  first, second = select(box, finish, [1.0, 0.0])
  assert [leg.member for leg in second] == [1, 2]
  assert [leg.source for leg in second] == [(1, 2), (1, 2)]
  assert second[1].parent == 1
  assert second[1].configuration != first[1].configuration


def test_a_member_that_is_not_worse_goes_on(box, finish):
  _, second = select(box, finish, [1.0, 1.0, 1.0])
  assert [leg.member for leg in second] == [0, 1, 2]


def test_a_donor_may_lose_its_own_tournament(box, finish):
  found = False
  for seed in range(20):
    _, second = select(box, finish, [3.0, 2.0, 1.0, 0.0], seed)
    on = {leg.member for leg in second if leg.goes_on}
    parents = {leg.parent for leg in second if not leg.goes_on}
    found |= not parents <= on
    assert {leg.source[1] for leg in second} == {2}
  assert found


def test_a_diverged_member_is_always_replaced_by_a_sound_one(box, finish):
  for seed in range(20):
    losses = [BAD, 1.0, BAD, 0.0, BAD]
    _, second = select(box, finish, losses, seed)
    assert {leg.source[0] for leg in second} <= {1, 3}
    assert len(second) == 5


def test_a_lone_member_goes_on_alone(box, finish):
  _, second = select(box, finish, [1.0])
  assert [leg.member for leg in second] == [0]


def test_each_member_meets_the_others_equally_often(box, finish):
  size, seeds = 6, 400
  goes_on, donors = np.zeros(size), np.zeros(size)
  for seed in range(seeds):
    _, second = select(box, finish, [float(i) for i in range(size)], seed)
    for leg in second:
      if leg.goes_on:
        goes_on[leg.member] += 1
      else:
        donors[leg.parent] += 1
  # Rank r meets one of the r better among the size - 1 others.
  replaced = np.arange(size) / (size - 1)
  assert goes_on[0] == seeds and goes_on[-1] == 0
  inner = slice(1, -1)
  expected = seeds * np.stack([1 - replaced[inner], replaced[inner]])
  observed = np.stack([goes_on[inner], seeds - goes_on[inner]])
  statistic = ((observed - expected) ** 2 / expected).sum()
  assert scipy.stats.chi2.sf(statistic, size - 2) > 0.01
  # Rank r is met by each of the worse ones once in size - 1 times.
  expected = seeds * np.arange(size - 1, -1, -1) / (size - 1)
  assert donors[-1] == 0
  test = scipy.stats.chisquare(
    donors[:-1], expected[:-1] * donors.sum() / expected.sum()
  )
  assert test.pvalue > 0.01
