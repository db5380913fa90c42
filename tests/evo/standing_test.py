"""Tests of where strategies stand at one charge."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats

from evo import standing

INF = math.inf


@pytest.fixture
def losses():
  """Four strategies on nine seeds; b is better than a, and d worse."""
  rng = np.random.default_rng(0)
  levels = dict(zip('abcd', (0.0, -2.0, 0.1, 2.0)))
  return {k: rng.normal(v, 0.3, 9).tolist() for k, v in levels.items()}


def test_it_agrees_with_scipy_and_numpy(losses):
  found = standing.standing(losses, 'a', seed=0)
  json.dumps(found, allow_nan=False)
  table = np.array(list(losses.values())).T
  ranks = stats.rankdata(table, axis=1)
  for i, (name, own) in enumerate(losses.items()):
    entry = found['strategies'][name]
    assert entry['final'] == own and entry['failed'] == 0
    assert entry['average_rank'] == pytest.approx(ranks[:, i].mean())
    assert entry['median_rank'] == np.median(ranks[:, i])
    theirs = stats.ttest_1samp(own, 0).confidence_interval(0.95)
    ends = entry['mean']['low'], entry['mean']['high']
    assert ends == pytest.approx((theirs.low, theirs.high))
  test = stats.friedmanchisquare(*table.T)
  assert found['friedman']['chi2'] == pytest.approx(test.statistic)


def test_pairs_are_tested_against_the_reference_only(losses):
  found = standing.standing(losses, 'a', seed=0)['strategies']
  assert found['a']['paired'] is None
  p = {}
  for name in 'bcd':
    paired = found[name]['paired']
    differences = np.subtract(losses[name], losses['a'])
    p[name] = stats.wilcoxon(differences, method='exact').pvalue
    assert paired['p'] == pytest.approx(p[name])
    theirs = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (paired['low'], paired['high']) == pytest.approx(tuple(theirs))
    mean, scale = differences.mean(), stats.sem(differences)
    one_sided = stats.t.ppf(0.95, 8, mean, scale)
    assert paired['bound'] == pytest.approx(one_sided, abs=scale / 2)
  # Two are as extreme as can be, and the third is not small.
  adjusted = [found[name]['paired']['p_adjusted'] for name in 'bcd']
  assert adjusted == pytest.approx([3 * p['b'], p['c'], 3 * p['d']])


def test_verdicts_follow_the_tests(losses):
  found = standing.standing(losses, 'a', seed=0)
  verdicts = {k: v['verdict'] for k, v in found['strategies'].items()}
  assert verdicts == {
    'b': 'better than a',
    'a': 'the reference',
    'c': 'no significant difference from a',
    'd': 'worse than a',
  }
  assert list(found['strategies']) == ['b', 'a', 'c', 'd']  # By their means.
  headline = standing.headline(found, 'a', 9)
  assert headline == 'Better than a: b; worse: d'


def test_groups_join_just_the_pairs_that_are_closer_than_the_difference(losses):
  found = standing.standing(losses, 'a', seed=0)
  averages = {k: v['average_rank'] for k, v in found['strategies'].items()}
  joined = {frozenset((a, b)) for g in found['cliques'] for a in g for b in g}
  limit = found['critical_difference']
  assert limit == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 9)), abs=1e-3)
  for a, b in itertools.combinations(averages, 2):
    close = abs(averages[a] - averages[b]) < limit
    assert (frozenset((a, b)) in joined) == close


def test_what_failed_is_worst_in_ranks_and_left_out_of_means():
  losses = {'a': [1.0, 2.0, 3.0], 'b': [0.5, INF, INF], 'c': [9.0, 9.0, INF]}
  found = standing.standing(losses, 'a', seed=0)
  json.dumps(found, allow_nan=False)
  a, b, c = (found['strategies'][name] for name in 'abc')
  assert b['final'] == [0.5, None, None] and b['failed'] == 2
  assert b['mean'] == {'mean': 0.5, 'low': None, 'high': None, 'n': 1}
  assert c['mean']['mean'] == 9.0 and c['mean']['n'] == 2
  ranks = [entry['average_rank'] * 3 for entry in (a, b, c)]
  assert ranks == pytest.approx([2 + 1 + 1, 1 + 3 + 2.5, 3 + 2 + 2.5])
  # One pair has a difference; the two failures count in the test.
  assert b['paired']['n'] == 1 and b['paired']['bound'] is None
  assert b['paired']['p'] == pytest.approx(
    stats.wilcoxon([-0.5, 9, 9.1], method='exact').pvalue
  )


def test_a_strategy_that_always_fails_is_worse_although_it_has_no_mean():
  losses = {'a': list(range(8)), 'b': [INF] * 8}
  found = standing.standing(losses, 'a', seed=0)
  b = found['strategies']['b']
  assert b['mean'] is None and b['paired']['mean'] is None
  assert b['verdict'] == 'worse than a'
  assert list(found['strategies']) == ['a', 'b']


def test_failures_of_both_are_equal():
  losses = {'a': [INF] * 8, 'b': [INF] * 8}
  found = standing.standing(losses, 'a', seed=0)['strategies']['b']
  assert found['paired']['p'] == 1.0 and found['average_rank'] == 1.5


@pytest.mark.parametrize('k', [2, 3, 7, 13])
def test_too_few_seeds_are_said_to_be(k):
  enough = next(n for n in range(2, 99) if (k - 1) * 2 / 2**n < 0.05)
  for n in (enough - 1, enough):
    # All seeds agree: nothing can be clearer.
    losses = {f's{i}': [float(i)] * n for i in range(k)}
    found = standing.standing(losses, 's0', seed=0)
    assert found['seeds_needed'] == enough
    verdicts = {v['verdict'] for v in found['strategies'].values()}
    assert ('worse than s0' in verdicts) == (n == enough)
    headline = standing.headline(found, 's0', n)
    assert ('too few' in headline) == (n < enough)


def test_ranks_of_two_have_no_test_of_all():
  found = standing.standing({'a': [1.0, 2.0], 'b': [2.0, 1.0]}, 'a', seed=0)
  assert found['friedman'] is found['critical_difference'] is None


def test_a_bound_does_not_depend_on_who_else_takes_part(losses):
  all_four = standing.standing(losses, 'a', seed=0)['strategies']['b']
  two = {name: losses[name] for name in 'ab'}
  alone = standing.standing(two, 'a', seed=0)['strategies']['b']
  assert alone['paired']['bound'] == all_four['paired']['bound']
  again = standing.standing(losses, 'a', seed=1)['strategies']['b']
  assert again['paired']['bound'] != alone['paired']['bound']


def test_a_headline_stays_short():
  losses = {
    f'a strategy with a long name {i}': [-float(i)] * 20 for i in range(9)
  }
  reference = next(iter(losses))
  found = standing.standing(losses, reference, seed=0)
  headline = standing.headline(found, reference, 20)
  assert headline == f'Better than {reference}: 8 strategies'
