import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from evo import acquisition
from evo import gaussian_process as gp

RNG = np.random.default_rng(0)
PARAMETERS = gp.Parameters(
  np.log([0.7, 0.4]), np.log(1.4), np.log(0.02), np.log(0.1)
)
DATA = gp.Data(
  gp.Points(RNG.random((16, 2)), RNG.integers(0, 5, 16).astype(float)),
  RNG.normal(size=16),
  np.arange(16) < 12.0,
  np.arange(2, dtype=np.int32),
)
NOTHING = np.zeros(16)
# At one time.
POINTS = gp.Points(RNG.random((30, 2)), np.full(30, 2.0))


def expected(data, points):
  """Mean and sd, as the tests of `gaussian_process` verify them."""
  with gp.on_host():
    mean, variance = gp.posterior(PARAMETERS, data, points)
  return np.asarray(mean), np.sqrt(variance)


def judged(function, data, pending=NOTHING):
  with gp.on_host():
    return np.asarray(function(PARAMETERS, data, pending, POINTS))


def log_ei(z):
  """Without cancellation: log of phi(z) / z^2 times an integral near 1."""
  if z >= 0:
    return math.log(scipy.stats.norm.pdf(z) + z * scipy.stats.norm.cdf(z))
  integral, _ = scipy.integrate.quad(
    lambda s: s * math.exp(-s - s**2 / (2 * z**2)),
    0,
    math.inf,
    epsabs=0,
    epsrel=1e-12,
  )
  return scipy.stats.norm.logpdf(z) - 2 * math.log(-z) + math.log(integral)


def test_the_log_of_the_expected_improvement_is_exact_far_and_near():
  z = np.concatenate(
    [-np.geomspace(1e6, 1e-3, 200), [-40.0, -18.0, -1.0, 0.0, 0.5, 5.0, 30.0]]
  )
  with gp.on_host():
    scores = np.asarray(acquisition.log_expected_improvement(z))
  assert np.allclose(scores, [log_ei(value) for value in z], 1e-9, 1e-9)
  # 40 sd away the plain formula is 0; Ament et al. scale it by erfcx.
  scaled = scipy.special.erfcx(40 / math.sqrt(2)) * math.sqrt(math.pi / 2)
  expected = scipy.stats.norm.logpdf(40) + math.log1p(-40 * scaled)
  assert scores[200] == pytest.approx(expected, rel=1e-9)


def test_improvement_is_on_the_lowest_mean_at_the_time_of_the_points():
  tried = DATA.points._replace(time=np.full(16, 2.0))
  best = expected(DATA, tried)[0][:12].min()
  mean, sd = expected(DATA, POINTS)
  scores = [log_ei(z) for z in (best - mean) / sd] + np.log(sd)
  assert np.allclose(judged(acquisition.log_improvement, DATA), scores)


def test_a_confidence_bound_is_one_sd_below_the_mean():
  mean, sd = expected(DATA, POINTS)
  scores = judged(acquisition.confidence_bound, DATA)
  assert np.allclose(scores, -(mean - sd))


@pytest.mark.parametrize(
  'function', [acquisition.log_improvement, acquisition.confidence_bound]
)
def test_pending_rows_count_as_observed_at_their_mean(function):
  pending = np.zeros(16)
  pending[12:15] = 1
  times = np.where(pending, 2.0, DATA.points.time)
  data = DATA._replace(points=DATA.points._replace(time=times))
  believed = np.where(pending, expected(data, data.points)[0], data.targets)
  told = data._replace(targets=believed, real=data.real + pending)
  scores = judged(function, data, pending)
  assert np.allclose(scores, judged(function, told), rtol=1e-9, atol=1e-9)
  assert not np.allclose(scores, judged(function, data))
