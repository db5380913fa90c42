"""Strategies on tables of trained networks and on toys, over many seeds.

The protocol is that of the literature: one query at a time, which draws one of
the stored repeats; what counts is the true regret of the configuration with the
best observed value. `evo/README.md` has the outcome.
"""

import functools

import numpy as np
import pytest

from evo import comparison, contest, simulation, statistics, strategies
from evo import task as task_lib

pytestmark = pytest.mark.slow
PROTEIN = 'hpolib:protein_structure'


@functools.cache
def runs(name, task_name, seeds, charge):
  """Searches of a strategy, as a comparison takes them."""
  task, found = task_lib.make(task_name), []
  for seed in range(seeds):
    strategy = strategies.make(
      name,
      task.space,
      seed=seed,
      population=task.population,
      segments=task.segments,
      initial=[],
    )
    one = simulation.simulate(
      strategy, task, slots=task.slots, charge=charge, seed=seed
    )
    found.append(contest.simulated(one, name, seed, task.segments))
  return found


def regrets(name, task_name, seeds, charge, at):
  """True regrets [seed] of the best observed after `at` queries."""
  return np.array(
    [
      [i.confirmed for i in run.incumbents if i.charge <= at][-1]
      for run in runs(name, task_name, seeds, charge)
    ]
  )


def protein(name, at):
  return regrets(name, PROTEIN, 20, 100, at)


def test_random_search_is_as_far_as_it_should_be():
  assert protein('random', 50).mean() >= 0.030


@pytest.mark.parametrize(
  'name,at,most',
  [('gp', 50, 0.004), ('tpe', 50, 0.018), ('evolution', 100, 0.01)],
)
def test_strategies_are_as_good_as_measured_elsewhere(name, at, most):
  assert protein(name, at).mean() <= most


@pytest.mark.parametrize('at', [25, 50, 100])
def test_hybrid_is_no_worse_than_the_best_of_the_others(at):
  best = min(
    ('gp', 'tpe', 'evolution'), key=lambda name: protein(name, at).mean()
  )
  differences = protein('hybrid', at) - protein(best, at)
  rng = np.random.default_rng(0)
  assert statistics.bootstrap_bounds(differences, [0.95], rng)[0] < 0.005


def test_the_negative_control_finds_no_difference():
  names = ('random', 'evolution', 'tpe', 'gp', 'hybrid')
  found = [
    run for name in names for run in runs(name, 'hpobench:australian', 20, 50)
  ]
  value = comparison.compare(found, 'random', 50, 'regret')
  verdicts = {entry['verdict'] for entry in value['strategies'].values()}
  assert verdicts == {
    'the reference',
    'no significant difference from random',
  }
  assert value['headline'] == 'Nothing differs significantly from random'


@pytest.mark.parametrize(
  'name,most', [('gp', 0.03), ('hybrid', 0.03), ('tpe', 0.15)]
)
def test_the_conditional_toy_is_solved_by_models(name, most):
  assert regrets(name, 'conditional', 8, 40, 40).mean() <= most


def test_the_conditional_toy_is_not_solved_by_luck():
  assert regrets('random', 'conditional', 8, 40, 40).mean() >= 0.15
