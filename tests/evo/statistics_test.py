"""Tests of statistics against scipy and by simulation."""

import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from evo import statistics


@pytest.mark.parametrize('level', [0.8, 0.95, 0.99])
def test_the_interval_is_that_of_scipys_one_sample_t_test(level):
  sample = np.random.default_rng(0).normal(0.3, 1, 9)
  ours = statistics.t_interval(sample, level)
  theirs = stats.ttest_1samp(sample, 0.0).confidence_interval(level)
  assert ours.mean == pytest.approx(sample.mean()) and ours.n == 9
  assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_the_interval_of_four_pairs_covers_the_truth_as_often_as_it_says():
  rng = np.random.default_rng(0)
  covered = 0
  for sample in rng.normal(1.0, 2.0, (4000, 4)):
    interval = statistics.t_interval(sample)
    covered += interval.low <= 1.0 <= interval.high
  assert abs(covered / 4000 - 0.95) < 0.012  # Over 3 standard errors.


@pytest.mark.parametrize('sample', [[], [1.0], [1.0, np.nan], [1.0, np.inf]])
def test_a_sample_without_an_interval_is_refused(sample):
  with pytest.raises(ValueError, match='expected two finite numbers or more'):
    statistics.t_interval(sample)


@pytest.mark.parametrize('n', [8, 12])
def test_bootstrapped_bounds_cover_the_truth_about_as_often_as_they_say(n):
  rng = np.random.default_rng(0)
  levels = (0.025, 0.95, 0.975)
  bounds = np.array(
    [
      statistics.bootstrap_bounds(sample, levels, rng, draws=1000)
      for sample in rng.normal(1.0, 2.0, (1500, n))
    ]
  )
  low, bound, high = bounds.T
  # Three standard errors are .017; plain percentiles cover only .89 at n = 8.
  assert ((low <= 1.0) & (1.0 <= high)).mean() == pytest.approx(0.95, abs=0.02)
  assert (bound >= 1.0).mean() == pytest.approx(0.95, abs=0.02)


def test_bootstrapped_bounds_of_many_numbers_are_scipys():
  sample = np.random.default_rng(1).exponential(1.0, 400)
  ours = statistics.bootstrap_bounds(
    sample, (0.025, 0.975), np.random.default_rng(0)
  )
  theirs = stats.bootstrap(
    (sample,), np.mean, method='percentile', rng=np.random.default_rng(1)
  ).confidence_interval
  assert ours == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_bootstrapped_bounds_follow_the_generator():
  sample = np.random.default_rng(2).normal(0, 1, 9)
  first, again, other = (
    statistics.bootstrap_bounds(sample, [0.9], np.random.default_rng(seed))
    for seed in (0, 0, 1)
  )
  assert first == again and first != other
  with pytest.raises(ValueError, match='expected two finite numbers or more'):
    statistics.bootstrap_bounds([1.0], [0.9], np.random.default_rng(0))


def test_the_signed_rank_test_is_scipys_exact_one():
  for differences in np.random.default_rng(0).normal(0.5, 1, (20, 9)):
    ours = statistics.signed_rank(differences)
    theirs = stats.wilcoxon(differences, method='exact')
    assert ours.p == pytest.approx(theirs.pvalue)
    positive = 0.5 * (1 + ours.effect) * 45
    assert min(positive, 45 - positive) == pytest.approx(theirs.statistic)


def sign_flips(differences):
  """An independent exact test: all signs are equally likely."""
  kept = np.array([d for d in differences if d])
  ranks = stats.rankdata(np.abs(kept))
  signs = np.array(list(itertools.product((-1, 1), repeat=kept.size)))
  seen = abs(np.sign(kept) @ ranks)
  return float((np.abs(signs @ ranks) >= seen - 1e-9).mean())


@pytest.mark.parametrize(
  'differences',
  [
    [1, -1, 2, 2, 3, 5, 5, -2],  # Equal sizes.
    [0, 0, 1, 2, 3, 4, -5],  # Zeros.
    [0, 0, 1, 1, -1, 2, 2, 7],  # Both.
    [3, 3, 3, 3, 3, 3, -3, 3, 3, 3, 3, 3, 3, -1, 2, 2],  # More than scipy.
    [1, -1],
    [5],
  ],
)
def test_ties_and_zeros_leave_the_signed_rank_test_exact(differences):
  p = statistics.signed_rank(differences).p
  assert p == pytest.approx(sign_flips(differences))


def test_infinite_differences_are_the_largest_in_the_signed_rank_test():
  wide = statistics.signed_rank([-1, -2, 3, 4, 5, np.inf, np.inf])
  assert wide == statistics.signed_rank([-1, -2, 3, 4, 5, 99, 99])
  assert statistics.signed_rank([0.0, 0.0]) == statistics.SignedRank(1.0, 0.0)
  with pytest.raises(ValueError, match='expected no NaN'):
    statistics.signed_rank([1.0, np.nan])


def test_holms_correction_is_that_of_its_definition():
  rng = np.random.default_rng(0)
  for p in [rng.random(m) ** 4 for m in (1, 2, 5, 12) for _ in range(20)]:
    adjusted = statistics.holm(p)
    for level in (0.01, 0.05, 0.2):
      rejected, left = set(), list(range(p.size))
      while left:  # Step down: the smallest first.
        i = min(left, key=lambda i: p[i])
        if p[i] > level / len(left):
          break
        rejected.add(i)
        left.remove(i)
      assert set(np.flatnonzero(adjusted <= level)) == rejected
  assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx(
    [0.03, 0.06, 0.06]
  )


def test_holm_rarely_errs_on_many_strategies_that_are_equal():
  rng = np.random.default_rng(0)
  wrong = 0
  for _ in range(1000):
    losses = rng.normal(0, 1, (9, 5))
    losses -= losses[:, :1]  # All against one reference: dependent tests.
    p = [statistics.signed_rank(losses[:, i]).p for i in range(1, 5)]
    wrong += (statistics.holm(p) < 0.05).any()
  assert wrong / 1000 < 0.05 + 0.014  # Two standard errors.


@pytest.mark.parametrize('m', [1, 2, 5, 40])
def test_benjamini_and_hochbergs_correction_is_scipys(m):
  rng = np.random.default_rng(m)
  for p in [rng.random(m) ** 4 for _ in range(20)]:
    p = np.round(p, 2)  # With ties and zeros.
    theirs = stats.false_discovery_control(p, method='bh')
    assert statistics.benjamini_hochberg(p) == pytest.approx(theirs)


def test_benjamini_and_hochberg_agree_with_an_example_by_hand():
  adjusted = statistics.benjamini_hochberg([0.04, 0.01, 1.0, 0.03])
  assert adjusted == pytest.approx([0.16 / 3, 0.04, 1.0, 0.16 / 3])
  assert statistics.benjamini_hochberg([]).size == 0


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=200, deadline=None, derandomize=True)
def test_lowering_a_p_raises_no_p_adjusted_by_benjamini_and_hochberg(data):
  p = data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=12))
  i = data.draw(st.integers(0, len(p) - 1))
  lower = [*p[:i], data.draw(st.floats(0, p[i])), *p[i + 1 :]]
  before = statistics.benjamini_hochberg(p)
  assert (statistics.benjamini_hochberg(lower) <= before).all()
  assert (before >= p).all() and (before <= 1).all()
  assert (before <= statistics.holm(p) * (1 + 1e-12)).all()


def test_friedmans_test_is_scipys():
  losses = np.random.default_rng(0).normal(np.arange(5) / 3, 1, (10, 5))
  ours = statistics.friedman(losses)
  assert ours.chi2 == pytest.approx(
    stats.friedmanchisquare(*losses.T).statistic
  )


@pytest.mark.parametrize('blocks', [2, 3, 6])
def test_blocks_that_agree_are_no_rarer_than_chance_has_it(blocks):
  agreed = statistics.friedman(np.tile(np.arange(4.0), (blocks, 1)))
  assert agreed.chi2 == pytest.approx(3 * blocks)
  # The others have the order of the first.
  assert agreed.p == pytest.approx((1 / 24) ** (blocks - 1))


# Demsar (2006), table 6: the area under the curve of C4.5, C4.5+m, C4.5+cf and
# C4.5+m+cf on 14 data sets. The last digit of one was lost in print: the ranks
# in the table say that C4.5+cf is the better of two that read 0.975.
DEMSAR = """
0.763 0.768 0.771 0.798   0.599 0.591 0.590 0.569   0.954 0.971 0.968 0.967
0.628 0.661 0.654 0.657   0.882 0.888 0.886 0.898   0.936 0.931 0.916 0.931
0.661 0.668 0.609 0.685   0.583 0.583 0.563 0.625   0.775 0.838 0.866 0.875
1.000 1.000 1.000 1.000   0.940 0.962 0.965 0.962   0.619 0.666 0.614 0.669
0.972 0.981 0.9751 0.975  0.957 0.978 0.946 0.970
"""


def test_the_published_comparison_of_four_classifiers_comes_out_as_printed():
  losses = -np.array(DEMSAR.split(), np.float64).reshape(14, 4)
  averages = statistics.ranks(losses).mean(0)
  assert averages == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
  test = statistics.friedman(losses)
  assert test.chi2 == pytest.approx(9.28, abs=0.005)
  assert test.f == pytest.approx(3.69, abs=0.005)
  # Significant: the critical value of F(3, 39) is 2.85 at .05.
  assert test.p == pytest.approx(stats.f(3, 39).sf(3.69), abs=1e-4)
  difference = statistics.critical_difference(4, 14)
  assert difference == pytest.approx(1.25, abs=0.005)
  # "The difference between best and worst is smaller than that": one group.
  assert statistics.cliques(averages, difference) == [[3, 1, 2, 0]]
  at_a_tenth = statistics.critical_difference(4, 14, 0.1)
  assert at_a_tenth == pytest.approx(1.12, abs=0.005)


@pytest.mark.parametrize(
  'k,q', [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)]
)
def test_critical_values_are_those_of_the_published_table(k, q):
  scale = np.sqrt(k * (k + 1) / 60)
  difference = statistics.critical_difference(k, 10)
  assert difference == pytest.approx(q * scale, abs=0.001)


@pytest.mark.parametrize(
  'averages,expected',
  [
    ([1.0, 3.0, 5.0], []),  # Exactly apart is apart.
    ([1.0, 2.9, 4.8], [[0, 1], [1, 2]]),
    ([4.8, 1.0, 2.9], [[1, 2], [2, 0]]),
    ([1.0, 1.5, 2.0, 5.0], [[0, 1, 2]]),  # No group within a group.
    ([2.0, 2.0], [[0, 1]]),
  ],
)
def test_groups_hold_whatever_is_closer_than_the_difference(averages, expected):
  assert statistics.cliques(averages, 2.0) == expected
