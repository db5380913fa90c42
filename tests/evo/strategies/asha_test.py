import math

import numpy as np
import pytest

from evo.strategies import asha, random

BAD = math.inf


def tell(strategy, finish, legs, losses):
  told = zip(legs, losses, strict=True)
  strategy.tell([finish(leg, loss) for leg, loss in told])


@pytest.fixture
def after(box, finish):
  """A strategy whose first members stand at the first rung."""

  def make(losses, **options):
    strategy = asha.ASHA(box('x'), **options)
    tell(strategy, finish, strategy.ask(len(losses)), losses)
    return strategy

  return make


@pytest.mark.parametrize(
  'segments,eta,grace,rungs',
  [
    (81, 3, 1, (1, 3, 9, 27, 81)),
    (10, 3, 1, (1, 3, 10)),
    (100, 3, 5, (11, 33, 100)),
    (64, 4, 4, (4, 16, 64)),
    (11, 2, 1, (1, 2, 5, 11)),
    (2, 3, 1, (2,)),
    (1, 3, 1, (1,)),
  ],
)
def test_rungs_are_the_budget_divided_by_powers(
  box, segments, eta, grace, rungs
):
  strategy = asha.ASHA(box('x'), segments=segments, eta=eta, grace=grace)
  assert strategy.rungs == rungs
  assert strategy.evaluations == len(rungs)
  assert strategy.ask(1)[0].stop == rungs[0]


class Paper:
  """Algorithm 2 of arXiv 1810.05934, word for word and slow."""

  def __init__(self, eta, rungs):
    self.eta = eta
    self.results = [[] for _ in range(rungs)]
    self.promoted = [set() for _ in range(rungs)]
    self.started = 0

  def get_job(self):
    for k in reversed(range(len(self.results) - 1)):
      ranked = sorted(self.results[k])
      candidates = ranked[: len(ranked) // self.eta]
      for loss, member in candidates:
        if member not in self.promoted[k] and loss < BAD:
          self.promoted[k].add(member)
          return member, k + 1
    self.started += 1
    return self.started - 1, 0


@pytest.mark.parametrize('eta', [2, 3, 4])
@pytest.mark.parametrize('slots', [1, 5, 20])
def test_members_go_on_as_in_the_paper(box, finish, eta, slots):
  strategy = asha.ASHA(box('x'), segments=64, eta=eta, spare=10**9)
  paper = Paper(eta, len(strategy.rungs))
  rng = np.random.default_rng(eta)
  flying, reached = [], 0
  for _ in range(400):
    legs = strategy.ask(slots - len(flying))
    expected = [paper.get_job() for _ in legs]
    ours = [(leg.member, strategy.rungs.index(leg.stop)) for leg in legs]
    assert ours == expected
    flying += legs
    rng.shuffle(flying)
    told, flying = flying[:2], flying[2:]
    # Few values, so that many tie; some fail.
    losses = [BAD if rng.random() < 0.1 else rng.integers(9) for _ in told]
    for leg, loss in zip(told, losses):
      rung = strategy.rungs.index(leg.stop)
      paper.results[rung].append((loss, leg.member))
      reached += leg.stop == 64
    tell(strategy, finish, told, [float(loss) for loss in losses])
  assert reached > 1


def test_a_member_goes_on_from_where_it_stands(after):
  strategy = after([2.0, 0.0, 1.0], segments=9)
  going, new = strategy.ask(2)
  assert (going.member, going.source, going.parent) == (1, (1, 1), None)
  assert (going.start, going.stop, going.keep) == (1, 3, True)
  assert going.configuration == strategy.initial_configuration(1)
  assert (new.member, new.source, new.stop, new.keep) == (3, None, 1, True)


def test_the_last_leg_leaves_nothing_to_keep(after, finish):
  strategy = after([0.0, 1.0, 2.0], segments=3)
  (last,) = strategy.ask(1)
  assert (last.start, last.stop, last.keep) == (1, 3, False)
  tell(strategy, finish, [last], [0.0])
  assert strategy.pinned() == {(1, 1), (2, 1)}


def test_the_highest_rung_goes_first(after, finish):
  strategy = after([float(i) for i in range(12)], segments=9)
  tell(strategy, finish, strategy.ask(3), [0.0, 1.0, 2.0])
  legs = strategy.ask(3)
  assert [(leg.member, leg.stop) for leg in legs] == [(0, 9), (3, 3), (12, 1)]


def test_ties_go_to_the_older(after):
  assert after([1.0, 1.0, 1.0]).ask(1)[0].member == 0


def test_a_failure_counts_but_never_goes_on(after):
  strategy = after([BAD, BAD, 5.0])
  assert [leg.member for leg in strategy.ask(2)] == [2, 3]
  assert after([BAD, BAD, BAD]).ask(1)[0].member == 3
  assert after([BAD, BAD, BAD]).pinned() == set()


def test_losses_of_different_rungs_are_not_compared(after, finish):
  strategy = after([0.0, 1.0, 2.0], segments=9)
  # Far better three segments in, and yet no reason to hold back the others.
  tell(strategy, finish, strategy.ask(1), [-9.0])
  tell(strategy, finish, strategy.ask(3), [3.0, 4.0, 5.0])
  assert strategy.ask(1)[0].member == 1


def test_members_go_on_when_none_may_start(after):
  strategy = after([float(i) for i in range(6)])
  legs = strategy.ask(4, fresh=0)
  assert [leg.member for leg in legs] == [0, 1]
  assert strategy.ask(4, fresh=0) == []


def test_the_last_search_brings_one_member_to_the_end(after, finish):
  strategy = after([2.0, BAD, 0.0, 1.0], segments=9)
  path = []
  while legs := strategy.ask(4, fresh=0):
    path += [(leg.member, leg.stop) for leg in legs]
    # The best fails just before the end.
    tell(strategy, finish, legs, [BAD if path[-1][1] == 9 else 0.0])
    if len(path) > 3:
      break
  assert path[:4] == [(2, 3), (2, 9), (3, 3), (3, 9)]


def test_nobody_is_pulled_up_once_one_has_come_through(after, finish):
  strategy = after([2.0, 0.0, 1.0], segments=3)
  tell(strategy, finish, strategy.ask(3, fresh=0), [0.0])
  assert strategy.ask(3, fresh=0) == []


def test_states_are_pinned_while_a_member_may_go_on(after, finish):
  strategy = after([float(i) for i in range(12)], spare=2, segments=9)
  # Four may go on at once, and two more are spare.
  assert strategy.pinned() == {(m, 1) for m in range(6)}
  legs = strategy.ask(4)
  flying = {(m, 1) for m in range(4)} | {(m, 3) for m in range(4)}
  assert strategy.pinned() == flying | {(4, 1), (5, 1)}
  tell(strategy, finish, legs, [0.0, 1.0, 2.0, BAD])
  standing = {(0, 3), (1, 3), (2, 3)}
  assert strategy.pinned() == standing | {(4, 1), (5, 1)}


def test_who_was_given_up_never_goes_on(after, finish):
  losses = [float(i) for i in range(6)]
  strategy, patient = (after(losses, spare=s) for s in (0, 99))
  for each in (strategy, patient):
    # Enough worse ones that the third best is among the best third.
    legs = [leg for leg in each.ask(8) if leg.start == 0]
    tell(each, finish, legs, [9.0] * 6)
  assert strategy.ask(1)[0].member == 12
  assert patient.ask(1)[0].member == 2


def test_spare_states_change_little(box, finish):
  """Promotions from the first rung that giving up states prevents."""

  def promoted(spare):
    strategy = asha.ASHA(box('x'), population=8, spare=spare)
    rng = np.random.default_rng(0)
    quality, found = {}, set()
    for _ in range(400):
      legs = strategy.ask(8)
      found |= {leg.member for leg in legs if leg.start == 1}
      losses = [quality.setdefault(leg.member, rng.normal()) for leg in legs]
      tell(strategy, finish, legs, losses)
      if spare < 99:
        assert len(strategy.pinned()) < 30
    count = strategy.members
    ranks = np.argsort(np.argsort([quality[m] for m in range(count)]))
    return {int(ranks[m]) / count for m in found}

  kept, bounded = promoted(10**9), promoted(8)
  assert len(bounded) > 0.95 * len(kept)
  assert sum(rank < 0.25 for rank in bounded) > 0.99 * sum(
    rank < 0.25 for rank in kept
  )


def test_a_member_goes_on_as_it_was_run(box, finish):
  strategy = asha.ASHA(box('x'))
  (leg,) = strategy.ask(1)
  repaired = leg.__class__(**vars(leg) | {'configuration': {'x': 0.125}})
  tell(strategy, finish, [repaired], [0.0])
  (following,) = strategy.ask(1, fresh=0)
  assert following.configuration == {'x': 0.125}


def best_of(strategy, finish, budget):
  """The smallest loss at the end of training, for a budget in segments."""
  best, rng = BAD, np.random.default_rng(strategy.seed)
  while budget > 0:
    legs, losses = strategy.ask(8), []
    for leg in legs:
      final = sum((v - 0.3) ** 2 for v in leg.configuration.values())
      # Early losses are worse, and tell less.
      left = 1 - leg.stop / strategy.segments
      losses.append(final + left * (2 + 0.1 * rng.normal()))
      budget -= leg.stop - leg.start
      if not left:
        best = min(best, final)
    tell(strategy, finish, legs, losses)
  return best


def test_asha_beats_random_search_where_early_losses_tell(box, finish):
  searched = box(*'abcde', default=0.9)
  stopped, drawn = (
    np.array(
      [
        best_of(make(searched, seed=s, segments=27), finish, 27 * 30)
        for s in range(20)
      ]
    )
    for make in (asha.ASHA, random.Random)
  )
  assert np.median(stopped) < 0.7 * np.median(drawn)
  assert np.mean(stopped < drawn) > 0.8


@pytest.mark.parametrize(
  'option,value',
  [('eta', 1), ('eta', 2.5), ('grace', 0), ('grace', 11), ('spare', -1)],
)
def test_options_out_of_range_are_refused(box, option, value):
  with pytest.raises(ValueError, match=f'^{option} is {value}; expected'):
    asha.ASHA(box('x'), **{option: value})
