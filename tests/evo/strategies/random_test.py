import math

from evo.strategies import random


def test_members_train_from_scratch_for_the_whole_budget(box):
  legs = random.Random(box('x'), segments=7).ask(3)
  assert [leg.member for leg in legs] == [0, 1, 2]
  for leg in legs:
    assert (leg.source, leg.start, leg.stop) == (None, 0, 7)
    assert (leg.parent, leg.keep) == (None, False)


def test_losses_change_nothing(box, finish):
  told, untold = (random.Random(box('x'), seed=2) for _ in range(2))
  legs = told.ask(4)
  told.tell([finish(leg, loss) for leg, loss in zip(legs, (1, 2, math.inf))])
  assert untold.ask(4) == legs
  assert told.ask(4) == untold.ask(4)
  assert told.pinned() == set()


def test_fresh_bounds_the_members_started(box):
  strategy = random.Random(box('x'))
  assert len(strategy.ask(4, fresh=1)) == 1
  assert strategy.ask(4, fresh=0) == []


def test_draws_are_uniform_and_stay_in_the_space(box):
  strategy = random.Random(box('x', low=2.0, high=4.0, default=3.0))
  drawn = [leg.configuration['x'] for leg in strategy.ask(1001)][1:]
  assert all(2 <= x <= 4 for x in drawn)
  # Four standard errors of the mean of a thousand.
  assert abs(sum(drawn) / 1000 - 3) < 4 * 2 / math.sqrt(12 * 1000)
