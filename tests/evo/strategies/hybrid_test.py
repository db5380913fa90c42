"""Tests of evolution with a model of the loss and early ends."""

import math

import numpy as np
import pytest

from evo import simulation, space, strategies
from evo import task as task_lib
from evo.strategies import evolution


def make(box, **options):
  options = {'children': 16, 'rows': 64, 'population': 4} | options
  return strategies.make('hybrid', box('x', 'y'), **options)


def loss(configuration):
  """A bowl with its bottom at (.8, .2)."""
  x, y = configuration['x'], configuration['y']
  return (x - 0.8) ** 2 + (y - 0.2) ** 2


def run(strategy, finish, legs, early=lambda final: 1 + 2 * final):
  """Asks for so many legs, one by one; an early loss tells the final one."""
  done = []
  while len(done) < legs:
    (leg,) = strategy.ask(1)
    final = loss(leg.configuration)
    done.append((leg, final if leg.stop == strategy.segments else early(final)))
    if leg.splits:
      strategy.tell([finish(*done[-1])])
    else:
      strategy.tell([finish(leg)])
  return done


def test_a_model_finds_what_evolution_alone_does_not(box, finish):
  found = {}
  for name in ('hybrid', 'evolution'):
    best = []
    for seed in range(3):
      options = {'check': 1.0, 'children': 32} if name == 'hybrid' else {}
      strategy = strategies.make(
        name, box('x', 'y'), seed=seed, population=4, **options
      )
      done = run(strategy, finish, 25)
      best.append(min(final for _, final in done))
    found[name] = np.mean(best)
  assert found['hybrid'] < 1e-3 < found['evolution']


def test_losers_end_at_the_check_and_winners_go_on(box, finish):
  strategy = make(box, check=0.3)
  done = run(strategy, finish, 60)
  ends = {}
  for leg, final in done:
    ends[leg.member] = leg.stop, final
  stopped = [final for stop, final in ends.values() if stop == 3]
  assert len(stopped) >= 3
  best = min(final for stop, final in ends.values() if stop == 10)
  # What was left would have been worse: an early loss is 1 + twice the final.
  assert min((early - 1) / 2 for early in stopped) > best
  # None before the forecast rests on six members.
  whole = [leg.member for leg, _ in done if leg.stop == 10][:6]
  assert min(m for m, (stop, _) in ends.items() if stop == 3) > max(whole[:5])


def test_the_model_learns_what_was_forecast_of_a_loser(box, finish):
  strategy = make(box, check=0.3)
  done = run(strategy, finish, 60)
  ends = {leg.member: leg.stop for leg, _ in done}
  for leg, early in done:
    if ends[leg.member] == 3:
      # The line from early to final losses is exact here.
      forecast = strategy._told[leg.member][1]
      assert forecast == pytest.approx((early - 1) / 2, abs=1e-9)


def test_no_member_ends_early_where_early_losses_say_nothing(box, finish):
  noise = np.random.default_rng(0)
  strategy = make(box, check=0.3, hope=0.02)
  done = run(strategy, finish, 40, early=lambda final: noise.normal())
  ends = {leg.member: leg.stop for leg, _ in done}
  assert sum(stop == 3 for stop in ends.values()) <= 2


def test_what_heirs_reach_does_not_end_what_trains_from_scratch(box, finish):
  strategy = make(box, check=0.5, inherit_at=0.3)
  for i in range(8):
    # The best root comes from 4 to 2, the best heir to 1.
    for root in (True, False):
      early = 4 + i / 10
      pair = early, early / (2 if root else 4)
      strategy._pairs[root].append(pair)
  begun = evolution.Member(90, None, {}, origin=90, root={})
  heir = evolution.Member(91, None, {}, origin=0, root={})
  assert strategy._forecast(3.9, begun) == (pytest.approx(1.95), 1.0)
  forecast, chance = strategy._forecast(3.9, heir)
  assert forecast < 1.9 and chance < 0.9


def test_a_check_at_the_end_is_none(box, finish):
  strategy = make(box, check=1.0)
  assert all(leg.stop == 10 for leg, _ in run(strategy, finish, 20))
  assert strategy.evaluations == 1


def test_a_child_inherits_from_the_member_that_is_most_like_it(box, finish):
  strategy = make(box, check=1.0, inherit_at=0.4, scratch=0.0)
  done = run(strategy, finish, 40)
  configurations = {leg.member: leg.configuration for leg, _ in done}
  heirs = [leg for leg, _ in done if leg.inherits]
  assert heirs
  for leg in heirs:
    mine, parent = leg.configuration, configurations[leg.parent]
    gap = abs(mine['x'] - parent['x']) + abs(mine['y'] - parent['y'])
    others = [
      abs(mine['x'] - c['x']) + abs(mine['y'] - c['y'])
      for member, c in configurations.items()
      if member < leg.member
    ]
    assert gap < np.median(others)
    assert leg.source[1] == leg.start == 4


@pytest.mark.parametrize('seed', range(3))
def test_heirs_are_no_repetitions_but_for_what_acts_at_the_start(finish, seed):
  whole = {'kind': 'int', 'tier': 'configuration', 'default': 2}
  whole |= {'low': 0, 'high': 5}
  spread = {'kind': 'float', 'tier': 'configuration', 'default': 1.0}
  spread |= {'low': 0.0, 'high': 2.0, 'initial': True}
  searched = space.Space.from_json(
    {'name': 's', 'parameters': {'x': whole, 'y': whole, 'spread': spread}}
  )
  strategy = strategies.make(
    'hybrid',
    searched,
    seed=seed,
    population=4,
    children=16,
    rows=64,
    inherit_at=0.4,
  )
  seen, heirs = set(), 0
  while heirs < 12:
    (leg,) = strategy.ask(1)
    configuration = tuple(leg.configuration.items())
    if leg.inherits:
      heirs += 1
      assert configuration not in seen
    seen.add(configuration)
    final = sum((v - 1.3) ** 2 for v in leg.configuration.values())
    strategy.tell([finish(leg, final)])


def test_failures_do_not_break_the_model(box, finish):
  strategy = make(box, check=0.5)
  for i in range(30):
    (leg,) = strategy.ask(1)
    failed = leg.configuration['x'] > 0.6 or i == 0
    final = math.inf if failed else loss(leg.configuration)
    strategy.tell([finish(leg, final)])
  assert all(not math.isnan(final) for _, final in strategy._told.values())


@pytest.mark.slow
def test_the_conditional_toy_is_solved_in_forty_trials():
  task = task_lib.make('conditional')
  best = []
  for seed in range(8):
    strategy = strategies.make(
      'hybrid', task.space, seed=seed, segments=1, initial=[]
    )
    found = simulation.simulate(strategy, task, slots=1, charge=40, seed=seed)
    best.append(min(found.truths))
  assert np.mean(best) <= 0.03


@pytest.mark.parametrize(
  'option,value',
  [('children', 0), ('check', 0.0), ('check', 1.5), ('hope', 1.0)],
)
def test_options_out_of_range_are_refused(box, option, value):
  with pytest.raises(ValueError, match=f'^{option} is {value}; expected'):
    make(box, **{option: value})
