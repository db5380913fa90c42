"""Gaussian-process regression with learned parameters.

The textbook's model (Rasmussen and Williams, "Gaussian Processes for Machine
Learning", 2006, chapters 2 and 5): mean 0, a Matern-5/2 kernel with a length
scale per parameter, learned noise. Everything is a pure function of arrays, in
float64 on this process's CPU whatever the accelerators are: a Cholesky factor
of a kernel matrix is not to be had in float32. Shapes do not grow with what is
observed, as rows beyond it are masked, so each program compiles once.
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import threadpoolctl

# Of the kernel's own scale, on the diagonal: what keeps a factor exact when
# the noise is fitted away and points lie close together.
JITTER = 1e-5


class Points(NamedTuple):
  """Where a function is observed.

  Attributes:
    features: [point, column].
    time: [point]; all equal where time plays no part.
  """

  features: Any
  time: Any


class Data(NamedTuple):
  """Rows of observations.

  Attributes:
    points: of all rows.
    targets: [row], of about unit variance, the prior's.
    real: [row], 1 where there is an observation and 0 in rows to be ignored.
    groups: int32 [column], the length scale of each column.
  """

  points: Points
  targets: Any
  real: Any
  groups: Any


class Parameters(NamedTuple):
  """Logarithms of the kernel's parameters.

  Attributes:
    scales: [group], length scales, in units of the features.
    variance: [], of the function.
    noise: [], variance of the noise.
    forgetting: [], rate at which the correlation falls with time.
  """

  scales: Any
  variance: Any
  noise: Any
  forgetting: Any


@contextlib.contextmanager
def on_host() -> Iterator[None]:
  """Computes in float64 on the CPU of this process, factors in one thread.

  LAPACK's threads wait for each other in a loop. On cores that are busy
  training, a factor of 256 rows then takes half a second, not half a
  millisecond. Results have to be read inside, as they are computed
  asynchronously.
  """
  cpu = jax.local_devices(backend='cpu')[0]
  single = _controller().limit(limits=1, user_api='blas')
  with jax.enable_x64(True), jax.default_device(cpu), single:
    yield


def prior(groups: int) -> tuple[Parameters, Parameters]:
  """Mean and sd of the parameters' logarithms, which are normal a priori.

  Length scales grow with the root of the number of parameters, as distances
  do: without it every point of a wide space is far from all others, and the
  model learns nothing (Hvarfner, Hellsten and Nardi, "Vanilla Bayesian
  Optimization Performs Great in High Dimensions", arXiv 2402.02229). Half a
  range for four parameters. Correlations over time are e^(-dt / 10).
  """
  scale = math.log(0.5 * math.sqrt(max(groups, 1) / 4))
  middle = [scale] * groups + [0.0, math.log(1e-3), math.log(0.1)]
  spread = [1.0] * groups + [0.5, 2.0, 1.0]
  return _parameters(np.array(middle)), _parameters(np.array(spread))


def fit(data: Data, start: Parameters) -> Parameters:
  """Parameters of the highest posterior density that is reached from a start.

  Args:
    data: observations; numpy arrays.
    start: such as the last fit, or the prior's mean.

  Raises:
    FloatingPointError: a density is not a number.
  """
  middle, spread = (_flat(p) for p in prior(len(start.scales)))

  def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
    value, slope = log_marginal_likelihood(_parameters(vector), data)
    away = (vector - middle) / spread
    loss = away @ away / 2 - float(value)
    if not math.isfinite(loss):
      raise FloatingPointError(f'the density is {-loss} at {vector.tolist()}')
    return loss, away / spread - _flat(slope)

  with on_host():
    found = scipy.optimize.minimize(
      loss,
      _flat(start),
      jac=True,
      method='L-BFGS-B',
      # Beyond five sd the prior decides anyway, and exponentials overflow.
      bounds=list(zip(middle - 5 * spread, middle + 5 * spread)),
      options={'maxiter': 30, 'ftol': 1e-6},
    )
  return _parameters(found.x)


@jax.jit
def log_marginal_likelihood(
  parameters: Parameters, data: Data
) -> tuple[jax.Array, Parameters]:
  """Log density of the targets, in nats, and its gradient.

  The gradient is R&W's equation 5.9: only the kernel is differentiated, never
  its factor, which would take several times as long.
  """
  covariance, pull = jax.vjp(lambda p: _covariance(p, data), parameters)
  factor = jnp.linalg.cholesky(covariance)
  inverse = jax.scipy.linalg.cho_solve(
    (factor, True), jnp.eye(len(data.targets))
  )
  targets = data.targets * data.real
  weights = inverse @ targets
  value = (
    -targets @ weights / 2
    - jnp.log(jnp.diagonal(factor)).sum()
    - data.real.sum() * math.log(2 * math.pi) / 2
  )
  (slope,) = pull((jnp.outer(weights, weights) - inverse) / 2)
  return value, slope


def posterior(
  parameters: Parameters, data: Data, points: Points
) -> tuple[jax.Array, jax.Array]:
  """Mean and variance, both [point], of the function without the noise."""
  factor = jnp.linalg.cholesky(_covariance(parameters, data))
  weights = jax.scipy.linalg.cho_solve((factor, True), data.targets)
  cross = _kernel(parameters, data.groups, data.points, points)
  cross *= data.real[:, None]
  white = jax.scipy.linalg.solve_triangular(factor, cross, lower=True)
  variance = jnp.exp(parameters.variance) - jnp.square(white).sum(0)
  # Rounding may take it below what the jitter leaves of it.
  floor = 1e-3 * JITTER * jnp.exp(parameters.variance)
  return weights @ cross, jnp.maximum(variance, floor)


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
  """Of the libraries that are loaded, which takes a while to find out."""
  return threadpoolctl.ThreadpoolController()


def _kernel(
  parameters: Parameters, groups: Any, a: Points, b: Points
) -> jax.Array:
  """Covariances [point of a, point of b] of the function.

  Matern-5/2 of the Euclidean distance: that of the sum of absolute differences
  is not positive definite beyond one dimension.
  """
  weights = jnp.exp(-parameters.scales)[groups][None, :]
  u, v = a.features * weights, b.features * weights
  squares = jnp.square(u).sum(1)[:, None] + jnp.square(v).sum(1)[None, :]
  # A product of matrices is much faster than differences. Above 0, where the
  # root has no slope.
  squares = jnp.maximum(squares - 2 * u @ v.T, 1e-30)
  r = jnp.sqrt(5 * squares)
  lag = jnp.abs(a.time[:, None] - b.time[None, :])
  decay = jnp.exp(
    parameters.variance - r - jnp.exp(parameters.forgetting) * lag
  )
  return (1 + r + jnp.square(r) / 3) * decay


def _covariance(parameters: Parameters, data: Data) -> jax.Array:
  """Covariances [row, row] of the targets; the identity where not real."""
  kernel = _kernel(parameters, data.groups, data.points, data.points)
  real = data.real
  noise = jnp.exp(parameters.noise) + JITTER * jnp.exp(parameters.variance)
  diagonal = real * noise + (1 - real)
  return kernel * real[:, None] * real[None, :] + jnp.diag(diagonal)


def _flat(parameters: Parameters) -> np.ndarray:
  return np.concatenate([np.ravel(part) for part in parameters])


def _parameters(vector: np.ndarray) -> Parameters:
  return Parameters(vector[:-3], *vector[-3:])
