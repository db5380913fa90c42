"""Tests of backward elimination."""

import pytest

from evo import ablation, elimination, trial
from evo import space as space_lib

NAMES = ('a', 'b', 'c', 'd', 'e', 'f')
PARAMETER = {'kind': 'float', 'low': 0, 'high': 1, 'default': 0.0}
SPACE = space_lib.Space.from_json(
  {
    'name': 's',
    'parameters': {
      name: PARAMETER | {'tier': 'configuration'} for name in NAMES
    },
  }
)
NOISE = (0.01, -0.02, 0.03, 0.0, -0.01, -0.01)


def evidence(gain, looks=(6, 9)):
  return trial.Evidence(tuple(gain + x for x in NOISE), looks)


def test_all_that_was_not_confirmed_goes_first_then_all_but_the_strongest():
  gains = {'a': 1.0, 'b': 0.012, 'c': 0.0, 'd': 0.008, 'e': -0.01, 'f': 0.004}
  found = {ablation.without(n): evidence(g) for n, g in gains.items()}
  rule = ablation.Rule(NAMES, worth=0.1)
  assert rule.confirmed(found) == ('a',)
  assert list(elimination.attempts(rule, found)) == [
    ('e', 'c', 'f', 'd', 'b'),
    ('e', 'c', 'f', 'd'),
    ('e', 'c', 'f'),
    ('e',),
  ]


def test_where_all_is_confirmed_nothing_is_tried():
  found = {ablation.without(n): evidence(1.0) for n in NAMES}
  rule = ablation.Rule(NAMES, worth=0.1)
  assert not list(elimination.attempts(rule, found))


def test_what_was_not_tested_is_a_candidate_beside_what_was():
  rule = ablation.Rule(NAMES, worth=0.1)
  found = {ablation.without('a'): evidence(1.0)}
  first = next(elimination.attempts(rule, found))
  assert set(first) == set(NAMES) - {'a'}


def test_where_nobody_knows_what_is_worth_having_only_harm_is_undone():
  rule = ablation.Rule(NAMES, worth=0.0)
  gains = {'a': 1.0, 'b': 0.0, 'c': -1.0, 'd': 0.002}
  found = {ablation.without(n): evidence(g) for n, g in gains.items()}
  assert list(elimination.attempts(rule, found)) == [('c',)]


@pytest.mark.parametrize('n', [None, 5])
def test_where_nothing_was_tested_nothing_is_tried(n):
  rule, few = ablation.Rule(NAMES, worth=0.1), trial.Evidence(NOISE[:5], (6,))
  found = {} if n is None else {ablation.without(name): few for name in NAMES}
  assert not list(elimination.attempts(rule, found))


def test_changes_go_back_to_the_baseline_and_the_others_stay():
  stack = dict.fromkeys(NAMES, 0.5)
  smaller = elimination.reduced(SPACE, stack, ['b', 'c'])
  assert smaller == stack | {'b': 0.0, 'c': 0.0}


@pytest.mark.parametrize(
  'gain,worth,expected',
  [
    (1.0, 0.5, False),  # The stack is surely better than without.
    (0.0, 0.1, True),  # Nothing worth having is lost.
    (0.05, 0.1, True),  # Something is lost, but surely less than that.
    (0.09, 0.1, False),  # Perhaps less, perhaps more.
    (-1.0, 0.0, True),  # What was put back did harm.
  ],
)
def test_changes_are_put_back_where_surely_nothing_worth_having_is_lost(
  gain, worth, expected
):
  assert elimination.accepted(evidence(gain), worth) == expected


def test_changes_stay_where_the_test_did_not_end():
  assert not elimination.accepted(None, 0.0)
  assert not elimination.accepted(trial.Evidence((0.0, 0.1), (6, 9)), 0.0)
  # Neither better nor without worth after the first look: it goes on.
  assert not elimination.accepted(evidence(0.004), 0.0)


def test_after_the_last_look_what_nobody_can_tell_stays():
  undecided = evidence(0.004, looks=(6,))
  assert not elimination.accepted(undecided, 0.0)
  # The interval reaches .023 or so.
  assert not elimination.accepted(undecided, 0.02)
  assert elimination.accepted(undecided, 0.03)


def test_where_a_run_failed_changes_stay():
  lost = trial.Evidence((-float('inf'), *NOISE[1:]), (6,))
  assert not elimination.accepted(lost, 1.0)
