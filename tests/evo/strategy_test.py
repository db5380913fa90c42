import math

import numpy as np
import pytest

from evo import member, space, strategy


class Nothing(strategy.Strategy):
  def _ask(self, n, fresh, rng):
    return []

  def tell(self, results):
    pass


@pytest.fixture
def line():
  parameter = {
    'kind': 'float',
    'tier': 'configuration',
    'default': 0.5,
    'low': 0.0,
    'high': 1.0,
  }
  return space.Space.from_json({'name': 'line', 'parameters': {'x': parameter}})


def result(status, **metrics):
  leg = member.Leg(0, None, {}, None, 0, 1, 0)
  return member.Result(leg, status, metrics)


def test_the_interface_itself_cannot_be_made(line):
  with pytest.raises(TypeError, match='abstract'):
    strategy.Strategy(line)


def test_the_first_member_is_the_baseline_and_the_rest_are_drawn(line):
  nothing = Nothing(line, seed=3)
  assert nothing.initial_configuration(0) == {'x': 0.5}
  drawn = [nothing.initial_configuration(i)['x'] for i in range(1, 9)]
  assert len(set(drawn)) == 8
  assert drawn == [
    Nothing(line, seed=3).initial_configuration(i)['x'] for i in range(1, 9)
  ]
  assert drawn[0] != Nothing(line, seed=4).initial_configuration(1)['x']


def test_given_configurations_come_first(line):
  nothing = Nothing(line, initial=[{'x': 1}, {'x': 0}])
  assert [nothing.initial_configuration(i) for i in range(2)] == [
    {'x': 1.0},
    {'x': 0.0},
  ]


def test_given_configurations_must_be_valid(line):
  with pytest.raises(ValueError, match='x is 2; expected a number in'):
    Nothing(line, initial=[{'x': 2}])


def test_a_ladder_leads_from_the_baseline_to_draws_of_the_whole_space():
  wide = {'kind': 'float', 'low': 0.0, 'high': 1.0, 'default': 0.5}
  parameters = {f'x{i}': wide | {'tier': 'configuration'} for i in range(60)}
  parameters['fixed'] = wide | {'tier': 'objective'}
  full = space.Space.from_json({'name': 'wide', 'parameters': parameters})
  full = full.restrict(['configuration'])
  runs = [strategy.ladder(full, 7, seed) for seed in range(40)]
  assert runs[0] == strategy.ladder(full, 7, 0) != runs[1]
  assert all(run[0] == full.baseline for run in runs)
  assert all(c['fixed'] == 0.5 for run in runs for c in run)
  changed = [[sum(v != 0.5 for v in c.values()) for c in run] for run in runs]
  shares = np.mean(changed, 0) / 60
  np.testing.assert_allclose(shares, np.arange(7) / 6, atol=0.05)
  # Each has a draw of its own.
  x = np.array([c['x0'] for run in runs for c in run if c['x0'] != 0.5])
  assert len(set(x)) == len(x) and x.min() < 0.1 and x.max() > 0.9


def test_a_ladder_of_one_is_the_baseline(line):
  assert strategy.ladder(line, 1, 0) == [line.baseline]


def test_one_seed_serves_every_member_but_differs_between_searches(line):
  assert Nothing(line, seed=1).member_seed == Nothing(line, seed=1).member_seed
  assert Nothing(line, seed=1).member_seed != Nothing(line, seed=2).member_seed


@pytest.mark.parametrize('name', ['population', 'segments'])
def test_sizes_start_at_one(line, name):
  with pytest.raises(ValueError, match=f'{name} is 0; expected at least 1'):
    Nothing(line, **{name: 0})


@pytest.mark.parametrize(
  'what',
  [
    result(member.DIVERGED),
    result(member.INFEASIBLE),
    result(member.STOPPED),
    result(member.OK, search=math.nan),
    result(member.OK, search=-math.inf),
  ],
)
def test_every_failure_has_an_infinite_loss(what):
  assert strategy.selection_loss(what) == math.inf


def test_a_finite_loss_is_the_loss():
  assert strategy.selection_loss(result(member.OK, search=-2.0)) == -2.0
