"""Acquisition: how much a Gaussian process expects of points not yet tried.

Pure functions of arrays, to be called `gaussian_process.on_host`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from evo import gaussian_process as gp


@jax.jit
def log_improvement(
  parameters: gp.Parameters, data: gp.Data, pending: Any, points: gp.Points
) -> jax.Array:
  """Logarithm of the expected improvement of points that are all at one time.

  What is improved on is the lowest posterior mean of the rows, were they tried
  at the time of the points: the lowest target would be the luckiest one.

  Args:
    parameters: of the kernel.
    data: observations.
    pending: [row], 1 for rows whose targets are still to come. They count as
      observed at their posterior mean ("kriging believer", Ginsbourger, Le
      Riche and Carraro 2010), which leaves all means as they are and takes
      away the uncertainty around them. Their targets are ignored.
    points: to be judged.

  Returns:
    [point], the higher the better.
  """
  rows = len(data.targets)
  time = jnp.broadcast_to(points.time[0], (rows,))
  seen = gp.Points(data.points.features, time)
  both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), seen, points)
  mean, sd = _expected(parameters, data, pending, both)
  tried = data.real + pending > 0
  best = jnp.min(jnp.where(tried, mean[:rows], jnp.inf))
  mean, sd = mean[rows:], sd[rows:]
  return log_expected_improvement((best - mean) / sd) + jnp.log(sd)


@jax.jit
def confidence_bound(
  parameters: gp.Parameters, data: gp.Data, pending: Any, points: gp.Points
) -> jax.Array:
  """What points may well bring: a sd below their mean, as [point].

  Arguments as of `log_improvement`; negated, so that higher is better too.
  """
  mean, sd = _expected(parameters, data, pending, points)
  return sd - mean


@jax.jit
def mean(
  parameters: gp.Parameters, data: gp.Data, pending: Any, points: gp.Points
) -> jax.Array:
  """What is expected of points, as [point].

  Arguments as of `log_improvement`; negated, so that higher is better too.
  """
  return -_expected(parameters, data, pending, points)[0]


def log_expected_improvement(z: jax.Array) -> jax.Array:
  """log(phi(z) + z Phi(z)): the log of the mean of max(z + e, 0), e ~ N(0, 1).

  Ament et al., "Unexpected Improvements to Expected Improvement for Bayesian
  Optimization", arXiv 2310.20708: the plain formula is 0 or rounding below
  z = -8, where most of a space soon lies. Relative errors are below 1e-9 or
  so anywhere.

  Args:
    z: improvement of the mean over the best, in sd.
  """
  log_phi = -jnp.square(z) / 2 - math.log(2 * math.pi) / 2
  near = jnp.maximum(z, -1)
  plain = jnp.exp(-jnp.square(near) / 2) / math.sqrt(2 * math.pi)
  plain = jnp.log(plain + near * jax.scipy.stats.norm.cdf(near))
  # phi (1 - |z| Phi / phi), whose second term is near 1.
  mid = jnp.clip(z, -18, -1)
  ratio = jax.scipy.special.log_ndtr(mid) + jnp.log(-mid)
  ratio += jnp.square(mid) / 2 + math.log(2 * math.pi) / 2
  middle = log_phi + jnp.log(-jnp.expm1(ratio))
  # phi / z^2 (1 - 3 / z^2 + 15 / z^4 - ...): the terms of Mills' ratio.
  square = 1 / jnp.square(jnp.minimum(z, -18))
  series = jnp.ones_like(z)
  for odd in (15, 13, 11, 9, 7, 5, 3):
    series = 1 - odd * square * series
  tail = log_phi + jnp.log(square) + jnp.log(series)
  return jnp.where(z > -1, plain, jnp.where(z > -18, middle, tail))


def _expected(
  parameters: gp.Parameters, data: gp.Data, pending: Any, points: gp.Points
) -> tuple[jax.Array, jax.Array]:
  """Mean and sd, both [point], once the pending rows are believed."""
  mean, _ = gp.posterior(parameters, data, points)
  believed = data._replace(real=data.real + pending)
  _, variance = gp.posterior(parameters, believed, points)
  return mean, jnp.sqrt(variance)
