import math

import numpy as np
import pytest

from evo.strategies import hyperband, random

BAD = math.inf
# (members, segments) at each rung of the brackets s = 4 to 0: table 1 of arXiv
# 1603.06560, for R = 81 and eta = 3.
TABLE = [
  [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
  [(27, 3), (9, 9), (3, 27), (1, 81)],
  [(9, 9), (3, 27), (1, 81)],
  [(6, 27), (2, 81)],
  [(5, 81)],
]


def tell(strategy, finish, legs, losses):
  told = zip(legs, losses, strict=True)
  strategy.tell([finish(leg, loss) for leg, loss in told])


def step(strategy, finish, losses, fresh=None):
  """Tells losses to as many legs; returns the legs."""
  legs = strategy.ask(len(losses), fresh)
  tell(strategy, finish, legs, losses[: len(legs)])
  return legs


def test_brackets_are_those_of_the_paper(box, finish):
  strategy = hyperband.Hyperband(box('x'), segments=81)
  rng = np.random.default_rng(0)
  for number in range(2 * len(TABLE)):
    bracket = TABLE[number % len(TABLE)]
    members = None
    for i, (count, stop) in enumerate(bracket):
      legs = step(strategy, finish, list(rng.random(count)))
      assert {leg.stop for leg in legs} == {stop}
      assert {leg.start for leg in legs} == {bracket[i - 1][1] if i else 0}
      assert {leg.keep for leg in legs} == {stop < 81}
      assert {leg.source is None for leg in legs} == {i == 0}
      going = {leg.member for leg in legs}
      assert len(going) == count
      assert members is None or going < members
      members = going
    assert strategy.pinned() == set()


def halvings(losses, size, rungs, eta):
  """Successive halving of one bracket, after algorithm 1 of the paper.

  Args:
    losses: by member and rung; infinite for a failure.
    size: members that start.
    rungs: how many there are.
    eta: one in so many goes on.

  Returns:
    The members that start at each rung, best first.
  """
  standing, started = list(range(size)), []
  for i in range(rungs):
    started.append(standing)
    table = sorted((losses[m, i], m) for m in standing)
    count = math.floor(math.floor(size * eta**-i + 1e-9) / eta + 1e-9)
    standing = [m for loss, m in table[:count] if loss < BAD]
  return started


@pytest.mark.parametrize('eta,segments', [(3, 81), (2, 16), (4, 64)])
@pytest.mark.parametrize('failing', [0.0, 0.4])
def test_the_best_go_on_whatever_comes_in_between(
  box, finish, eta, segments, failing
):
  strategy = hyperband.Hyperband(box('x'), segments=segments, eta=eta)
  rng = np.random.default_rng(eta)
  rungs = len(strategy.rungs)
  size = eta ** (rungs - 1)
  # Few values, so that many tie.
  losses = {
    (m, i): BAD if rng.random() < failing else float(rng.integers(20))
    for m in range(size)
    for i in range(rungs)
  }
  started, flying = {}, []
  for _ in range(600):
    flying += (legs := strategy.ask(7 - len(flying)))
    for leg in legs:
      started.setdefault((leg.member, leg.stop), leg.start)
    rng.shuffle(flying)
    told, flying = flying[:2], flying[2:]
    results = [
      losses.get((leg.member, strategy.rungs.index(leg.stop)), 0.0)
      for leg in told
    ]
    tell(strategy, finish, told, results)
  for i, expected in enumerate(halvings(losses, size, rungs, eta)):
    stop = strategy.rungs[i]
    ours = [m for m, at in started if at == stop and m < size]
    assert sorted(ours) == sorted(expected)
    if i:
      assert ours == expected


def test_ties_go_to_the_older(box, finish):
  strategy = hyperband.Hyperband(box('x'), segments=9)
  step(strategy, finish, [1.0] * 9)
  assert [leg.member for leg in strategy.ask(3)] == [0, 1, 2]


def test_a_failure_never_goes_on(box, finish):
  strategy = hyperband.Hyperband(box('x'), segments=9)
  step(strategy, finish, [BAD] * 7 + [2.0, 1.0])
  legs = strategy.ask(4)
  assert [(leg.member, leg.stop) for leg in legs[:2]] == [(8, 3), (7, 3)]
  assert [leg.member for leg in legs[2:]] == [9, 10]


def test_a_bracket_of_failures_is_over(box, finish):
  strategy = hyperband.Hyperband(box('x'), segments=9)
  step(strategy, finish, [BAD] * 9)
  assert strategy.pinned() == set()
  assert strategy.ask(1)[0].stop == 3


def test_no_slot_waits_for_a_bracket(box):
  strategy = hyperband.Hyperband(box('x'), segments=9)
  # Brackets of 9, 3 and 3 members, and again.
  stops = [leg.stop for leg in strategy.ask(20)]
  assert stops == [1] * 9 + [3] * 3 + [9] * 3 + [1] * 5


def test_older_brackets_go_first(box, finish):
  strategy = hyperband.Hyperband(box('x'), segments=9)
  first, second = strategy.ask(9), strategy.ask(3)
  tell(strategy, finish, second, [0.0, 1.0, 2.0])
  tell(strategy, finish, first, [float(i) for i in range(9)])
  legs = strategy.ask(5)
  assert [leg.member for leg in legs] == [0, 1, 2, 9, 12]
  assert [leg.stop for leg in legs] == [3, 3, 3, 9, 9]


def test_a_bracket_is_filled_over_several_asks(box, finish):
  strategy = hyperband.Hyperband(box('x'), segments=9)
  for losses in ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 0.0]):
    legs = step(strategy, finish, losses)
    assert {leg.stop for leg in legs} == {1}
  (ninth,) = step(strategy, finish, [9.0])
  assert ninth.stop == 1
  assert [leg.member for leg in strategy.ask(3)] == [7, 0, 1]


def test_a_bracket_that_cannot_be_filled_goes_on(box, finish):
  strategy = hyperband.Hyperband(box('x'), segments=9)
  legs = step(strategy, finish, [3.0, 2.0, 1.0, 0.0], fresh=4)
  path = [(leg.member, leg.stop) for leg in legs]
  while legs := strategy.ask(4, fresh=0):
    path += [(leg.member, leg.stop) for leg in legs]
    tell(strategy, finish, legs, [0.0] * len(legs))
  # One of the four goes on, then one of the one.
  assert path[4:] == [(3, 3), (3, 9)]


def test_a_bracket_waits_for_its_own_before_it_is_cut_short(box, finish):
  strategy = hyperband.Hyperband(box('x'), segments=9)
  legs = strategy.ask(4, fresh=4)
  tell(strategy, finish, legs[:3], [3.0, 2.0, 1.0])
  assert strategy.ask(4, fresh=0) == []
  tell(strategy, finish, legs[3:], [BAD])
  assert [leg.member for leg in strategy.ask(4, fresh=0)] == [2]


def test_a_bracket_is_not_cut_short_while_members_may_start(box, finish):
  strategy = hyperband.Hyperband(box('x'), segments=9)
  step(strategy, finish, [3.0, 2.0, 1.0, 0.0], fresh=4)
  (leg,) = strategy.ask(1, fresh=1)
  assert (leg.member, leg.stop) == (4, 1)


def test_only_states_that_may_go_on_are_pinned(box, finish):
  strategy = hyperband.Hyperband(box('x'), segments=9)
  legs = strategy.ask(9)
  tell(strategy, finish, legs[:6], [5.0, 4.0, 3.0, 2.0, 1.0, BAD])
  coming = {(m, 1) for m in (6, 7, 8)}
  # Three of nine go on: never more than the best three so far.
  assert strategy.pinned() == coming | {(2, 1), (3, 1), (4, 1)}
  tell(strategy, finish, legs[6:], [0.0, 9.0, 9.0])
  assert strategy.pinned() == {(3, 1), (4, 1), (6, 1)}
  (going,) = strategy.ask(1)
  assert going.source == (6, 1)
  assert strategy.pinned() == {(3, 1), (4, 1), (6, 1), (6, 3)}


def test_a_member_goes_on_as_it_was_run(box, finish):
  strategy = hyperband.Hyperband(box('x'), segments=3)
  legs = strategy.ask(3)
  repaired = [
    leg.__class__(**vars(leg) | {'configuration': {'x': 0.125}}) for leg in legs
  ]
  tell(strategy, finish, repaired, [0.0, 1.0, 2.0])
  assert strategy.ask(1)[0].configuration == {'x': 0.125}


def test_new_members_are_the_shared_draws(box):
  strategy = hyperband.Hyperband(box('x'), segments=9)
  drawn = random.Random(box('x')).ask(20)
  assert [leg.configuration for leg in strategy.ask(20)] == [
    leg.configuration for leg in drawn
  ]
