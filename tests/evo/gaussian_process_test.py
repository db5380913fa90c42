import math

import numpy as np
import pytest
import scipy.optimize
import scipy.spatial.distance
import scipy.stats

from evo import gaussian_process as gp

GROUPS = np.array([0, 1, 1, 2], np.int32)
PARAMETERS = gp.Parameters(
  np.log([0.7, 0.4, 1.3]), np.log(1.4), np.log(0.02), np.log(0.1)
)


def points(n, seed=0):
  rng = np.random.default_rng(seed)
  return gp.Points(rng.random((n, 4)), rng.integers(0, 5, n).astype(float))


def observed(n=12, rows=16):
  """Targets of a smooth function; the rows after the first n are rubbish."""
  where = points(rows)
  targets = np.sin(5 * where.features[:, 0]) + where.features[:, 1]
  targets[n:] = 1e3
  return gp.Data(where, targets, np.arange(rows) < n * 1.0, GROUPS)


DATA = observed()


def kernel(p, a, b):
  """As in the textbook: Matern-5/2 of scaled distances, times .9^(dt/2)."""
  scales = np.exp(p.scales)[GROUPS]
  r = math.sqrt(5) * scipy.spatial.distance.cdist(
    a.features / scales, b.features / scales
  )
  forgotten = 1 - np.exp(-2 * np.exp(p.forgetting))
  lags = np.abs(np.subtract.outer(a.time, b.time))
  matern = np.exp(p.variance) * (1 + r + r**2 / 3) * np.exp(-r)
  return matern * (1 - forgotten) ** (lags / 2)


def real(data):
  """The rows that count: (points, targets)."""
  n = int(data.real.sum())
  return gp.Points(data.points.features[:n], data.points.time[:n]), (
    data.targets[:n]
  )


def covariance(p, where):
  noise = np.exp(p.noise) + gp.JITTER * np.exp(p.variance)
  return kernel(p, where, where) + noise * np.eye(len(where.time))


def log_likelihood(p, data):
  where, targets = real(data)
  normal = scipy.stats.multivariate_normal(cov=covariance(p, where))
  return normal.logpdf(targets)


def posterior(p, where, targets, at):
  """Mean and covariance, without the noise."""
  cross = kernel(p, where, at)
  gain = np.linalg.solve(covariance(p, where), cross).T
  return gain @ targets, kernel(p, at, at) - gain @ cross


def changed(p, vector):
  return gp.Parameters(vector[:3], *vector[3:])


def flat(p):
  return np.concatenate([np.ravel(part) for part in p])


def test_the_posterior_is_that_of_the_textbook():
  at = points(30, seed=1)
  with gp.on_host():
    mean, variance = gp.posterior(PARAMETERS, DATA, at)
  expected, spread = posterior(PARAMETERS, *real(DATA), at)
  assert np.allclose(mean, expected, rtol=0, atol=1e-10)
  assert np.allclose(variance, np.diag(spread), rtol=0, atol=1e-10)
  assert mean.dtype == np.float64


def test_the_likelihood_is_that_of_a_normal_distribution():
  with gp.on_host():
    value, _ = gp.log_marginal_likelihood(PARAMETERS, DATA)
  assert float(value) == pytest.approx(log_likelihood(PARAMETERS, DATA), 1e-10)


def test_the_gradient_agrees_with_finite_differences():
  with gp.on_host():
    _, slope = gp.log_marginal_likelihood(PARAMETERS, DATA)
  expected = scipy.optimize.approx_fprime(
    flat(PARAMETERS),
    lambda v: log_likelihood(changed(PARAMETERS, v), DATA),
    1e-6,
  )
  assert np.allclose(flat(slope), expected, rtol=1e-4, atol=1e-4)


def test_a_fit_finds_what_another_optimiser_finds():
  data = observed(40, 64)
  middle, spread = (flat(p) for p in gp.prior(3))

  def loss(vector):
    away = (vector - middle) / spread
    return away @ away / 2 - log_likelihood(changed(PARAMETERS, vector), data)

  fitted = gp.fit(data, gp.prior(3)[0])
  found = scipy.optimize.minimize(loss, middle)
  assert loss(flat(fitted)) < found.fun + 1e-2
  # The function does not depend on the last column.
  assert fitted.scales[2] > fitted.scales[0]


def test_a_fit_learns_the_noise():
  where = points(200)._replace(time=np.zeros(200))
  noise = np.random.default_rng(1).normal(0, 0.3, 200)
  targets = np.sin(5 * where.features[:, 0]) + noise
  data = gp.Data(where, targets, np.ones(200), GROUPS)
  fitted = gp.fit(data, gp.prior(3)[0])
  assert np.exp(fitted.noise) == pytest.approx(0.09, rel=0.3)


def test_what_is_no_number_is_an_error():
  broken = DATA._replace(targets=np.where(DATA.real, np.nan, 0.0))
  with pytest.raises(FloatingPointError, match='the density is nan'):
    gp.fit(broken, PARAMETERS)
