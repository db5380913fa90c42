import functools
import math

import numpy as np
import pytest

from evo import space
from evo.strategies import pb2, pbt

BAD = math.inf
TIER = {'tier': 'configuration'}
MIXED = space.Space.from_json(
  {
    'name': 'mixed',
    'parameters': {
      'batch': TIER
      | {'kind': 'choice', 'choices': [1, 2, 4, 8, 16], 'default': 4},
      'rate': TIER
      | {'kind': 'log_float', 'low': 1e-4, 'high': 1.0, 'default': 1e-2},
      'decay': TIER | {'kind': 'float', 'low': 0, 'high': 1, 'default': 0.5},
      'layers': TIER
      | {'kind': 'int', 'low': 1, 'high': 9, 'default': 3, 'structural': True},
    },
  }
)
# Few rows are quick, and enough for one cohort.
PB2 = functools.partial(pb2.PB2, rows=96)


def run(strategy, finish, state, train):
  """Runs one cohort of a toy; returns its losses and legs by interval.

  Args:
    strategy: to run.
    finish: makes results.
    state: of a fresh member.
    train: (state, leg) -> (state, loss).
  """
  kept, intervals = {None: state}, []
  while True:
    legs = strategy.ask(strategy.population)
    losses = []
    for leg in legs:
      kept[leg.member, leg.stop], loss = train(kept[leg.source], leg)
      losses.append(loss)
    strategy.tell([finish(*pair) for pair in zip(legs, losses)])
    intervals.append((losses, legs))
    if legs[0].stop == strategy.segments:
      return intervals


def drifting(box, finish, make, seed, **options):
  """Best loss of a toy whose best configuration moves across the space."""

  def train(loss, leg):
    for segment in range(leg.start, leg.stop):
      away = np.array(list(leg.configuration.values())) - 0.1 - 0.04 * segment
      loss -= math.exp(-np.square(away).sum() / 0.1)
    return loss, loss

  shared = {'seed': seed, 'population': 8, 'segments': 20, 'interval': 2}
  strategy = make(box('a', 'b', 'c'), **shared, **options)
  return min(run(strategy, finish, 0.0, train)[-1][0])


def test_a_moving_optimum_is_followed_better_than_at_random(box, finish):
  guided, blind = (
    np.array([drifting(box, finish, make, seed) for seed in range(8)])
    for make in (PB2, pbt.PBT)
  )
  assert guided.mean() < blind.mean() - 1


def test_without_exploits_it_still_explores(box, finish):
  guided, blind = (
    np.mean(
      [drifting(box, finish, make, seed, exploit=False) for seed in range(4)]
    )
    for make in (PB2, pbt.PBT)
  )
  assert guided < blind - 1


def test_the_quadratic_toy_comes_out_at_least_as_published(box, finish):
  """Jaderberg et al., arXiv 1711.09846, figure 2: PBT has 1.191 +- .011."""

  def quadratic(seed):
    rng = np.random.default_rng(seed)

    def train(theta, leg):
      h = np.array([leg.configuration['h0'], leg.configuration['h1']])
      for _ in range(5):
        theta = theta - 0.01 * 2 * h * theta
      return theta, float(np.sum(theta**2)) - 1.2 + 1e-9 * rng.normal()

    strategy = PB2(
      box('h0', 'h1'),
      seed=seed,
      population=2,
      segments=40,
      interval=1,
      quantile=0.5,
      initial=[{'h0': 1.0, 'h1': 0.0}, {'h0': 0.0, 'h1': 1.0}],
    )
    intervals = run(strategy, finish, np.array([0.9, 0.9]), train)
    return -min(intervals[-1][0])

  scores = np.array([quadratic(seed) for seed in range(4)])
  assert 1.19 <= scores.min() and scores.max() <= 1.2


def mixed(finish, losses=None, **options):
  """Legs of the first two intervals of 8 members."""
  strategy = PB2(MIXED, population=8, **options)
  first = strategy.ask(8)
  losses = losses or [leg.configuration['decay'] for leg in first]
  strategy.tell([finish(*pair) for pair in zip(first, losses)])
  return first, strategy.ask(8)


def test_children_are_where_losses_fall_fastest(finish):
  first, second = mixed(finish)
  drawn = [leg.configuration['decay'] for leg in first]
  chosen = [leg.configuration['decay'] for leg in second if not leg.goes_on]
  assert max(chosen) < np.median(drawn)


def test_children_of_one_donor_differ(finish):
  losses = [0.0, *[float(i) for i in range(1, 8)]]
  _, second = mixed(finish, losses, quantile=0.5, segments=5)
  children = [leg for leg in second if not leg.goes_on]
  values = {
    (c.configuration['rate'], c.configuration['decay']) for c in children
  }
  assert len(values) == len(children) == 4


def test_choices_are_perturbed_and_structure_is_inherited(finish):
  first, second = mixed(finish, resample=0.0)
  choices = MIXED.by_name['batch'].choices
  children = [leg for leg in second if not leg.goes_on]
  assert children
  for child in children:
    donor = first[child.parent].configuration
    i, j = (choices.index(c['batch']) for c in (donor, child.configuration))
    assert abs(i - j) == 1
    assert child.configuration['layers'] == donor['layers']
    assert child.source == (child.parent, 2)


def test_exploit_only_copies_configurations_unchanged(finish):
  first, second = mixed(finish, explore=False)
  for leg in second:
    source = leg.member if leg.goes_on else leg.parent
    assert leg.configuration == first[source].configuration


@pytest.mark.parametrize('failed', [1, 7])
def test_failures_break_no_model(finish, failed):
  losses = [float(i) for i in range(8 - failed)] + [BAD] * failed
  _, second = mixed(finish, losses)
  assert len(second) == 8
  assert sum(not leg.goes_on for leg in second) >= failed


def test_equal_losses_break_no_model(finish):
  assert len(mixed(finish, [1.0] * 8)[1]) == 8


def test_a_lone_member_goes_on_alone(box, finish):
  strategy = PB2(box('x'), population=1)
  intervals = run(strategy, finish, 0.0, lambda state, leg: (state, 1.0))
  assert {leg.member for _, (leg,) in intervals} == {0}


def test_it_learns_from_earlier_cohorts(box, finish):
  """What a second cohort tries depends on what the first one brought."""

  def second(sign):
    strategy = PB2(box('x', 'y'), population=4, segments=2, interval=1)
    for told in (sign, 1.0):
      train = lambda state, leg: (state, told * leg.configuration['x'])  # noqa: B023, E731
      intervals = run(strategy, finish, 0.0, train)
    return [leg.configuration for leg in intervals[-1][1]]

  assert second(1.0) != second(-1.0)
