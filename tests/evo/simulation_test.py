import dataclasses
import math

import numpy as np
import pytest

from evo import member, simulation, space, strategies, strategy, task


def toy(train, segments=4, **more):
  parameter = {'kind': 'float', 'low': 0.0, 'high': 1.0, 'default': 0.5}
  parameters = {'x': {'tier': 'configuration', **parameter}}
  searched = space.Space.from_json({'name': 'toy', 'parameters': parameters})
  return task.Task('toy', searched, segments, train, **more)


def lengths(state, leg, rng):
  """The state is all legs behind it."""
  del rng
  return (*state, leg), float(leg.member), float(len(state))


def make(name, searched, seed=0, **options):
  return strategies.make(
    name, searched.space, seed=seed, segments=searched.segments, **options
  )


class Scripted(strategy.Strategy):
  """Asks what a script says, whatever it is told."""

  def __init__(self, searched, script, pins=(), **attributes):
    super().__init__(searched.space, segments=searched.segments)
    self.script, self.pins, self.told, self.offers = [*script], [*pins], [], []
    vars(self).update(attributes)

  def _ask(self, n, fresh, rng):
    self.offers.append((n, fresh))
    return self.script.pop(0) if self.script and n else []

  def tell(self, results):
    self.told.append([result.leg.member for result in results])

  def pinned(self):
    return self.pins.pop(0) if self.pins else set()


def leg(id, start, stop, source=None, keep=False):
  return member.Leg(id, None, {'x': 0.5}, source, start, stop, 0, keep)


def run(strategy, searched, slots=2, charge=9, seed=0):
  return simulation.simulate(
    strategy, searched, slots=slots, charge=charge, seed=seed
  )


def test_a_slot_is_refilled_in_the_round_after_its_leg_ended():
  searched = toy(lengths, segments=4, state0=())
  script = [[leg(0, 0, 4), leg(1, 0, 2)], [], [leg(2, 0, 1)]]
  asked = Scripted(searched, [script[0], script[2]])
  outcome = run(asked, searched)
  # Asked with a free slot only: at first, then after 1, after 2, after 0.
  assert asked.offers[0] == (2, 9)
  assert [x.member for x in outcome.legs] == [0, 1, 2]
  assert [x.leg.member for x in outcome.results] == [1, 2, 0]
  # Two at work in rounds 1 to 3, one in round 4.
  assert outcome.charges == [4 / 4, 6 / 4, 7 / 4]


def test_results_of_a_round_are_told_together_in_order_of_member():
  searched = toy(lengths, segments=2, state0=())
  asked = Scripted(searched, [[leg(1, 0, 1), leg(0, 0, 1), leg(2, 0, 2)]])
  run(asked, searched, slots=3)
  assert asked.told == [[0, 1], [2]]


@pytest.mark.parametrize('charge,members', [(5, 5), (5.9, 5), (0.5, 0)])
def test_the_charge_is_never_exceeded(charge, members):
  searched = toy(lengths, segments=4, state0=())
  outcome = run(make('random', searched), searched, slots=3, charge=charge)
  assert len(outcome.results) == members
  assert [*outcome.charges[-1:]] == [members] * (members > 0)


def test_an_heir_pays_for_what_it_trains_only():
  searched = toy(lengths, segments=4, state0=())
  strategy = make(
    'evolution', searched, population=2, inherit_at=0.5, scratch=0.0
  )
  outcome = run(strategy, searched, charge=4)
  spent = sum(x.leg.stop - x.leg.start for x in outcome.results) / 4
  assert outcome.charges[-1] == spent <= 4
  assert sum(x.source is None for x in outcome.legs) == 2
  assert len({x.member for x in outcome.legs}) > 4


def test_taking_over_a_run_costs_nothing_more():
  searched = toy(lengths, segments=10, state0=())
  outcome = run(make('pbt', searched, population=4), searched, 4, 8)
  # Two cohorts of four, each with members that took over.
  assert outcome.charges[-1] == 8
  assert sum(x.source is None for x in outcome.legs) == 8
  assert len({x.member for x in outcome.legs}) > 8


def test_where_members_may_be_left_each_leg_is_paid_by_itself():
  searched = toy(lengths, segments=4, state0=())
  script = [[leg(i, 0, 1)] for i in range(20)]
  asked = Scripted(searched, script, finishes=False)
  outcome = run(asked, searched, slots=1, charge=3)
  # No leg starts where a whole member might not fit.
  assert len(outcome.results) == 9
  assert asked.offers[:6] == [(1, 3), (1, 2), (1, 2), (1, 2), (1, 2), (1, 1)]


def test_states_go_from_donors_to_heirs():
  searched = toy(lengths, segments=10, state0=())
  for name in ('pbt', 'pbt_tournament', 'evolution'):
    options = {'inherit_at': 0.5} if name == 'evolution' else {}
    strategy = make(name, searched, population=4, **options)
    outcome = run(strategy, searched, 4, 12)
    behind = {None: 0}
    for result, truth in zip(outcome.results, outcome.truths, strict=True):
      behind[result.leg.member, result.stop] = 1 + behind[result.leg.source]
      assert truth == behind[result.leg.source]


def test_a_held_state_needs_no_pin_but_one_that_was_kept_does():
  searched = toy(lengths, segments=4, state0=())
  script = [
    [leg(0, 0, 2, keep=True)],
    [leg(1, 0, 1)],
    [leg(2, 2, 4, source=(0, 2))],
  ]
  held = [script[0], [leg(0, 2, 4, source=(0, 2))]]
  assert run(Scripted(searched, held), searched, 1).truths == [0, 1]
  kept = Scripted(searched, script, pins=[set(), {(0, 2)}, {(0, 2)}])
  assert run(kept, searched, 1).truths == [0, 0, 1]
  for pins in ([], [set(), {(0, 2)}, set()]):
    with pytest.raises(ValueError, match=r'^member 2 starts from \(0, 2\);'):
      run(Scripted(searched, script, pins=pins), searched, 1)


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_a_failure(bad):
  searched = toy(lambda state, leg, rng: (state, bad, 0.0), segments=1)
  outcome = run(make('evolution', searched, population=2), searched)
  assert len(outcome.results) == 9
  for result in outcome.results:
    assert (result.status, result.metrics) == (member.DIVERGED, {})


def noisy(state, leg, rng):
  truth = (leg.configuration['x'] - 0.3) ** 2
  return state, truth + 0.1 * rng.normal(), truth


def test_the_same_arguments_give_the_same():
  def again(**seeds):
    searched = toy(noisy, segments=4)
    strategy = make('evolution', searched, seed=seeds.get('search', 0))
    return run(strategy, searched, seed=seeds.get('task', 0))

  assert again() == again()
  assert again() != again(task=1)
  assert again() != again(search=1)
  losses = [result.loss for result in again().results]
  assert len(set(losses)) == len(losses)


def test_asks_are_counted_and_timed():
  searched = toy(noisy, segments=2)
  strategy = make('random', searched)
  outcome = run(strategy, searched, slots=3, charge=6)
  assert outcome.asks == strategy.asks == 2
  assert 0 < outcome.seconds < 1
  assert outcome == dataclasses.replace(outcome, seconds=0.0)


def test_another_number_of_segments_is_refused():
  searched = toy(noisy, segments=2)
  other = make('random', toy(noisy, segments=3))
  with pytest.raises(ValueError, match='^segments is 3; expected 2'):
    run(other, searched)


def test_random_search_finds_what_order_statistics_say():
  # The smallest of n uniform distances on [0, .5] or so: about 1 / (2n).
  searched = toy(
    lambda state, leg, rng: (state, *[abs(leg.configuration['x'] - 0.5)] * 2),
    segments=1,
  )
  found = []
  for seed in range(200):
    strategy = strategies.make(
      'random', searched.space, seed=seed, segments=1, initial=[]
    )
    found.append(min(run(strategy, searched, 4, 9, seed).truths))
  # Mean and standard deviation of a minimum of nine, each uniform on [0, .5].
  assert abs(np.mean(found) - 0.05) < 4 * 0.045 / math.sqrt(200)
