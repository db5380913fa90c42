import math

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
