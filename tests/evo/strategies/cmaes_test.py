import dataclasses
import math

import numpy as np
import pytest

from evo import space
from evo.strategies import cmaes, random

BAD = math.inf
FLOAT = {
  'kind': 'float',
  'tier': 'configuration',
  'default': 0.5,
  'low': 0.0,
  'high': 1.0,
}
CHOICE = {
  'kind': 'choice',
  'tier': 'architecture',
  'structural': True,
}
MIXED = space.Space.from_json(
  {
    'name': 'mixed',
    'parameters': {
      'rate': FLOAT,
      'heads': CHOICE | {'default': 4, 'choices': [1, 2, 4, 8, 16]},
      'layers': FLOAT
      | {'kind': 'int', 'default': 3, 'low': 1, 'high': 9, 'structural': True},
      'rule': CHOICE | {'default': 'adam', 'choices': ['adam', 'sgd', 'lion']},
      'tied': CHOICE | {'default': False, 'choices': [False, True]},
      'momentum': FLOAT | {'when': {'rule': ['sgd']}},
    },
  }
)


def tell(strategy, finish, legs, losses):
  told = zip(legs, losses, strict=True)
  strategy.tell([finish(leg, loss) for leg, loss in told])


def search(strategy, finish, loss, members, slots=8):
  """Runs slots that never wait; returns the best losses so far by member."""
  rng = np.random.default_rng(strategy.seed)
  flying, best = [], []
  while len(best) < members:
    flying += strategy.ask(slots - len(flying))
    rng.shuffle(flying)
    told, flying = flying[:3], flying[3:]
    losses = [loss(leg.configuration) for leg in told]
    tell(strategy, finish, told, losses)
    best += losses
  return np.minimum.accumulate(best)


def bowl(configuration):
  return sum((v - 0.3) ** 2 for v in configuration.values())


def tilted(configuration):
  """A narrow valley along the diagonal."""
  x = np.array([*configuration.values()]) - 0.3
  return float(100 * np.sum((x - x.mean()) ** 2) + len(x) * x.mean() ** 2)


@pytest.mark.parametrize('names', [1, 3, 9, 40])
def test_a_generation_has_the_size_that_the_tutorial_advises(box, names):
  strategy = cmaes.CMAES(box(*(f'p{i}' for i in range(names))), population=2)
  assert strategy.generation == 4 + math.floor(3 * math.log(names))
  wide = cmaes.CMAES(box('x'), population=50)
  assert wide.generation == 50


def test_the_distribution_starts_at_the_best_of_the_first_members(box, finish):
  initial = [dict.fromkeys('abc', value) for value in (0.2, 0.5, 0.8)]
  strategy = cmaes.CMAES(box(*'abc'), population=3, initial=initial, step=0.01)
  tell(strategy, finish, strategy.ask(3), [2.0, BAD, 1.0])
  drawn = [[*leg.configuration.values()] for leg in strategy.ask(200)]
  np.testing.assert_allclose(np.mean(drawn, 0), 0.8, atol=0.003)
  np.testing.assert_allclose(np.std(drawn, 0), 0.01, rtol=0.2)


def test_until_results_are_in_members_are_drawn(box, finish):
  strategy = cmaes.CMAES(box('x'), population=3)
  drawn = random.Random(box('x')).ask(8)
  legs = strategy.ask(5)
  tell(strategy, finish, legs[1:4], [BAD, BAD, BAD])
  # Three results are in, but not one to start from.
  legs += strategy.ask(2)
  assert [leg.configuration for leg in legs] == [
    leg.configuration for leg in drawn[:7]
  ]
  tell(strategy, finish, legs[:1], [1.0])
  assert strategy.ask(1)[0].configuration != drawn[7].configuration


@pytest.mark.parametrize(
  'loss,members,share', [(bowl, 300, 0.01), (tilted, 900, 0.01)]
)
def test_it_beats_random_search_by_far(box, finish, loss, members, share):
  searched = box(*'abcde', default=0.9)
  adapted, drawn = (
    np.array(
      [
        search(make(searched, seed=s), finish, loss, members)[-1]
        for s in range(9)
      ]
    )
    for make in (cmaes.CMAES, random.Random)
  )
  assert np.median(adapted) < share * np.median(drawn)
  assert adapted.max() < drawn.min()


def test_only_the_order_of_losses_counts(box, finish):
  plain, bent = (
    [
      *search(
        cmaes.CMAES(box(*'abc'), seed=1),
        finish,
        lambda c, bend=bend: bend(tilted(c)),
        200,
      )
    ]
    for bend in (float, lambda loss: 7 + math.atan(loss))
  )
  np.testing.assert_allclose(bent, 7 + np.arctan(plain), rtol=1e-12)


def test_failures_rank_last_and_by_id(box, finish):
  # At most half of them fail, which worst losses could stand for.
  failing, bad = (cmaes.CMAES(box(*'abc'), generation=8) for _ in range(2))
  rng = np.random.default_rng(0)
  for _ in range(30):
    legs = failing.ask(8)
    assert bad.ask(8) == legs
    losses = [bowl(leg.configuration) for leg in legs]
    for i in rng.permutation(8)[:4]:
      losses[i] = BAD
    tell(failing, finish, legs, losses)
    worst = [100.0 + leg.member for leg in legs]
    losses = [min(pair) for pair in zip(losses, worst)]
    tell(bad, finish, legs, losses)


def test_a_generation_waits_for_half_to_be_sound(box, finish):
  strategy = cmaes.CMAES(box(*'abc'), population=1, generation=8, step=0.01)
  tell(strategy, finish, strategy.ask(1), [0.0])

  def mean():
    drawn = [[*leg.configuration.values()] for leg in strategy.ask(500)]
    return np.mean(drawn)

  for _ in range(5):
    tell(strategy, finish, strategy.ask(8), [BAD] * 8)
  assert abs(mean() - 0.5) < 0.002
  legs = sorted(strategy.ask(500), key=lambda leg: -bowl(leg.configuration))
  # The farthest out of five hundred, and the best to be had.
  tell(strategy, finish, legs[:3], [1.0, 2.0, 3.0])
  assert abs(mean() - 0.5) < 0.002
  tell(strategy, finish, legs[3:4], [4.0])
  assert mean() > 0.505


def test_it_goes_on_where_most_of_the_space_fails(box, finish):
  def loss(configuration):
    return bowl(configuration) if configuration['a'] < 0.35 else BAD

  for seed in range(5):
    strategy = cmaes.CMAES(box(*'abc', default=0.9), seed=seed)
    assert search(strategy, finish, loss, 400)[-1] < 1e-3


@pytest.mark.parametrize('corner', [0.0, 1.0])
def test_the_best_may_lie_at_the_bounds(box, finish, corner):
  def loss(configuration):
    return sum(abs(v - corner) for v in configuration.values())

  for seed in range(5):
    strategy = cmaes.CMAES(box(*'abc'), seed=seed)
    assert search(strategy, finish, loss, 300)[-1] < 0.02


def test_candidates_stay_in_the_space(finish):
  strategy = cmaes.CMAES(MIXED, step=2.0)
  for _ in range(40):
    legs = strategy.ask(8)
    for leg in legs:
      MIXED.validate(leg.configuration)
      assert MIXED.canonical(leg.configuration) == leg.configuration
      assert (leg.source, leg.start, leg.stop) == (None, 0, 10)
      assert (leg.parent, leg.keep) == (None, False)
    tell(strategy, finish, legs, [leg.configuration['rate'] for leg in legs])


def test_integers_and_numeric_choices_are_found(finish):
  def loss(configuration):
    off = abs(configuration['layers'] - 7) + abs(configuration['rate'] - 0.1)
    return off + abs(math.log2(configuration['heads']) - 0)

  for seed in range(5):
    strategy = cmaes.CMAES(MIXED, seed=seed)
    assert search(strategy, finish, loss, 300)[-1] < 0.05


def test_other_choices_are_those_of_the_best_and_now_and_then_another(finish):
  initial = [
    MIXED.baseline,
    MIXED.baseline | {'rule': 'lion', 'tied': True},
  ]
  strategy = cmaes.CMAES(MIXED, population=2, initial=initial, mutation=0.3)
  tell(strategy, finish, strategy.ask(2), [1.0, 0.0])
  n = 2000
  asked = [leg.configuration for leg in strategy.ask(n)]
  pairs = [(c['rule'], c['tied']) for c in asked]
  same = pairs.count(('lion', True))
  # Four standard deviations of binomial counts.
  assert abs(same - 0.7 * n) < 4 * math.sqrt(0.21 * n)
  tied = pairs.count(('lion', False))
  assert abs(tied - 0.15 * n) < 4 * math.sqrt(0.15 * 0.85 * n)
  assert (
    same + tied + pairs.count(('adam', True)) + pairs.count(('sgd', True)) == n
  )


def test_a_better_choice_is_found_and_kept(finish):
  def loss(configuration):
    missing = (configuration['rule'] != 'sgd') + (not configuration['tied'])
    momentum = abs(configuration['momentum'] - 0.9)
    return missing + momentum + abs(configuration['rate'] - 0.2)

  for seed in range(5):
    strategy = cmaes.CMAES(MIXED, seed=seed)
    assert search(strategy, finish, loss, 500)[-1] < 0.05


def test_what_was_run_counts_not_what_was_asked(finish):
  strategy = cmaes.CMAES(MIXED, step=0.05, mutation=0.0)
  tell(strategy, finish, strategy.ask(8), [0.0] + [1.0] * 7)
  asked = []
  for _ in range(30):
    legs = strategy.ask(8)
    asked.append([leg.configuration['layers'] for leg in legs])
    ran = [
      dataclasses.replace(leg, configuration=leg.configuration | {'layers': 8})
      for leg in legs
    ]
    tell(strategy, finish, ran, [leg.configuration['rate'] for leg in ran])
  # Losses never told them apart, but only eight layers were ever run.
  assert abs(np.mean(asked[0]) - 3) < 1
  assert abs(np.mean(asked[-10:]) - 8) < 0.5


def test_choices_are_those_that_the_best_was_run_with(finish):
  strategy = cmaes.CMAES(MIXED, population=2, mutation=0.0)
  first, other = strategy.ask(2)
  ran = dataclasses.replace(
    first, configuration=MIXED.baseline | {'rule': 'lion'}
  )
  tell(strategy, finish, [ran, other], [0.0, 1.0])
  assert {leg.configuration['rule'] for leg in strategy.ask(20)} == {'lion'}


def test_results_of_one_batch_come_in_any_order(box, finish):
  def following(order):
    strategy = cmaes.CMAES(box(*'abc'))
    for _ in range(4):
      legs = strategy.ask(30)
      losses = [bowl(leg.configuration) for leg in legs]
      tell(
        strategy, finish, [legs[i] for i in order], [losses[i] for i in order]
      )
    return strategy.ask(8)

  order = np.random.default_rng(0).permutation(30)
  assert following(range(30)) == following(order)


def test_a_space_without_numbers_is_refused():
  choices = MIXED.restrict(['architecture']).parameters[3:5]
  texts = space.Space('texts', choices)
  with pytest.raises(ValueError, match='^strategy cmaes cannot change'):
    cmaes.CMAES(texts)


@pytest.mark.parametrize(
  'option,value',
  [('generation', 3), ('step', 0.0), ('mutation', 1.5)],
)
def test_options_out_of_range_are_refused(box, option, value):
  with pytest.raises(ValueError, match=f'^{option} is {value}; expected'):
    cmaes.CMAES(box('x'), **{option: value})
