"""What the tests of strategies share."""

import math

import pytest

from evo import member, space


@pytest.fixture(scope='session')
def box():
  """Makes a space of floats in [low, high]."""

  def make(*names, kind='float', low=0.0, high=1.0, default=0.5):
    parameter = {
      'kind': kind,
      'tier': 'configuration',
      'default': default,
      'low': low,
      'high': high,
    }
    parameters = {name: dict(parameter) for name in names}
    return space.Space.from_json({'name': 'box', 'parameters': parameters})

  return make


@pytest.fixture(scope='session')
def finish():
  """Makes the result of a leg; a loss of infinity is a divergence."""

  def make(leg, loss=0.0):
    if math.isinf(loss):
      return member.Result(leg, member.DIVERGED, {}, stop=leg.start)
    return member.Result(leg, member.OK, {'search': loss}, stop=leg.stop)

  return make
