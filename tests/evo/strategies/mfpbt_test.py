import math

import numpy as np
import pytest

from evo import simulation, space, strategies, task
from evo.strategies import mfpbt, pbt

BAD = math.inf
SHAPED = space.Space.from_json(
  {
    'name': 'shaped',
    'parameters': {
      'rate': {
        'kind': 'log_float',
        'tier': 'configuration',
        'default': 0.1,
        'low': 1e-4,
        'high': 1.0,
      },
      'layers': {
        'kind': 'int',
        'tier': 'architecture',
        'default': 3,
        'low': 1,
        'high': 9,
        'structural': True,
      },
      'spread': {
        'kind': 'float',
        'tier': 'configuration',
        'default': 1.0,
        'low': 0.0,
        'high': 9.0,
        'initial': True,
      },
    },
  }
)


def step(strategy, finish, losses):
  """Tells losses, in order of member, to the legs of one interval."""
  legs = strategy.ask(99)
  told = zip(legs, losses, strict=True)
  strategy.tell([finish(leg, loss) for leg, loss in told])
  return legs


def followed(brackets, before, after):
  """Brackets by member: new members stand where those that ended stood."""
  gone = sorted({x.member for x in before} - {x.member for x in after})
  new = sorted({x.member for x in after} - {x.member for x in before})
  heirs = dict(zip(gone, new, strict=True))
  return heirs, brackets | {heirs[m]: brackets[m] for m in gone}


def test_with_one_bracket_it_is_pbt(box, finish):
  several, plain = (
    make(box('x', 'y'), population=6, interval=2, **options)
    for make, options in ((mfpbt.MFPBT, {'periods': [1]}), (pbt.PBT, {}))
  )
  rng = np.random.default_rng(0)
  for _ in range(12):
    losses = rng.permutation(6).astype(float)
    losses[rng.random(6) < 0.1] = BAD
    assert step(several, finish, losses) == step(plain, finish, losses)


def published(losses, brackets, due):
  """What `genetics` of hpo/utils/mf_pbt_genetics.py does in github.com/
  WaelDLZ/MF-PBT@03eb944 (MIT), for brackets of 8.

  Returns:
    For losers the donors that they may have, and for members that a migrant
    replaces the migrant and whose configuration its heir has.
  """
  ranked = sorted(losses, key=lambda m: losses[m])
  losers, migrants = {}, {}
  for bracket in due:
    local = [m for m in ranked if brackets[m] == bracket]
    outside = [m for m in ranked if brackets[m] != bracket]
    losers |= dict.fromkeys(local[6:], local[:2])
    for m in local[4:6]:
      if losses[outside[0]] < losses[m]:
        other = outside.pop(0)
        slow = brackets[other] < bracket
        migrants[m] = (other, local[0] if slow else other)
  return losers, migrants


@pytest.mark.parametrize('seed', range(5))
def test_losers_and_migrants_are_those_of_the_published_code(box, finish, seed):
  periods = (1, 2, 3, 6)
  strategy = mfpbt.MFPBT(
    box('x', 'y'), population=32, seed=seed, periods=periods, segments=13
  )
  rng = np.random.default_rng(seed)
  brackets = {m: m % 4 for m in range(32)}
  before, told, migrations = None, {}, 0
  for i in range(13):
    losses = rng.permutation(32).astype(float)
    after = strategy.ask(32)
    if before:
      due = [b for b, period in enumerate(periods) if i % period == 0]
      losers, migrants = published(told, brackets, due)
      heirs, brackets = followed(brackets, before, after)
      assert heirs.keys() == losers.keys() | migrants.keys()
      legs = {leg.member: leg for leg in after}
      values = {leg.member: leg.configuration for leg in before}
      for m, donors in losers.items():
        leg = legs[heirs[m]]
        assert leg.parent == leg.source[0] and leg.parent in donors
        assert leg.configuration != values[leg.parent]
      for m, (migrant, giver) in migrants.items():
        leg = legs[heirs[m]]
        assert (leg.source, leg.parent) == ((migrant, i), giver)
        assert leg.configuration == values[giver]
      migrations += len(migrants)
    told = {leg.member: loss for leg, loss in zip(after, losses, strict=True)}
    strategy.tell([finish(leg, told[leg.member]) for leg in after])
    before = after
  assert migrations > 10


def test_a_diverged_member_of_a_slow_bracket_is_replaced_at_once(box, finish):
  strategy = mfpbt.MFPBT(box('x'), population=8, periods=(1, 5))
  # Odd members are slow; 3 is the best of those that are sound.
  step(strategy, finish, [0.0, BAD, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0])
  legs = strategy.ask(8)
  assert [leg.member for leg in legs] == [0, 2, 3, 4, 5, 7, 8, 9]
  rescued, loser = legs[6:]
  assert rescued.source == (3, 1) and loser.source == (0, 1)


def test_a_bracket_without_a_sound_member_takes_heirs_of_any(box, finish):
  strategy = mfpbt.MFPBT(box('x'), population=8, periods=(1, 5), segments=5)
  first = step(strategy, finish, [0.0, BAD, 1.0, BAD, 2.0, BAD, 3.0, BAD])
  second = strategy.ask(8)
  heirs, _ = followed({m: m % 2 for m in range(8)}, first, second)
  assert heirs.keys() == {1, 3, 5, 6, 7}
  legs = {leg.member: leg for leg in second}
  assert {legs[heirs[m]].source[0] for m in (1, 3, 5, 7)} <= {0, 2}
  for m in (1, 3, 5, 7):
    # Of the donor too, changed: those of the bracket are known to fail.
    leg = legs[heirs[m]]
    assert leg.parent == leg.source[0]
    assert leg.configuration != first[leg.parent].configuration


def test_weights_bring_their_structure_and_their_start(finish):
  strategy = mfpbt.MFPBT(
    SHAPED,
    population=8,
    periods=(1, 2),
    initial=[
      {'rate': 0.1 + 0.05 * i, 'layers': 1 + i, 'spread': i} for i in range(8)
    ],
  )
  # All of the fast bracket, the even ones, are better than the slow ones.
  step(strategy, finish, [0.0, 5.0, 2.0, 8.0, 3.0, 9.0, 4.0, 9.5])
  second = step(strategy, finish, [0.0, 5.0, 2.0, 8.0, 3.0, 9.0, 9.5, 4.0])
  third = strategy.ask(8)
  assert [leg.member for leg in second] == [0, 1, 2, 3, 4, 5, 7, 8]
  migrated = [leg for leg in third if leg.source[0] == 0 and leg.parent == 1]
  assert [leg.configuration for leg in migrated] == [
    {'rate': pytest.approx(0.15), 'layers': 1, 'spread': 0}
  ]


@pytest.mark.parametrize(
  'population,segments,periods',
  [
    (7, 50, (1,)),
    (8, 10, (1, 5)),
    (12, 40, (1, 2, 5)),
    (16, 10, (1, 2, 3, 5)),
    (22, 50, (1, 2, 3, 5)),
    (8, 1, (1,)),
  ],
)
def test_periods_spread_to_half_of_the_budget(
  box, population, segments, periods
):
  strategy = mfpbt.MFPBT(box('x'), population=population, segments=segments)
  assert strategy.interval == max(1, segments // 10)
  assert strategy.periods == periods


@pytest.mark.parametrize('periods', [[], [2], [0, 1], [1, 3, 2], [1, 1]])
def test_periods_out_of_order_are_refused(box, periods):
  with pytest.raises(ValueError, match=r'^periods is \[.*; expected ascending'):
    mfpbt.MFPBT(box('x'), periods=periods)


def best(name, seed, **options):
  """Regret of the best member on the deceptive task, one selection every 20
  steps at most."""
  toy = task.make('deceptive')
  strategy = strategies.make(
    name,
    toy.space,
    seed=seed,
    population=22,
    segments=toy.segments,
    initial=toy.initial(seed),
    interval=1,
    factors=(0.5, 2.0),
    resample=0.0,
    **options,
  )
  outcome = simulation.simulate(strategy, toy, slots=22, charge=22, seed=seed)
  return min(outcome.truths[-22:])


def test_several_frequencies_cure_greed(box):
  greedy = np.array([best('pbt', seed) for seed in range(8)])
  several = np.array([best('mfpbt', seed) for seed in range(8)])
  assert np.all(several < greedy)
