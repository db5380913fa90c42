"""Tests of statistics against scipy and by simulation."""

import numpy as np
import pytest
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
