"""Tests of which changes are worth testing first."""

import math

import numpy as np
import pytest

from evo import member, promise, space

SLOPES = {'strong': 3.0, 'weak': 0.4, 'nothing': 0.0, 'harmful': -1.0}
SPACE = space.Space.from_json(
  {
    'name': 's',
    'parameters': {
      **{
        name: {
          'kind': 'float',
          'tier': 'configuration',
          'default': 0.2,
          'low': 0.0,
          'high': 1.0,
        }
        for name in SLOPES
      },
      'kind': {
        'kind': 'choice',
        'tier': 'architecture',
        'default': 'a',
        'choices': ['a', 'b', 'c'],
        'structural': True,
      },
    },
  }
)
# The less a change is worth, the larger it is.
STACK = SPACE.baseline | {
  'strong': 0.3,
  'weak': 0.5,
  'nothing': 0.9,
  'harmful': 0.8,
  'kind': 'c',
}
NAMES = (*SLOPES, 'kind')


def loss(configuration, noise=0.0):
  gain = sum(slope * configuration[name] for name, slope in SLOPES.items())
  return 3 - gain - 0.6 * (configuration['kind'] == 'c') + noise


def trial(i, configuration, value):
  leg = member.Leg(i, None, configuration, None, 0, 1, seed=i)
  if not math.isfinite(value):
    return member.Result(leg, member.DIVERGED, {})
  return member.Result(leg, member.OK, {'search': value})


def searched(n, seed):
  """Members of a search that changes all parameters at once."""
  rng = np.random.default_rng(seed)
  drawn = [SPACE.sample(rng) for _ in range(n)]
  return [
    trial(i, c, loss(c, rng.normal(scale=0.1))) for i, c in enumerate(drawn)
  ]


@pytest.mark.parametrize('seed', range(3))
def test_first_comes_what_the_search_says_is_worth_most_however_small(seed):
  trials = searched(64, seed)
  found = promise.order(SPACE, STACK, NAMES, trials)
  assert set(found) == set(NAMES)
  assert found[0] == 'kind' and found[-1] == 'harmful'
  assert found.index('strong') < found.index('nothing')


def test_members_that_failed_are_taken_for_bad_ones():
  trials = searched(64, 0)
  worst = sorted(trials, key=lambda t: t.loss)[-8:]
  lost = [
    trial(t.leg.member, t.leg.configuration, math.inf) if t in worst else t
    for t in trials
  ]
  found = promise.order(SPACE, STACK, NAMES, lost)
  assert found[0] == 'kind' and found[-1] == 'harmful'


def test_the_order_depends_on_nothing_but_what_it_is_given():
  trials = searched(32, 1)
  once, twice = (promise.order(SPACE, STACK, NAMES, trials) for _ in range(2))
  assert once == twice
  assert promise.order(SPACE, STACK, NAMES[::-1], trials) == once
