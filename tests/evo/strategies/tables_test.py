"""Strategies on tables of trained networks and on toys, over many seeds.

The protocol is that of the literature: one query at a time, which draws one of
the stored repeats; what counts is the true regret of the configuration with the
best observed value. `evo/README.md` has the outcome.
"""

import functools

import numpy as np
import pytest

from evo import comparison, contest, member, simulation, statistics, strategies
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


def protein(name, at, seeds=20, charge=100):
  return regrets(name, PROTEIN, seeds, charge, at)


def test_random_search_is_as_far_as_it_should_be():
  assert protein('random', 50).mean() >= 0.030


# Of 100 seeds, which are not excused, it is .0108 +- .0008.
MISSED = pytest.mark.xfail(reason='.0118 +- .0023')


@pytest.mark.parametrize(
  'name,at,seeds,most',
  [
    ('gp', 50, 20, 0.004),
    ('tpe', 50, 20, 0.018),
    ('evolution', 100, 100, 0.01),
    pytest.param('evolution', 100, 20, 0.01, marks=MISSED),
  ],
)
def test_strategies_are_as_good_as_measured_elsewhere(name, at, seeds, most):
  assert protein(name, at, seeds).mean() <= most


@pytest.mark.parametrize(
  'at',
  [
    pytest.param(25, marks=pytest.mark.xfail(reason='it is .0075')),
    50,
    100,
  ],
)
def test_hybrid_is_no_worse_than_the_best_of_the_others(at):
  best = min(
    ('gp', 'tpe', 'evolution'), key=lambda name: protein(name, at).mean()
  )
  differences = protein('hybrid', at) - protein(best, at)
  rng = np.random.default_rng(0)
  assert statistics.bootstrap_bounds(differences, [0.95], rng)[0] < 0.005


def test_hybrid_is_no_worse_than_the_gaussian_process_over_more_seeds():
  # Twenty seeds tell the two apart by no less than .005 at 25 queries.
  pairs = [protein(name, 25, 100, 25) for name in ('hybrid', 'gp')]
  rng = np.random.default_rng(0)
  bound = statistics.bootstrap_bounds(pairs[0] - pairs[1], [0.95], rng)[0]
  assert bound < 0.005


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
  'name,seeds,most',
  [
    ('gp', 8, 0.03),
    ('hybrid', 8, 0.03),
    ('tpe', 64, 0.15),
    # Eights of the 64 seeds have means from .06 to .16; these are the worst.
    pytest.param('tpe', 8, 0.15, marks=pytest.mark.xfail(reason='it is .161')),
  ],
)
def test_the_conditional_toy_is_solved_by_models(name, seeds, most):
  assert regrets(name, 'conditional', seeds, 40, 40).mean() <= most


def test_the_conditional_toy_is_not_solved_by_luck():
  assert regrets('random', 'conditional', 8, 40, 40).mean() >= 0.15


def optuna_regrets(task_name, seeds, charge, at):
  """The same of Optuna's Gaussian process, which needs torch."""
  pytest.importorskip('torch')
  import optuna

  optuna.logging.set_verbosity(optuna.logging.ERROR)
  task, found = task_lib.make(task_name), []
  for seed in range(seeds):
    study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=seed))
    told = []
    for number in range(charge):
      trial = study.ask()
      configuration = suggested(trial, task.space)
      leg = member.Leg(number, None, configuration, None, 0, 1, 0)
      rng = member.generator(seed, 'task', number, 0)
      _, loss, truth = task.train(task.state0, leg, rng)
      study.tell(trial, loss)
      told.append((loss, truth))
    found.append(min(told[:at])[1])
  return np.array(found)


def suggested(trial, space):
  """Optuna's proposal; ordered choices are the integers of their order."""
  values = dict(space.baseline)
  for name in space.conditional_order:
    p = space.by_name[name]
    if name not in space.active(space.canonical(values)):
      continue
    if p.kind == 'choice' and isinstance(p.choices[0], str | bool):
      values[name] = trial.suggest_categorical(name, p.choices)
    elif p.kind == 'choice':
      values[name] = p.choices[trial.suggest_int(name, 0, len(p.choices) - 1)]
    elif p.kind == 'int':
      values[name] = trial.suggest_int(name, p.low, p.high)
    else:
      log = p.kind == 'log_float'
      values[name] = trial.suggest_float(name, p.low, p.high, log=log)
  return space.canonical(values)


@pytest.mark.filterwarnings('ignore')  # Optuna's and torch's own.
@pytest.mark.parametrize('name,at', [(PROTEIN, 25), (PROTEIN, 50)])
def test_the_gaussian_process_is_no_worse_than_optunas(name, at):
  differences = protein('gp', at) - optuna_regrets(name, 20, 50, at)
  rng = np.random.default_rng(0)
  assert statistics.bootstrap_bounds(differences, [0.95], rng)[0] < 0.005


@pytest.mark.filterwarnings('ignore')
def test_the_gaussian_process_is_no_worse_than_optunas_where_parts_depend():
  ours = regrets('gp', 'conditional', 8, 40, 40)
  differences = ours - optuna_regrets('conditional', 8, 40, 40)
  rng = np.random.default_rng(0)
  assert statistics.bootstrap_bounds(differences, [0.95], rng)[0] < 0.005
