"""Toys with known results: Jaderberg et al., arXiv 1711.09846, figure 2, and
the plain and deceptive ones of PBT-Zoo (github.com/AwesomeLemon/PBT-Zoo)."""

import numpy as np

from evo.strategies import pbt


def run(strategy, finish, state, train):
  """Runs one cohort of a toy; returns the true fitness of its finalists.

  Args:
    strategy: to run.
    finish: makes results.
    state: of a fresh member.
    train: (state, leg) -> (state, fitness, fitness as it is told).
  """
  kept = {None: state}
  while True:
    legs = strategy.ask(strategy.population)
    losses, fitness = [], []
    for leg in legs:
      after, true, noisy = train(kept[leg.source], leg)
      kept[leg.member, leg.stop] = after
      fitness.append(true)
      losses.append(-noisy)
    told = zip(legs, losses, strict=True)
    strategy.tell([finish(leg, loss) for leg, loss in told])
    if legs[0].stop == strategy.segments:
      return fitness


def quadratic(box, finish, seed, **options):
  """Best of Jaderberg's figure 2: 200 steps, a selection every 5."""
  rng = np.random.default_rng(seed)

  def train(theta, leg):
    h = np.array([leg.configuration['h0'], leg.configuration['h1']])
    for _ in range(5):
      theta = theta - 0.01 * 2 * h * theta
    score = 1.2 - float(np.sum(theta**2))
    # Both members start even: without the noise nothing would ever fire.
    return theta, score, score + 1e-9 * rng.normal()

  strategy = pbt.PBT(
    box('h0', 'h1'),
    seed=seed,
    population=2,
    segments=40,
    interval=1,
    quantile=0.5,
    resample=0.0,
    initial=[{'h0': 1.0, 'h1': 0.0}, {'h0': 0.0, 'h1': 1.0}],
    **options,
  )
  return max(run(strategy, finish, np.array([0.9, 0.9]), train))


def test_the_quadratic_toy_comes_out_as_published(box, finish):
  full, explored = (
    np.array([quadratic(box, finish, seed, **o) for seed in range(20)])
    for o in ({}, {'exploit': False})
  )
  assert 1.18 <= full.mean() <= 1.20
  assert full.min() > 1.10
  assert full.mean() - explored.mean() > 0.05


def test_the_quadratic_toy_needs_exploration(box, finish):
  best = quadratic(box, finish, 0, explore=False)
  assert abs(best - (1.2 - 0.81 - (0.9 * 0.98**200) ** 2)) < 1e-4


def toy(box, finish, seed, every, deceptive, select=True):
  """Best of 22 members after 1000 steps, a selection `every` so many."""
  steps = 1000

  def train(state, leg):
    theta, history = state
    history = (*history, leg.configuration['v'])
    patient = 1 - np.arange(len(history)) * every / steps
    penalty = 0.2 * np.abs(np.array(history) - patient).sum() * deceptive
    rate = 2 - history[-1] - penalty
    factor = 1 - 0.002 * (max(rate, 0.0) if deceptive else rate)
    # Fitness is read before the last update.
    fitness = 1.2 - (theta * factor ** (every - 1)) ** 2
    return (theta * factor**every, history), fitness, fitness

  draws = np.random.default_rng(seed).uniform(0.9, 1.1, 22)
  strategy = pbt.PBT(
    box('v', kind='log_float', low=1e-4, high=1.1, default=1.0),
    seed=seed,
    population=22,
    segments=steps // every,
    interval=1,
    factors=(0.5, 2.0),
    resample=0.0,
    exploit=select,
    explore=select,
    initial=[{'v': float(v)} for v in draws],
  )
  return max(run(strategy, finish, (0.9, ()), train))


def toys(box, finish, every, deceptive=True, **options):
  return np.array(
    [toy(box, finish, seed, every, deceptive, **options) for seed in range(8)]
  )


def test_the_plain_toy_comes_out_as_published(box, finish):
  trained = toys(box, finish, 20, deceptive=False)
  drawn = toys(box, finish, 20, deceptive=False, select=False)
  assert np.allclose(trained, 1.1997, atol=2e-4)
  assert abs(drawn.mean() - 1.1898) < 1e-3


def test_greed_loses_on_the_deceptive_toy_with_short_intervals(box, finish):
  trained = toys(box, finish, 20)
  drawn = toys(box, finish, 20, select=False)
  assert trained.max() < drawn.min()


def test_pbt_wins_on_the_deceptive_toy_with_long_intervals(box, finish):
  trained = toys(box, finish, 100)
  drawn = toys(box, finish, 100, select=False)
  assert trained.min() > drawn.max()
