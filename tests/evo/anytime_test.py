"""Tests of losses over the charge."""

import math

import numpy as np
import pytest

from evo import anytime

STEPS = [(1.0, 4.0), (3.0, 2.0), (3.5, math.inf), (5.0, 1.0)]


@pytest.mark.parametrize(
  'charge,expected',
  [(0.9, math.inf), (1, 4), (2.9, 4), (3, 2), (4, math.inf), (5, 1), (99, 1)],
)
def test_a_loss_holds_until_the_next_incumbent(charge, expected):
  assert anytime.loss(STEPS, charge) == expected


def test_rounding_does_not_lose_the_last_incumbent():
  assert anytime.loss([(sum([0.1] * 3), 1.0)], 0.3) == 1.0
  curve = anytime.curve([[(sum([0.1] * 3), 1.0)]], 0.3, seed=0)
  assert curve['mean'] == [1.0]


def test_the_start_is_where_the_last_search_has_a_loss():
  late = [(2.0, math.inf), (2.5, 3.0)]
  assert anytime.start([STEPS, late, [(0.5, math.inf)], []]) == 2.5
  assert anytime.start([[]]) == math.inf


def test_the_area_is_the_mean_over_the_charge():
  rng = np.random.default_rng(0)
  for _ in range(10):
    charges = np.sort(rng.uniform(0, 8, 5))
    steps = list(zip(charges.tolist(), rng.normal(0, 1, 5).tolist()))
    begin, budget = charges[0] + 0.3, 9.0
    grid = np.linspace(begin, budget, 20_001)[:-1]
    sampled = np.mean([anytime.loss(steps, charge) for charge in grid])
    found = anytime.area(steps, begin, budget)
    assert found == pytest.approx(sampled, abs=2e-3)


def test_an_area_with_a_gap_or_without_length_is_infinite():
  assert anytime.area(STEPS, 1.0, 6.0) == math.inf
  assert anytime.area(STEPS, 0.5, 2.0) == math.inf
  assert anytime.area(STEPS, 5.0, 5.0) == math.inf
  assert anytime.area(STEPS, 5.0, 6.0) == 1.0


def test_a_curve_is_the_mean_of_the_searches_that_have_a_loss():
  other = [(2.0, 5.0), (4.0, 3.0), (9.0, 0.0)]
  curve = anytime.curve([STEPS, other, []], 8.0, seed=0)
  assert curve['charge'] == [2.0, 3.0, 3.5, 4.0, 5.0]
  assert curve['mean'] == [4.5, 3.5, 5.0, 3.0, 2.0]
  assert curve['n'] == [2, 2, 1, 1, 2]
  assert curve['low'][2] is None and curve['high'][3] is None
  assert curve['low'][0] < 4.5 < curve['high'][0]


def test_a_band_is_of_each_step_and_repeatable():
  rng = np.random.default_rng(0)
  losses = rng.normal(0, 1, (8, 2))
  searches = [[(1.0, a), (2.0, b)] for a, b in losses.tolist()]
  curve = anytime.curve(searches, 3.0, seed=0)
  assert curve == anytime.curve(searches, 3.0, seed=0)
  assert curve != anytime.curve(searches, 3.0, seed=1)
  # Close to the normal interval of the mean, within a third of its width.
  half = 1.96 * losses.std(0, ddof=1) / np.sqrt(8)
  width = np.subtract(curve['high'], curve['low']) / 2
  assert width == pytest.approx(half, rel=0.33)


def test_searches_without_any_loss_have_no_curve():
  assert anytime.curve([[], [(1.0, math.inf)]], 3.0, seed=0)['charge'] == []
