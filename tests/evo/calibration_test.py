"""Tests of the calibration."""

import math

import numpy as np
import pytest

from evo import ablation, calibration, space


def make(**parameters):
  return space.Space.from_json(
    {
      'name': 's',
      'parameters': {
        name: {'tier': 'configuration'} | p for name, p in parameters.items()
      },
    }
  )


FLOAT = {'kind': 'float', 'low': 0, 'high': 2, 'default': 0.5}
RATE = {'kind': 'log_float', 'low': 1e-4, 'high': 1e-1, 'default': 1e-1}
CHOICE = {'kind': 'choice', 'choices': [1, 2], 'default': 1}


def test_a_nudge_moves_what_is_continuous_by_as_good_as_nothing():
  known = make(x=FLOAT, rate=RATE, c=CHOICE)
  arms = calibration.arms(known)
  nudged = arms['nudged']
  assert arms['baseline'] == known.baseline
  assert nudged['x'] == pytest.approx(0.502)
  # Downwards, where there is no room above: a thousandth of three decades.
  assert math.log10(nudged['rate']) == pytest.approx(-1.003)
  assert nudged['c'] == 1


def test_a_nudge_is_none_unless_float32_sees_it():
  narrow = {'kind': 'float', 'low': 1 - 1e-6, 'high': 1 + 1e-6, 'default': 1.0}
  high = narrow | {'low': 1 - 2e-6, 'high': 1.0}
  nudged = calibration.arms(make(x=narrow, y=high))['nudged']
  assert nudged == {'x': 1 - 1e-6, 'y': 1 - 2e-6}


def test_where_nothing_is_continuous_there_is_one_arm():
  assert list(calibration.arms(make(c=CHOICE))) == ['baseline']


def test_what_may_not_change_is_not_nudged():
  fixed = make(x=FLOAT, y=FLOAT | {'tier': 'architecture'})
  arms = calibration.arms(fixed.restrict(['configuration']))
  assert arms['nudged'] == {'x': pytest.approx(0.502), 'y': 0.5}


def test_the_noise_is_that_of_the_runs():
  baseline, nudged = [1.0, 2.0, 3.0], [1.1, 2.0, 2.9]
  noise = calibration.noise(baseline, nudged)
  assert (noise.n, noise.mean, noise.sd) == (3, 2.0, 1.0)
  assert noise.sd_paired == pytest.approx(0.1)
  assert noise.worth == 1.0


def test_without_a_sound_baseline_there_is_no_noise_to_know():
  assert calibration.noise([1.0, math.inf], None) is None
  assert calibration.noise([1.0], None) is None
  assert calibration.noise([1.0, 2.0], [1.0, math.inf]).sd_paired is None
  # Of a calibration that was stopped one run of a pair may be missing.
  assert calibration.noise([1.0, 2.0], [1.0]).sd_paired is None


@pytest.mark.parametrize('members', [2, 24, 200])
def test_the_null_is_what_a_greedy_rule_keeps_in_pure_noise(members):
  noise = calibration.Noise(8, 2.0, sd=5.0, sd_paired=math.sqrt(2))
  losses = np.random.default_rng(0).normal(size=(4000, members))
  kept = [ablation.greedy_keeps(run) for run in losses]
  gain = losses[:, 0] - losses.min(1)
  keeps, gained = noise.null([members])
  assert np.mean(kept) == pytest.approx(keeps, abs=5 * np.std(kept) / 63)
  assert np.mean(gain) == pytest.approx(gained, abs=5 * np.std(gain) / 63)


def test_one_member_finds_nothing():
  assert calibration.Noise(8, 2.0, 1.0, 1.0).null([1]) == (0.0, 0.0)
  null = calibration.Null(sd_paired=1.0)
  null.search()
  assert null.member() == (0.0, 0.0)


def test_without_the_noise_of_pairs_no_gain_of_chance_is_known():
  kept, gain = calibration.Noise(8, 2.0, 1.0, None).null([3])
  assert kept == pytest.approx(1 / 2 + 1 / 3) and gain is None


@pytest.mark.parametrize('searches', [(2,), (100,), (10, 30, 20)])
def test_what_chance_claims_at_most_is_a_quantile_of_the_greedy_gain(searches):
  rng, gains = np.random.default_rng(1), 0.0
  # Of campaigns whose own noise is 0.1 where eight seeds happen to say so.
  null = calibration.Null(sd_paired=0.1, n=8)
  sd = 0.1 / np.sqrt(rng.chisquare(7, (20_000, 1)) / 7)
  for members in searches:
    losses = rng.normal(0, sd / math.sqrt(2), (20_000, members))
    gains = gains + losses[:, 0] - losses.min(1)
    null.search()
    expected, high = [null.member() for _ in range(members)][-1]
  # The factor between the two sds is 1 of itself, but not its mean.
  mean = gains.mean() / np.mean(sd / 0.1)
  assert expected == pytest.approx(mean, abs=0.003)
  assert np.mean(gains <= high) == pytest.approx(0.95, abs=0.006)
  noise = calibration.Noise(8, 2.0, 0.5, sd_paired=0.1)
  assert noise.null(searches)[1] == pytest.approx(expected)


def test_over_several_searches_chance_claims_less_than_their_quantiles():
  alone, together = [], calibration.Null(sd_paired=1.0)
  for _ in range(3):
    single = calibration.Null(sd_paired=1.0)
    for null in (single, together):
      null.search()
    alone.append([single.member() for _ in range(30)][-1][1])
    _, high = [together.member() for _ in range(30)][-1]
  assert high < 0.9 * sum(alone)
