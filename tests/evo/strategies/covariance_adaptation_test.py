import functools
import math

import numpy as np
import pytest
import scipy.linalg

from evo.strategies import covariance_adaptation as adaptation


def test_constants_are_those_of_the_cmaes_package():
  # cmaes 0.13.1 (github.com/CyberAgentAILab/cmaes), d = 10 and 10 points.
  rates = adaptation.rates(10, 10)
  assert adaptation.default_size(10) == 10
  expected = {
    'parents': 5,
    'mass': 3.1672992814107026,
    'path': 0.29499038303562225,
    'rank_one': 0.015283824524751714,
    'rank_many': 0.02015428276120838,
    'step_path': 0.2844285879463675,
    'damping': 1.2844285879463675,
    'length': 3.0847265651690123,
  }
  for name, value in expected.items():
    assert getattr(rates, name) == pytest.approx(value, rel=1e-12)
  # fmt: off
  weights = [
    0.45627265, 0.2707531, 0.16223112, 0.08523355, 0.02550959,
    -0.08532086, -0.2364766, -0.36741366, -0.48290833, -0.58622183,
  ]
  # fmt: on
  np.testing.assert_allclose(rates.weights, weights, atol=1e-8)


def reference(before, points):
  """One update, term by term as the tutorial writes it; returns its parts."""
  size, n = points.shape
  mu = size // 2
  w = [math.log((size + 1) / 2) - math.log(i + 1) for i in range(size)]
  mueff = sum(w[:mu]) ** 2 / sum(x**2 for x in w[:mu])
  mueff_minus = sum(w[mu:]) ** 2 / sum(x**2 for x in w[mu:])
  cc = (4 + mueff / n) / (n + 4 + 2 * mueff / n)
  cs = (mueff + 2) / (n + mueff + 5)
  c1 = 2 / ((n + 1.3) ** 2 + mueff)
  cmu = min(1 - c1, 2 * (mueff - 2 + 1 / mueff) / ((n + 2) ** 2 + mueff))
  ds = 1 + 2 * max(0, math.sqrt((mueff - 1) / (n + 1)) - 1) + cs
  alpha = min(
    1 + c1 / cmu, 1 + 2 * mueff_minus / (mueff + 2), (1 - c1 - cmu) / n / cmu
  )
  up = sum(x for x in w if x > 0)
  down = -sum(x for x in w if x < 0)
  w = [x / up if x > 0 else alpha * x / down for x in w]

  root = scipy.linalg.sqrtm(np.linalg.inv(before.covariance)).real
  y = [(x - before.mean) / before.step for x in points]
  yw = sum(w[i] * y[i] for i in range(mu))
  ps = (1 - cs) * before.step_path + math.sqrt(
    cs * (2 - cs) * mueff
  ) * root @ yw
  expected = math.sqrt(n) * (1 - 1 / 4 / n + 1 / 21 / n**2)
  norm = np.linalg.norm(ps)
  step = before.step * math.exp(min(1, cs / ds * (norm / expected - 1)))
  g = before.updates
  h = norm / math.sqrt(1 - (1 - cs) ** (2 * (g + 1))) < (
    (1.4 + 2 / (n + 1)) * expected
  )
  pc = (1 - cc) * before.path + h * math.sqrt(cc * (2 - cc) * mueff) * yw
  c = (1 + c1 * (1 - h) * cc * (2 - cc) - c1 - cmu * sum(w)) * before.covariance
  c = c + c1 * np.outer(pc, pc)
  for wi, yi in zip(w, y):
    scaled = wi if wi >= 0 else wi * n / np.linalg.norm(root @ yi) ** 2
    c = c + cmu * scaled * np.outer(yi, yi)
  return before.mean + before.step * yw, step, c, ps, pc, h


@pytest.mark.parametrize('d,size', [(1, 4), (3, 7), (5, 8), (12, 30), (3, 60)])
def test_updates_follow_the_tutorial(d, size):
  rng = np.random.default_rng(d)
  state = adaptation.start(rng.random(d), 0.3)
  stalled = []
  for number in range(30):
    points = np.stack([adaptation.sample(state, rng) for _ in range(size)])
    # Now and then a far jump, so that the step grows and the path stalls.
    jump = 4 * state.step * (number % 10 == 0)
    points = points[np.argsort(points @ np.arange(d))] + jump
    mean, step, covariance, step_path, path, h = reference(state, points)
    state = adaptation.update(state, points, np.zeros(size, bool))
    # Roots of a narrow covariance are less exact than its sums.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    close(state.mean, mean)
    close(state.step, step)
    close(state.step_path, step_path, atol=1e-6)
    close(state.path, path, atol=1e-9)
    close(state.covariance, covariance, atol=1e-6 * covariance.max())
    assert state.updates == number + 1
    stalled.append(not h)
  assert 0 < sum(stalled) < 30


def test_draws_have_the_mean_and_covariance_of_the_distribution():
  rng = np.random.default_rng(0)
  factor = rng.normal(size=(3, 3))
  zero = np.zeros(3)
  state = adaptation.Distribution(
    np.array([1.0, 2.0, 3.0]), 0.5, factor @ factor.T, zero, zero
  )
  drawn = np.stack([adaptation.sample(state, rng) for _ in range(40000)])
  # A few standard errors.
  np.testing.assert_allclose(drawn.mean(0), state.mean, atol=0.05)
  expected = 0.25 * state.covariance
  np.testing.assert_allclose(
    np.cov(drawn.T), expected, atol=0.04 * expected.max()
  )


def test_a_near_point_from_elsewhere_counts_like_any_other():
  rng = np.random.default_rng(0)
  state = adaptation.start(np.zeros(4), 1.0)
  points = rng.normal(size=(8, 4)) / 10
  own, foreign = (
    adaptation.update(state, points, np.full(8, value))
    for value in (False, True)
  )
  np.testing.assert_allclose(own.covariance, foreign.covariance)
  np.testing.assert_allclose(own.mean, foreign.mean)


@pytest.mark.parametrize('rank', [0, 7])
def test_a_far_point_from_elsewhere_is_pulled_in(rank):
  rng = np.random.default_rng(0)
  state = adaptation.start(np.zeros(4), 0.5)
  points = rng.normal(size=(8, 4)) / 10
  points[rank] = [1e6, 0, 0, 0]
  far = adaptation.update(state, points, np.arange(8) == rank)
  # sqrt(d) + 2 d / (d + 2) standard deviations: arXiv 1110.4181.
  points[rank, 0] = 0.5 * (2 + 8 / 6)
  near = adaptation.update(state, points, np.zeros(8, bool))
  np.testing.assert_allclose(far.mean, near.mean)
  np.testing.assert_allclose(far.covariance, near.covariance)


def test_the_covariance_stays_positive_definite_whatever_ranks_first():
  rng = np.random.default_rng(0)
  for d, size in ((1, 4), (2, 40), (6, 9), (20, 12)):
    state = adaptation.start(np.full(d, 0.5), 0.2)
    for _ in range(300):
      points = np.stack([adaptation.sample(state, rng) for _ in range(size)])
      points[0] = rng.random(d)
      points[1] = state.mean
      foreign = np.arange(size) < 2
      state = adaptation.update(state, points, foreign)
    assert np.isfinite(state.step)
    assert np.linalg.eigvalsh(state.covariance)[0] > 0


def sphere(x):
  return np.sum(x**2)


def ellipsoid(x):
  return np.sum(10 ** (6 * np.arange(len(x)) / (len(x) - 1)) * x**2)


def rosenbrock(x):
  return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def evaluations(loss, d, seed, mean, step, target=1e-9, rotate=False):
  """Evaluations until a loss is below the target, by generations."""
  rng = np.random.default_rng(seed)
  turn = np.linalg.qr(rng.normal(size=(d, d)))[0] if rotate else np.eye(d)
  state = adaptation.start(np.full(d, mean), step)
  size = adaptation.default_size(d)
  for count in range(size, 40000, size):
    points = np.stack([adaptation.sample(state, rng) for _ in range(size)])
    losses = [loss(turn @ x) for x in points]
    if min(losses) < target:
      return count
    ranked = points[np.argsort(losses)]
    state = adaptation.update(state, ranked, np.zeros(size, bool))
  return math.inf


# Medians of cmaes 0.13.1 over 41 seeds (15 for the ellipsoid of 10
# dimensions), started at `mean` with a step of .3; without bounds.
@pytest.mark.parametrize(
  'loss,d,mean,package',
  [
    (sphere, 10, 0.5, 1430),
    (ellipsoid, 5, 0.5, 1520),
    (ellipsoid, 10, 0.5, 4170),
    (rosenbrock, 5, 0.0, 1760),
  ],
)
def test_it_takes_as_many_evaluations_as_the_cmaes_package(
  loss, d, mean, package
):
  taken = [evaluations(loss, d, seed, mean, 0.3) for seed in range(10)]
  assert np.median(taken) == pytest.approx(package, rel=0.1)


def test_a_rotation_makes_no_difference():
  plain, turned = (
    [evaluations(ellipsoid, 5, s, 0.5, 0.3, rotate=r) for s in range(10)]
    for r in (False, True)
  )
  assert np.median(turned) == pytest.approx(np.median(plain), rel=0.15)
