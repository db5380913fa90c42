import dataclasses
import math

import numpy as np
import pytest
import scipy.stats

from evo import space
from evo.strategies import evolution, random

BAD = math.inf
SHAPED = space.Space.from_json(
  {
    'name': 'shaped',
    'parameters': {
      'rate': {
        'kind': 'float',
        'tier': 'configuration',
        'default': 0.5,
        'low': 0.0,
        'high': 1.0,
      },
      'layers': {
        'kind': 'int',
        'tier': 'architecture',
        'default': 3,
        'low': 1,
        'high': 9,
        'structural': True,
      },
    },
  }
)


@pytest.fixture
def after(box, finish):
  """A strategy whose first members have finished with these losses."""

  def make(losses, searched=None, **options):
    strategy = evolution.Evolution(
      searched or box('x'), population=len(losses), **options
    )
    for _ in range(2 if strategy.inherited else 1):
      legs = strategy.ask(len(losses), fresh=len(losses))
      told = zip(legs, losses, strict=True)
      strategy.tell([finish(leg, loss) for leg, loss in told])
    return strategy

  return make


def parents(strategy, n):
  return [leg.parent for leg in strategy.ask(n)]


def test_tournaments_are_won_as_often_as_combinatorics_say(after):
  window, size, n = 10, 4, 4000
  losses = np.random.default_rng(0).permutation(window).astype(float)
  strategy = after(list(losses), window=window, tournament=size, crossover=0)
  ranks = losses[parents(strategy, n)].astype(int)
  # The winner has rank r if the other size - 1 were drawn from those worse.
  expected = np.array(
    [
      math.comb(window - 1 - r, size - 1) / math.comb(window, size)
      for r in range(window)
    ]
  )
  counts = np.bincount(ranks, minlength=window)
  possible = expected > 0
  assert counts[~possible].sum() == 0
  test = scipy.stats.chisquare(counts[possible], n * expected[possible])
  assert test.pvalue > 0.01


def test_the_oldest_leaves_the_window_even_if_best(after, finish):
  strategy = after([0.0, 1.0, 2.0], window=3, tournament=3)
  assert set(parents(strategy, 5)) == {0}
  (leg,) = strategy.ask(1)
  strategy.tell([finish(leg, 9.0)])
  assert set(parents(strategy, 5)) == {1}


def test_ties_go_to_the_older(after):
  assert set(parents(after([1.0, 1.0], tournament=2), 5)) == {0}


def test_a_diverged_member_is_never_a_parent(after):
  strategy = after([BAD, BAD, 5.0, BAD, BAD, BAD], tournament=2)
  assert set(parents(strategy, 50)) == {2}


def test_a_diverged_member_ages_the_others(after, finish):
  strategy = after([0.0, 1.0, 2.0], window=3, tournament=3)
  (leg,) = strategy.ask(1)
  strategy.tell([finish(leg, BAD)])
  assert set(parents(strategy, 5)) == {1}


def test_until_something_has_finished_well_members_are_drawn(after, box):
  strategy = after([BAD, BAD])
  drawn = random.Random(box('x')).ask(4)[2:]
  legs = strategy.ask(2)
  assert [leg.parent for leg in legs] == [None, None]
  assert [leg.configuration for leg in legs] == [
    leg.configuration for leg in drawn
  ]


def test_no_slot_waits_for_the_first_results(box):
  strategy = evolution.Evolution(box('x'), population=2)
  assert parents(strategy, 5) == [None] * 5


def test_all_given_configurations_are_tried_first(after):
  initial = [{'x': 0.1}, {'x': 0.2}, {'x': 0.3}]
  strategy = after([1.0, 2.0], initial=initial)
  third, child = strategy.ask(2)
  assert (third.parent, third.configuration) == (None, {'x': 0.3})
  assert child.parent is not None


def test_children_differ_from_their_parents(after, box):
  strategy = after([1.0, 2.0, 3.0], searched=box('x', 'y'), crossover=0.0)
  origin = {i: strategy.initial_configuration(i) for i in range(3)}
  for leg in strategy.ask(100):
    assert leg.configuration != origin[leg.parent]


def test_recombination_mixes_winners(after, box):
  initial = [dict.fromkeys('abcdefgh', value) for value in (0.0, 1.0)]
  searched = box(*'abcdefgh')
  options = {'searched': searched, 'initial': initial, 'tournament': 1}
  crossed = after([1.0, 2.0], crossover=1.0, **options)
  plain = after([1.0, 2.0], crossover=0.0, **options)
  # Mutation changes one or two of eight, recombination of unlike ones half.
  assert _mixed(crossed.ask(200)) > 120
  assert _mixed(plain.ask(200)) < 20


def test_each_parameter_is_from_the_winner_of_a_tournament_of_its_own(
  after, box
):
  names = [f'x{i}' for i in range(24)]
  initial = [dict.fromkeys(names, float(i) / 7) for i in range(8)]
  losses = np.arange(8.0)
  strategy = after(losses, searched=box(*names), initial=initial, tournament=4)
  legs = strategy.ask(200)
  values = [list(leg.configuration.values()) for leg in legs]
  # The best of 4 out of 8 has rank r if the other three are of those worse.
  expected = [math.comb(7 - r, 3) / math.comb(8, 4) for r in range(8)]
  ranks = np.round(7 * np.array(values)).astype(int)
  counts = np.bincount(ranks.ravel(), minlength=8) / ranks.size
  # Some 1.5 of 24 are mutated.
  np.testing.assert_allclose(counts, expected, atol=0.06)
  # A child has more than two parents.
  assert min(len(set(row)) for row in ranks) > 2


def test_a_diverged_member_gives_a_child_nothing(after, box):
  initial = [{'x': 0.25, 'y': 0.25}, *[{'x': 0.75, 'y': 0.75}] * 5]
  losses = [1.0, *[BAD] * 5]
  options = {'searched': box('x', 'y'), 'initial': initial, 'step': 1e-3}
  for leg in after(losses, tournament=2, resample=0.0, **options).ask(100):
    assert max(leg.configuration.values()) < 0.3


def _mixed(legs):
  """Children with at least two parameters of either parent."""
  values = [list(leg.configuration.values()) for leg in legs]
  return sum(v.count(0.0) >= 2 and v.count(1.0) >= 2 for v in values)


def test_a_member_from_scratch_trains_in_two_legs(box, finish):
  strategy = evolution.Evolution(box('x'), population=1, inherit_at=0.35)
  (first,) = strategy.ask(1)
  assert (first.source, first.start, first.stop) == (None, 0, 3)
  assert first.keep
  strategy.tell([finish(first)])
  (second,) = strategy.ask(1, fresh=0)
  assert (second.source, second.start, second.stop) == ((0, 3), 3, 10)
  assert second.goes_on and not second.keep
  assert second.configuration == first.configuration
  assert strategy.pinned() == {(0, 3)}


def test_half_a_budget_makes_no_parent(box, finish):
  strategy = evolution.Evolution(box('x'), population=1, inherit_at=0.5)
  strategy.tell([finish(leg) for leg in strategy.ask(1)])
  second, other = strategy.ask(2)
  assert second.goes_on
  assert other.parent is None and other.start == 0


def test_a_member_that_diverges_in_its_first_leg_does_not_go_on(box, finish):
  strategy = evolution.Evolution(box('x'), population=1, inherit_at=0.5)
  strategy.tell([finish(leg, BAD) for leg in strategy.ask(1)])
  assert strategy.ask(4, fresh=0) == []
  assert strategy.pinned() == set()


def test_heirs_start_from_the_state_of_their_origin(after, finish):
  strategy = after([0.0, 1.0], inherit_at=0.5, scratch=0.0, tournament=4)
  (child,) = strategy.ask(1)
  assert (child.parent, child.source) == (0, (0, 5))
  assert (child.start, child.stop, child.keep) == (5, 10, False)
  strategy.tell([finish(child, -1.0)])
  (grandchild,) = strategy.ask(1)
  # Its parent holds the state that member 0 kept: nobody trains longer.
  assert (grandchild.parent, grandchild.source) == (2, (0, 5))


def test_states_are_pinned_while_a_parent_holds_them(after, finish):
  strategy = after([0.0, 1.0], inherit_at=0.5, scratch=0.0, window=2)
  assert strategy.pinned() == {(0, 5), (1, 5)}
  children = strategy.ask(2)
  origins = {leg.source for leg in children}
  # Both founders leave the window; those with heirs stay pinned.
  strategy.tell([finish(leg, -1.0) for leg in children])
  assert strategy.pinned() == origins


def test_a_share_of_children_trains_from_scratch(after):
  strategy = after([0.0, 1.0], inherit_at=0.5, scratch=0.25)
  legs = strategy.ask(1000)
  roots = [leg for leg in legs if leg.source is None]
  assert all((leg.start, leg.stop, leg.keep) == (0, 5, True) for leg in roots)
  assert all(leg.parent is not None for leg in roots)
  # Four standard deviations of a binomial count.
  assert abs(len(roots) - 250) < 4 * math.sqrt(1000 * 0.25 * 0.75)


def test_a_child_of_another_structure_trains_from_scratch(after):
  strategy = after(
    [0.0, 1.0], searched=SHAPED, inherit_at=0.5, scratch=0.0, tournament=1
  )
  shapes = [strategy.initial_configuration(i)['layers'] for i in range(2)]
  legs = strategy.ask(100)
  fits = [leg.configuration['layers'] == shapes[leg.parent] for leg in legs]
  assert 10 < sum(fits) < 90
  assert fits == [leg.source is not None for leg in legs]


def test_an_heir_that_beats_all_roots_is_trained_from_scratch_once(
  after, finish
):
  strategy = after([0.0, 1.0], inherit_at=0.5, scratch=0.0)
  heirs = strategy.ask(2)
  strategy.tell([finish(leg, loss) for leg, loss in zip(heirs, (-1.0, 0.5))])
  strategy.scratch = 1.0
  shown, other = strategy.ask(2)
  assert shown.configuration == heirs[0].configuration
  assert (shown.parent, shown.source, shown.stop) == (heirs[0].member, None, 5)
  # The other heir is worse than a root.
  assert other.source is None
  assert other.configuration not in [leg.configuration for leg in heirs]
  # It is one of them now; it goes on, and the root that it beat is remembered.
  strategy.tell([finish(shown)])
  (rest,) = strategy.ask(1, fresh=0)
  assert rest.member == shown.member and rest.start == 5


def test_an_heir_worse_than_a_root_that_left_the_window_is_not_shown(
  after, finish
):
  strategy = after([0.0, 1.0], inherit_at=0.5, scratch=0.0, window=2)
  heirs = strategy.ask(2)
  strategy.tell([finish(leg, 0.5) for leg in heirs])
  strategy.scratch = 1.0
  (root,) = strategy.ask(1)
  assert root.source is None
  assert root.configuration not in [leg.configuration for leg in heirs]


def test_what_acts_at_the_start_is_changed_by_those_alone_who_start(after):
  begun = space.Space.from_json(
    {
      'name': 'begun',
      'parameters': {
        name: SHAPED.by_name['rate'].to_json() | {'initial': name != 'rate'}
        for name in ('rate', 'a', 'b', 'c')
      },
    }
  )
  strategy = after([0.0, 1.0], searched=begun, inherit_at=0.5)
  founders = [strategy.initial_configuration(i) for i in range(2)]
  rooted = 0
  for leg in strategy.ask(200):
    changed = {
      n for n in 'abc' if leg.configuration[n] != founders[leg.parent][n]
    }
    rooted += bool(changed)
    if leg.source:
      assert not changed
      assert leg.configuration['rate'] != founders[leg.parent]['rate']
  assert rooted > 20
  # Where nothing else may change, nobody has a reason to take weights over.
  only = dataclasses.replace(begun, free=frozenset('abc'))
  strategy = after([0.0, 1.0], searched=only, inherit_at=0.5, scratch=0.0)
  assert all(leg.source is None for leg in strategy.ask(20))


def test_without_inheritance_children_train_from_scratch(after):
  for leg in after([0.0, 1.0]).ask(20):
    assert (leg.source, leg.start, leg.stop) == (None, 0, 10)
    assert not leg.keep


@pytest.mark.parametrize(
  'inherit_at,segments,inherited',
  [(0.29, 100, 29), (0.35, 10, 3), (0.99, 1, 0), (0.05, 10, 0), (0.3, 10, 3)],
)
def test_the_inheritance_point_is_floored_to_segments(
  box, inherit_at, segments, inherited
):
  strategy = evolution.Evolution(
    box('x'), inherit_at=inherit_at, segments=segments
  )
  assert strategy.inherited == inherited


def test_results_of_one_batch_come_in_any_order(box, finish):
  def children(order):
    strategy = evolution.Evolution(box('x'), population=6, window=3)
    legs = strategy.ask(6)
    strategy.tell([finish(legs[i], float(i)) for i in order])
    return strategy.ask(20)

  assert children([0, 1, 2, 3, 4, 5]) == children([3, 5, 1, 0, 4, 2])


def best_of(strategy, finish, members=100):
  """The smallest loss of a quadratic bowl after that many members."""
  best = math.inf
  while members > 0:
    legs = strategy.ask(8, fresh=members)
    members -= len(legs)
    point = [np.array([*leg.configuration.values()]) for leg in legs]
    losses = [float(np.sum((x - 0.3) ** 2)) for x in point]
    best = min(best, *losses)
    strategy.tell([finish(*pair) for pair in zip(legs, losses)])
  return best


def test_evolution_beats_random_search_on_a_bowl(box, finish):
  searched = box(*'abcde', default=0.9)
  evolved, drawn = (
    np.array([best_of(make(searched, seed=s), finish) for s in range(20)])
    for make in (evolution.Evolution, random.Random)
  )
  assert evolved.mean() < 0.5 * drawn.mean()
  assert np.mean(evolved < drawn) > 0.8


def test_recombination_gains_where_many_parameters_add_up(box, finish):
  # 24 members, as in the quick preset, of 24 parameters: the members that
  # are better are so by different ones of them.
  searched = box(*(f'x{i}' for i in range(24)), default=0.9)
  pooled, mutated, drawn = (
    np.array([best_of(make(s), finish, members=24) for s in range(60)])
    for make in (
      lambda s: evolution.Evolution(searched, seed=s),
      lambda s: evolution.Evolution(searched, seed=s, crossover=0.0),
      lambda s: random.Random(searched, seed=s),
    )
  )
  for other in (mutated, drawn):
    assert (
      scipy.stats.ttest_rel(pooled, other, alternative='less').pvalue < 0.01
    )
