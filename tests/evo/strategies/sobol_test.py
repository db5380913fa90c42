import numpy as np
from scipy.stats import qmc

from evo import member
from evo.strategies import random, sobol

NAMES = tuple('abcde')


def points(strategy, n):
  """The first n configurations that were not given, as points [n, d]."""
  legs = strategy.ask(n + len(strategy.initial))[len(strategy.initial) :]
  return np.array([[*leg.configuration.values()] for leg in legs])


def test_members_are_the_points_of_the_scrambled_sequence(box):
  rng = member.generator(3, 'sobol')
  expected = qmc.Sobol(len(NAMES), scramble=True, rng=rng).random_base2(5)
  drawn = points(sobol.Sobol(box(*NAMES), seed=3), 32)
  np.testing.assert_allclose(drawn, expected, rtol=1e-12)


def test_given_configurations_come_first(box):
  initial = [{'x': 0.1}, {'x': 0.2}]
  short, long = (
    sobol.Sobol(box('x'), initial=given) for given in (initial[:1], initial)
  )
  first = [leg.configuration for leg in long.ask(4)]
  assert first[:2] == initial
  assert first[2:] == [leg.configuration for leg in short.ask(3)][1:]


def test_points_fill_every_slice_of_every_parameter(box):
  drawn = points(sobol.Sobol(box(*NAMES)), 96)
  for block in np.split(drawn, 6):
    slices = np.sort(np.floor(block * 16), axis=0)
    assert (slices == np.arange(16)[:, None]).all()


def test_points_are_more_even_than_random_draws(box):
  even, drawn = (
    np.array(
      [
        qmc.discrepancy(points(make(box(*NAMES), seed=s), 100))
        for s in range(9)
      ]
    )
    for make in (sobol.Sobol, random.Random)
  )
  assert even.max() < 0.5 * drawn.min()


def test_each_point_by_itself_is_uniform(box):
  first = [points(sobol.Sobol(box('x'), seed=s), 1)[0, 0] for s in range(400)]
  # Four standard errors of the mean of a uniform number.
  assert abs(np.mean(first) - 0.5) < 4 / np.sqrt(12 * 400)


def test_a_member_has_its_point_whenever_it_is_looked_up(box):
  strategy = sobol.Sobol(box(*NAMES))
  legs = strategy.ask(20)
  for i in (19, 3, 0, 4, 4, 12):
    assert strategy.initial_configuration(i) == legs[i].configuration
  fresh = sobol.Sobol(box(*NAMES))
  assert fresh.initial_configuration(17) == legs[17].configuration


def test_ids_given_to_a_confirmation_skip_points(box):
  whole, broken = (sobol.Sobol(box('x')) for _ in range(2))
  legs = whole.ask(12)
  broken.ask(3)
  broken.members += 4
  assert broken.ask(5) == legs[7:]


def test_hundreds_of_parameters_are_no_trouble(box):
  strategy = sobol.Sobol(box(*(f'p{i}' for i in range(300))))
  drawn = points(strategy, 7)
  assert ((0 <= drawn) & (drawn <= 1)).all()


def test_members_train_from_scratch_for_the_whole_budget(box):
  for leg in sobol.Sobol(box('x'), segments=7).ask(3):
    assert (leg.source, leg.start, leg.stop) == (None, 0, 7)
    assert (leg.parent, leg.keep) == (None, False)
