"""Covariance matrix adaptation: the distribution that CMA-ES draws from.

The (mu/mu_w, lambda)-CMA-ES of Hansen, "The CMA Evolution Strategy: A
Tutorial", arXiv 1604.00772 (first version), with its default constants and
negative weights. Pure functions of NumPy arrays; d is the number of dimensions
and `size` (lambda) that of points in an update.
"""

import dataclasses
import functools
import math

import numpy as np

_TINY = 1e-20  # Squared; where a point lies on the mean itself.
_NARROWEST = 1e-14  # Smallest eigenvalue, in largest ones.


@dataclasses.dataclass(frozen=True)
class Distribution:
  """The normal distribution N(mean, step**2 covariance), and its memory.

  Attributes:
    mean: [d].
    step: overall standard deviation (sigma).
    covariance: [d, d], symmetric and positive definite (C).
    step_path: [d], fading sum of whitened moves of the mean (p_sigma).
    path: [d], fading sum of moves of the mean (p_c).
    updates: so far.
  """

  mean: np.ndarray
  step: float
  covariance: np.ndarray
  step_path: np.ndarray
  path: np.ndarray
  updates: int = 0

  @functools.cached_property
  def root(self) -> np.ndarray:
    """The symmetric square root of the covariance, [d, d].

    The signs and the order of eigenvectors, which may differ from machine to
    machine, have no effect on it.
    """
    return _power(self.covariance, 0.5)


@dataclasses.dataclass(frozen=True)
class Rates:
  """Constants of an update.

  Attributes:
    parents: points with positive weights (mu).
    weights: [size], of the best point first. The positive ones sum to 1.
    mass: how many equally weighted parents are as good (mu_eff).
    step_path: learning rate of the step's path (c_sigma).
    damping: of the step (d_sigma).
    path: learning rate of the covariance's path (c_c).
    rank_one: learning rate of the covariance from its path (c_1).
    rank_many: and from the points (c_mu).
    length: expected length of a standard normal vector.
  """

  parents: int
  weights: np.ndarray
  mass: float
  step_path: float
  damping: float
  path: float
  rank_one: float
  rank_many: float
  length: float


def default_size(d: int) -> int:
  """Points per update that the tutorial advises at least."""
  return 4 + math.floor(3 * math.log(d))


@functools.cache
def rates(d: int, size: int) -> Rates:
  """The tutorial's defaults, its table 1; `size` must be at least 4."""
  raw = math.log((size + 1) / 2) - np.log(np.arange(1, size + 1))
  parents = size // 2
  good, bad = raw[:parents], raw[parents:]
  mass = good.sum() ** 2 / (good**2).sum()
  bad_mass = bad.sum() ** 2 / (bad**2).sum()
  rank_one = 2 / ((d + 1.3) ** 2 + mass)
  rank_many = min(
    1 - rank_one, 2 * (mass - 2 + 1 / mass) / ((d + 2) ** 2 + mass)
  )
  step_path = (mass + 2) / (d + mass + 5)
  # The covariance stays positive definite, and decays at most to nothing.
  bad_sum = min(
    1 + rank_one / rank_many,
    1 + 2 * bad_mass / (mass + 2),
    (1 - rank_one - rank_many) / (d * rank_many),
  )
  weights = np.where(raw > 0, raw / good.sum(), raw * bad_sum / -bad.sum())
  return Rates(
    parents=parents,
    weights=weights,
    mass=mass,
    step_path=step_path,
    damping=1 + 2 * max(0.0, math.sqrt((mass - 1) / (d + 1)) - 1) + step_path,
    path=(4 + mass / d) / (d + 4 + 2 * mass / d),
    rank_one=rank_one,
    rank_many=rank_many,
    length=math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d**2)),
  )


def start(mean: np.ndarray, step: float) -> Distribution:
  """A round distribution that has learnt nothing."""
  zero = np.zeros_like(mean)
  return Distribution(mean, step, np.eye(len(mean)), zero, zero)


def sample(distribution: Distribution, rng: np.random.Generator) -> np.ndarray:
  """Draws a point [d]."""
  z = rng.standard_normal(len(distribution.mean))
  return distribution.mean + distribution.step * distribution.root @ z


def update(
  before: Distribution, points: np.ndarray, foreign: np.ndarray
) -> Distribution:
  """The distribution after one generation.

  Args:
    before: the distribution.
    points: [size, d], the best first; losses have no effect beyond that.
    foreign: [size], whether a point was not drawn from `before`. The step to
      it is shortened where it is longer than a drawn one would be, and the
      distribution's own step grows at most e-fold: Hansen, "Injecting External
      Solutions Into CMA-ES", arXiv 1110.4181.

  Returns:
    The distribution.
  """
  size, d = points.shape
  rate = rates(d, size)
  whiten = _power(before.covariance, -0.5)
  steps = (points - before.mean) / before.step
  squares = np.maximum(np.sum((steps @ whiten) ** 2, axis=1), _TINY)
  longest = math.sqrt(d) + 2 * d / (d + 2)
  shrink = np.where(foreign, np.minimum(1, longest / np.sqrt(squares)), 1)
  steps, squares = steps * shrink[:, None], squares * shrink**2

  parents = slice(rate.parents)
  move = rate.weights[parents] @ steps[parents]
  step_path = _follow(before.step_path, whiten @ move, rate.step_path, rate)
  relative = np.linalg.norm(step_path) / rate.length
  # While the step grows fast the path stalls, lest the covariance grow too.
  memory = 1 - (1 - rate.step_path) ** (2 * before.updates + 2)
  stalls = relative >= math.sqrt(memory) * (1.4 + 2 / (d + 1))
  path = _follow(before.path, 0 * move if stalls else move, rate.path, rate)
  lost = stalls * rate.path * (2 - rate.path)
  weights = rate.weights * np.where(rate.weights < 0, d / squares, 1)
  decay = rate.rank_one * (1 - lost) + rate.rank_many * rate.weights.sum()
  covariance = (
    (1 - decay) * before.covariance
    + rate.rank_one * np.outer(path, path)
    + rate.rank_many * (steps.T * weights) @ steps
  )
  growth = rate.step_path / rate.damping * (relative - 1)
  return Distribution(
    mean=before.mean + before.step * move,
    step=before.step * math.exp(min(1.0, growth)),
    covariance=(covariance + covariance.T) / 2,
    step_path=step_path,
    path=path,
    updates=before.updates + 1,
  )


def _follow(
  path: np.ndarray, move: np.ndarray, rate: float, constants: Rates
) -> np.ndarray:
  """A path after a move; its variance stays that of the moves' points."""
  scale = math.sqrt(rate * (2 - rate) * constants.mass)
  return (1 - rate) * path + scale * move


def _power(covariance: np.ndarray, exponent: float) -> np.ndarray:
  """A power of a symmetric positive definite matrix."""
  values, vectors = np.linalg.eigh(covariance)
  # Rounding must not make a narrow direction negative.
  values = np.maximum(values, _NARROWEST * values[-1])
  return (vectors * values**exponent) @ vectors.T
