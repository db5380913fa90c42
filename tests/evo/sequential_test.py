"""Tests of sequential tests: published constants, quadrature, simulation."""

import functools
import itertools
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import integrate, special, stats

from evo import sequential, statistics

LOOKS = sequential.LOOKS


# Jennison and Turnbull (2000), table 2.1: Pocock's constants, two-sided.
@pytest.mark.parametrize(
  'level,looks,constant',
  [
    (0.05, 2, 2.178),
    (0.05, 3, 2.289),
    (0.05, 4, 2.361),
    (0.05, 5, 2.413),
    (0.05, 10, 2.555),
    (0.01, 2, 2.772),
    (0.01, 3, 2.873),
    (0.01, 4, 2.939),
    (0.01, 5, 2.986),
  ],
)
def test_pococks_published_constants_come_out(level, looks, constant):
  looks = tuple(range(1, looks + 1))
  # Two-sided tests err a little less often than both one-sided ones together,
  # for few experiments cross both bounds; constants have three decimals.
  crossing = 2 * sequential.crossing(float(special.ndtr(-constant)), looks)
  assert crossing == pytest.approx(level, rel=0.003)
  nominal = sequential.nominal(level / 2, looks)
  assert -special.ndtri(nominal) == pytest.approx(constant, abs=1.5e-3)


def correlation(looks):
  return np.sqrt(
    np.minimum.outer(looks, looks) / np.maximum.outer(looks, looks)
  )


@pytest.mark.parametrize('looks', [(6, 9), LOOKS, (2, 3, 30), (5, 6, 7, 8, 50)])
@pytest.mark.parametrize('level', [0.7, 0.2, 0.05, 0.005])
def test_crossings_are_those_of_scipys_multivariate_normal(looks, level):
  bounds = np.full(len(looks), -special.ndtri(level))
  below = stats.multivariate_normal.cdf(
    bounds, cov=correlation(looks), abseps=1e-6, rng=np.random.default_rng(0)
  )
  assert sequential.crossing(level, looks) == pytest.approx(1 - below, abs=2e-5)


@pytest.mark.parametrize('level', [0.3, 0.05, 1e-4, 1e-9])
def test_tiny_crossings_are_those_of_nested_adaptive_quadrature(level):
  z = -special.ndtri(level)
  slope, width = math.sqrt(6 / 9), math.sqrt(3 / 9)
  steep, narrow = math.sqrt(9 / 12), math.sqrt(3 / 12)
  accurate = {'epsabs': 0, 'epsrel': 1e-10, 'limit': 200}

  def step(z, mean=0.0, width=1.0):
    u = (z - mean) / width
    return math.exp(-u * u / 2) / math.sqrt(2 * math.pi) / width

  def second(x):
    return step(x) * special.ndtr((slope * x - z) / width)

  def third(y):  # The density of the path is that of y and of x given y.
    given_y = special.ndtr((z - slope * y) / width)
    return step(y) * given_y * special.ndtr((steep * y - z) / narrow)

  two = level + integrate.quad(second, z - 12, z, **accurate)[0]
  three = two + integrate.quad(third, z - 12, z, **accurate)[0]
  assert sequential.crossing(level, (6, 9)) == pytest.approx(two, rel=1e-8)
  assert sequential.crossing(level, (6, 9, 12)) == pytest.approx(
    three, rel=1e-8
  )


def test_one_look_costs_nothing_and_far_ones_are_independent():
  for level in (0.0, 1e-9, 0.05, 0.8, 1.0):
    assert sequential.crossing(level, (7,)) == level
    expected = 1 - (1 - level) ** 2
    assert sequential.crossing(level, (1, 10**15)) == pytest.approx(
      expected, rel=1e-6
    )
  # At the median, the chance is that of an orthant.
  close = sequential.crossing(0.5, (1000, 1001))
  angle = math.asin(math.sqrt(1000 / 1001))
  assert close == pytest.approx(0.75 - angle / (2 * math.pi), rel=1e-8)
  # Only the proportions of the looks matter.
  doubled = tuple(2 * look for look in LOOKS)
  assert sequential.crossing(0.03, doubled) == sequential.crossing(0.03, LOOKS)


@functools.cache
def sums(experiments=400_000, seed=0):
  """Sums of independent normal differences `[experiment, look]`."""
  steps = np.sqrt(np.diff(LOOKS, prepend=0))
  draws = np.random.default_rng(seed).normal(size=(experiments, len(LOOKS)))
  return (draws * steps).cumsum(1)


@pytest.mark.parametrize('level', [0.3, 0.05, 0.01, 1e-3])
def test_as_many_simulated_experiments_cross_as_the_integral_says(level):
  crossed = (sums() / np.sqrt(LOOKS) >= -special.ndtri(level)).any(1)
  chance = sequential.crossing(level, LOOKS)
  error = math.sqrt(chance * (1 - chance) / crossed.size)
  assert abs(crossed.mean() - chance) < 3 * error


levels = st.floats(-10, -0.01).map(lambda log: 10.0**log)
plans = st.lists(st.integers(1, 40), min_size=1, max_size=6, unique=True).map(
  lambda looks: tuple(sorted(looks))
)
settings = hypothesis.settings(max_examples=60, deadline=None, derandomize=True)


@settings
@hypothesis.given(levels, plans)
def test_the_nominal_level_inverts_the_crossing(level, looks):
  nominal = sequential.nominal(level, looks)
  assert sequential.crossing(nominal, looks) == pytest.approx(level, rel=1e-9)
  # Bonferroni's level is too low, and no correction too high.
  assert level / len(looks) * (1 - 1e-9) <= nominal <= level


@settings
@hypothesis.given(levels, st.floats(1.0, 2.0), plans, st.integers(41, 80))
def test_crossings_rise_with_the_level_and_with_looks(
  level, by, looks, another
):
  crossing = sequential.crossing(level, looks)
  assert crossing <= sequential.crossing(min(1.0, level * by), looks)
  assert crossing <= sequential.crossing(level, (*looks, another)) + 1e-12


def test_the_looks_around_a_number_of_pairs():
  found = [
    (sequential.reached(n, LOOKS), sequential.next_look(n, LOOKS))
    for n in (0, 5, 6, 8, 9, 15, 16, 99)
  ]
  assert found == [
    (None, 6),
    (None, 6),
    (6, 9),
    (6, 9),
    (9, 12),
    (12, 16),
    (16, None),
    (16, None),
  ]


def students(differences):
  """One-sided p of Student's test of each experiment `[experiment, look]`."""
  p = []
  for n in LOOKS:
    first = differences[:, :n]
    t = first.mean(1) / first.std(1, ddof=1) * math.sqrt(n)
    p.append(special.stdtr(n - 1, -t))
  return np.stack(p, 1)


@functools.cache
def experiments():
  """Null differences `[experiment, pair]`, and their nominal p."""
  differences = np.random.default_rng(1).normal(size=(40_000, LOOKS[-1]))
  return differences, students(differences)


def test_the_p_value_is_the_crossing_of_the_lowest_of_scipys_t_tests():
  for differences in np.random.default_rng(2).normal(0.3, 1, (20, 16)):
    lowest = 1.0
    for n in range(17):
      if n in LOOKS:
        test = stats.ttest_1samp(differences[:n], 0, alternative='greater')
        lowest = min(lowest, test.pvalue)
      p = sequential.p_value(differences[:n], LOOKS)
      assert p == pytest.approx(sequential.crossing(lowest, LOOKS))
      assert n >= LOOKS[0] or p == 1


# Student's t is a little wider than the normal theory that sets the levels.
@pytest.mark.parametrize(
  'level,low,high', [(0.05, 0.04, 0.06), (0.005, 0.004, 0.0065)]
)
def test_the_test_errs_about_as_often_as_it_says(level, low, high):
  differences, nominal = experiments()
  rejected = nominal.min(1) <= sequential.nominal(level, LOOKS)
  assert low < rejected.mean() < high
  # The real function, on some of both.
  for i in [*np.flatnonzero(rejected)[:50], *range(200)]:
    p = [sequential.p_value(differences[i, :n], LOOKS) for n in LOOKS]
    assert any(value <= level for value in p) == rejected[i]


def test_stopping_as_soon_as_student_is_content_errs_twice_as_often():
  # What looking costs where it is not paid for: the tests above are not idle.
  _, nominal = experiments()
  assert (nominal.min(1) <= 0.05).mean() > 0.1


sized = st.lists(st.floats(-1e6, 1e6), min_size=0, max_size=20)


@settings
@hypothesis.given(sized)
def test_the_p_value_never_rises_with_further_pairs(differences):
  p = [
    sequential.p_value(differences[:n], LOOKS)
    for n in range(len(differences) + 1)
  ]
  assert all(
    0 <= after <= before <= 1 for before, after in itertools.pairwise(p)
  )


@settings
@hypothesis.given(
  st.lists(st.integers(-99, 99), min_size=6, max_size=16),
  st.floats(-300, 300).map(lambda log: 10.0**log),
)
def test_the_p_value_is_the_same_in_any_unit(differences, unit):
  scaled = [unit * difference for difference in differences]
  p = sequential.p_value(differences, LOOKS)
  assert sequential.p_value(scaled, LOOKS) == pytest.approx(p, rel=1e-9)


def test_differences_that_are_all_equal_leave_no_doubt():
  for n in LOOKS:
    for value in (0.1, 1e-300, 1e300):
      assert sequential.p_value([value] * n, LOOKS) == 0
      assert sequential.p_value([-value] * n, LOOKS) == 1
    assert sequential.p_value([0.0] * n, LOOKS) == 1
  # Equal until the first look only.
  assert sequential.p_value([0.1] * 6 + [-5.0] * 10, LOOKS) == 0
  same = sequential.interval([0.5] * 7, LOOKS)
  assert same == statistics.Interval(0.5, 0.5, 0.5, 6)


def test_the_intervals_of_all_looks_cover_the_truth_at_once():
  differences = np.random.default_rng(3).normal(1.0, 2.0, (10_000, 16))
  covered = np.ones(len(differences), bool)
  for n in LOOKS:
    first = differences[:, :n]
    t = -special.stdtrit(n - 1, sequential.nominal(0.025, LOOKS))
    half = t * first.std(1, ddof=1) / math.sqrt(n)
    low, high = first.mean(1) - half, first.mean(1) + half
    covered &= (low <= 1.0) & (1.0 <= high)
    for i in range(50):  # The real function, with pairs past the look.
      ours = sequential.interval(differences[i, : n + 1], LOOKS)
      assert (ours.low, ours.high) == pytest.approx((low[i], high[i]))
      assert ours.n == n and ours.mean == pytest.approx(first[i].mean())
  assert 0.94 <= covered.mean() < 0.955


@settings
@hypothesis.given(
  st.lists(st.integers(-99, 99), min_size=6, max_size=20), st.integers(-50, 50)
)
def test_the_interval_moves_with_the_data_and_is_wider_than_students(
  differences, by
):
  hypothesis.assume(len(set(differences[:6])) > 1)
  ours = sequential.interval(differences, LOOKS)
  moved = sequential.interval([d + by for d in differences], LOOKS)
  assert (moved.low - by, moved.high - by) == pytest.approx(
    (ours.low, ours.high), abs=1e-9
  )
  students = statistics.t_interval(differences[: ours.n])
  assert ours.low < students.low and students.high < ours.high
  assert ours.mean == students.mean


@pytest.mark.parametrize('level', [0.9, 0.95, 0.99])
def test_an_interval_is_above_zero_just_where_the_p_value_is_low(level):
  both = set()
  for differences in np.random.default_rng(4).normal(0.7, 1, (60, 16)):
    above = False
    for n in LOOKS:
      interval = sequential.interval(differences[:n], LOOKS, level)
      above |= interval.low > 0
      p = sequential.p_value(differences[:n], LOOKS)
      assert above == (p < (1 - level) / 2)
      both.add(above)
  assert both == {False, True}


def test_with_one_look_all_are_students():
  differences = np.random.default_rng(5).normal(0.3, 1, 9)
  ours = sequential.interval(differences, (9,))
  theirs = statistics.t_interval(differences)
  assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
  test = stats.ttest_1samp(differences, 0, alternative='greater')
  assert sequential.p_value(differences, (9,)) == pytest.approx(test.pvalue)


def test_what_cannot_be_is_refused():
  for bad in (math.nan, math.inf):
    for function in (sequential.p_value, sequential.interval):
      with pytest.raises(ValueError, match='expected finite numbers'):
        function([1.0] * 6 + [bad], LOOKS)
  with pytest.raises(ValueError, match='5 differences; expected 6 or more'):
    sequential.interval([1.0] * 5, LOOKS)
  for looks in [(), (6, 6), (9, 6), (0, 3)]:
    for function in (sequential.crossing, sequential.nominal):
      with pytest.raises(ValueError, match='expected increasing numbers'):
        function(0.05, looks)
  with pytest.raises(ValueError, match='expected increasing numbers from 2'):
    sequential.p_value([1.0, 2.0], (1, 2))
  for level in (-0.1, 1.1, math.nan):
    for function in (sequential.crossing, sequential.nominal):
      with pytest.raises(ValueError, match=f'level is {level}'):
        function(level, LOOKS)
  with pytest.raises(ValueError, match='level is 0'):
    sequential.nominal(0.0, LOOKS)
