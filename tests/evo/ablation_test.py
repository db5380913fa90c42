"""Tests of what an ablation trains, and of what it says."""

import itertools
import json
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from evo import ablation, space, trial

CONFIGURATION = {'tier': 'configuration'}
CHOICE = {'kind': 'choice', 'structural': True, 'tier': 'architecture'}
SPACE = space.Space.from_json(
  {
    'name': 'forest',
    'parameters': {
      # Active where the optimizer is muon; listed before its condition.
      'momentum': {'kind': 'float', 'low': 0, 'high': 1, 'default': 0.9}
      | CONFIGURATION
      | {'when': {'optimizer': ['muon']}},
      'rate': {'kind': 'log_float', 'low': 1e-4, 'high': 1, 'default': 1e-2}
      | CONFIGURATION,
      'optimizer': CHOICE | {'choices': ['adam', 'muon'], 'default': 'adam'},
      'depth': {'kind': 'int', 'low': 1, 'high': 4, 'default': 2}
      | {'tier': 'architecture', 'structural': True},
      'norm': CHOICE | {'choices': ['rms', 'layer'], 'default': 'rms'},
      'bias': CHOICE
      | {'choices': [False, True], 'default': False}
      | {'when': {'norm': ['layer']}},
    },
  }
)
BASE = SPACE.baseline


def without(name):
  return f'without {name}'


def only(name):
  return f'only {name}'


def some_stack(seed):
  """A random configuration, of which some parameters are the baseline's."""
  rng = np.random.default_rng(seed)
  drawn = SPACE.sample(rng)
  picks = rng.integers(2, size=len(SPACE.free))
  return SPACE.recombine(drawn, [(drawn, BASE)[i] for i in picks])


SEEDS = st.integers(0, 2**31)
RANDOM = hypothesis.settings(max_examples=200, deadline=None, derandomize=True)


@pytest.mark.parametrize(
  'changed,names',
  [
    ({}, ()),
    ({'rate': 0.1}, ('rate',)),
    ({'depth': 3, 'rate': 0.1}, ('rate', 'depth')),
    # An inactive parameter has no effect, whatever its value.
    ({'momentum': 0.5, 'bias': True}, ()),
    ({'momentum': 0.5, 'norm': 'layer'}, ('norm',)),
    # One that becomes active at its default was not changed.
    ({'optimizer': 'muon'}, ('optimizer',)),
    ({'optimizer': 'muon', 'momentum': 0.9}, ('optimizer',)),
    ({'optimizer': 'muon', 'momentum': 0.5}, ('momentum', 'optimizer')),
    ({'norm': 'layer', 'bias': True}, ('norm', 'bias')),
    # The way a number is written is no change.
    ({'momentum': 0, 'rate': 0.01, 'depth': 2.0}, ()),
  ],
)
def test_a_change_is_another_value_of_an_active_parameter(changed, names):
  assert ablation.changes(SPACE, BASE | changed) == names


def test_each_change_is_undone_in_the_stack_and_made_in_the_baseline():
  stack = BASE | {'rate': 0.1, 'depth': 3, 'norm': 'layer'}
  assert ablation.arms(SPACE, stack) == {
    'stack': stack,
    'baseline': BASE,
    'without rate': stack | {'rate': 0.01},
    'only rate': BASE | {'rate': 0.1},
    'without depth': stack | {'depth': 2},
    'only depth': BASE | {'depth': 3},
    'without norm': stack | {'norm': 'rms'},
    'only norm': BASE | {'norm': 'layer'},
  }
  contrasts = ablation.contrasts(SPACE, stack)
  assert {name: tuple(vars(c).values()) for name, c in contrasts.items()} == {
    'without rate': ('stack', 'without rate'),
    'only rate': ('only rate', 'baseline'),
    'without depth': ('stack', 'without depth'),
    'only depth': ('only depth', 'baseline'),
    'without norm': ('stack', 'without norm'),
    'only norm': ('only norm', 'baseline'),
  }


@hypothesis.given(SEEDS)
@RANDOM
def test_no_arm_repeats_the_stack_or_the_baseline(seed):
  stack = some_stack(seed)
  arms = ablation.arms(SPACE, stack)
  assert arms.pop('stack') == stack and arms.pop('baseline') == BASE
  assert not any(arm in (stack, BASE) for arm in arms.values())


@hypothesis.given(SEEDS)
@RANDOM
def test_an_arm_undoes_or_makes_its_change_and_what_hangs_on_it(seed):
  stack = some_stack(seed)
  children = {'optimizer': {'momentum'}, 'norm': {'bias'}}
  arms = ablation.arms(SPACE, stack)
  for name in ablation.changes(SPACE, stack):
    for arm, start, end in (
      (without(name), stack, BASE),
      (only(name), BASE, stack),
    ):
      if arm in arms:
        trained = arms[arm]
        moved = {n for n in BASE if trained[n] != start[n]}
        assert name in moved <= {name} | children.get(name, set())
        assert trained[name] == end[name]
        assert trained == SPACE.canonical(trained)


@hypothesis.given(SEEDS)
@RANDOM
def test_arms_of_one_structure_stand_side_by_side(seed):
  arms = ablation.arms(SPACE, some_stack(seed)).values()
  runs = [key for key, _ in itertools.groupby(map(SPACE.structure, arms))]
  assert len(runs) == len(set(runs))


@hypothesis.given(SEEDS)
@RANDOM
def test_every_change_is_left_out_of_the_stack_and_all_arms_are_compared(seed):
  stack = some_stack(seed)
  arms = ablation.arms(SPACE, stack)
  contrasts = ablation.contrasts(SPACE, stack)
  names = ablation.changes(SPACE, stack)
  assert [n for n in contrasts if n.startswith('without')] == [
    *map(without, names)
  ]
  used = {arm for c in contrasts.values() for arm in (c.treatment, c.control)}
  assert used <= set(arms)
  if names:
    assert used | {'baseline'} == set(arms)


def test_a_change_that_means_nothing_alone_is_not_made_alone():
  stack = BASE | {'optimizer': 'muon', 'momentum': 0.5, 'rate': 0.1}
  arms, contrasts = (
    ablation.arms(SPACE, stack),
    ablation.contrasts(SPACE, stack),
  )
  assert 'only momentum' not in arms and 'only momentum' not in contrasts
  assert arms['without momentum'] == stack | {'momentum': 0.9}
  # Without its optimizer momentum means nothing either.
  assert arms['without optimizer'] == BASE | {'rate': 0.1}
  assert arms['only optimizer'] == BASE | {'optimizer': 'muon'}


@pytest.mark.parametrize(
  'changed', [{'rate': 0.1}, {'norm': 'layer'}, {'optimizer': 'muon'}]
)
def test_a_single_change_is_undone_by_the_baseline(changed):
  (name,) = changed
  stack = BASE | changed
  assert ablation.arms(SPACE, stack) == {'stack': stack, 'baseline': BASE}
  assert ablation.contrasts(SPACE, stack) == {
    without(name): trial.Contrast('stack', control='baseline')
  }


def test_what_undoes_the_whole_stack_is_the_baseline():
  stack = BASE | {'optimizer': 'muon', 'momentum': 0.5}
  assert 'without optimizer' not in ablation.arms(SPACE, stack)
  contrasts = ablation.contrasts(SPACE, stack)
  assert contrasts['without optimizer'].control == 'baseline'
  assert contrasts['without momentum'].control == 'without momentum'


def test_a_stack_without_changes_compares_nothing():
  assert ablation.contrasts(SPACE, BASE | {'momentum': 0.5}) == {}


def test_an_ablation_looks_at_six_pairs_or_more():
  assert ablation.looks(2) == ablation.looks(6) == (6,)
  assert ablation.looks(16) == (6, 9, 12, 16)


LOOKS = (6, 9, 12, 16)
SPREAD = np.array([0.1, -0.1, 0.2, -0.2, 0.3, -0.3] * 3)[:16]
RULE = ablation.Rule(('a', 'b', 'c'), worth=0.5)


def gains(mean, n=6, spread=1.0):
  """Evidence with a mean gain, known up to about a quarter of the spread."""
  return trial.Evidence(tuple(mean + spread * SPREAD[:n]), LOOKS)


def left_out(**evidence):
  return {without(name): found for name, found in evidence.items()}


def verdicts(rule, evidence):
  adjusted = rule.adjusted(evidence)
  return {
    name: rule.verdict(evidence.get(without(name)), adjusted[name])
    for name in rule.names
  }


def test_verdicts_follow_from_p_and_from_what_a_change_can_be_worth():
  evidence = left_out(a=gains(1.0), b=gains(0.0), c=gains(0.2, spread=5.0))
  assert verdicts(RULE, evidence) == {
    'a': 'confirmed',
    'b': 'refuted',
    'c': 'undecided',
  }


@pytest.mark.parametrize(
  'p,verdict', [(0.05, 'confirmed'), (0.051, 'undecided')]
)
def test_a_false_discovery_rate_of_a_twentieth_is_accepted(p, verdict):
  assert RULE.verdict(gains(0.2, spread=5.0), p) == verdict


def test_without_a_worth_only_what_harms_is_refuted():
  rule = ablation.Rule(('a', 'b', 'c'), worth=0.0)
  evidence = left_out(a=gains(1.0), b=gains(0.0), c=gains(-1.0))
  assert verdicts(rule, evidence) == {
    'a': 'confirmed',
    'b': 'undecided',
    'c': 'refuted',
  }


def test_what_is_surely_better_is_confirmed_though_it_is_not_worth_much():
  rule = ablation.Rule(('a',), worth=3.0)
  assert verdicts(rule, left_out(a=gains(1.0))) == {'a': 'confirmed'}


@pytest.mark.parametrize('n', [None, 0, 5])
def test_what_has_not_reached_a_look_is_undecided_without_numbers(n):
  evidence = {} if n is None else left_out(a=gains(5.0, n))
  said = ablation.improvement('a', RULE, evidence, passed=True)
  nothing = {'effect': None, 'low': None, 'high': None}
  assert said == nothing | {
    'verdict': 'undecided',
    'n': 0,
    'p_adjusted': None,
    'p_holm': None,
    'leave_one_out': nothing,
    'add_one_in': nothing,
  }


def test_only_a_stack_that_passed_the_gate_has_confirmed_changes():
  evidence = left_out(a=gains(1.0), b=gains(0.0))
  for passed, verdict in ((True, 'confirmed'), (False, 'undecided')):
    said = ablation.improvement('a', RULE, evidence, passed=passed)
    assert said['verdict'] == verdict
    assert said['effect'] == pytest.approx(-1.0)
    said = ablation.improvement('b', RULE, evidence, passed=passed)
    assert said['verdict'] == 'refuted'


def test_effects_are_losses_after_minus_losses_before():
  evidence = left_out(a=gains(1.0)) | {only('a'): gains(0.7, spread=2.0)}
  said = ablation.improvement('a', RULE, evidence, passed=True)
  interval = evidence[without('a')].interval
  assert said['leave_one_out'] == {
    'effect': -interval.mean,
    'low': -interval.high,
    'high': -interval.low,
  }
  assert said['low'] < said['effect'] < said['high'] < 0
  assert said['effect'] == said['leave_one_out']['effect']
  assert said['add_one_in']['effect'] == pytest.approx(-0.7)
  assert said['n'] == 6


def test_a_change_that_keeps_training_alive_is_confirmed_without_a_size():
  lone = ablation.Rule(('a',), worth=0.5)
  evidence = left_out(a=trial.Evidence((math.inf,) * 9, LOOKS))
  said = ablation.improvement('a', lone, evidence, passed=True)
  assert (said['verdict'], said['n'], said['effect']) == ('confirmed', 9, None)
  json.dumps(said, allow_nan=False)


def test_p_is_adjusted_for_all_changes_those_not_tested_too():
  evidence = left_out(a=gains(0.3), b=gains(0.1))
  raw = [evidence[without('a')].p, evidence[without('b')].p, 1.0]
  adjusted = stats.false_discovery_control(raw, method='bh')
  assert list(RULE.adjusted(evidence).values()) == pytest.approx(adjusted)
  said = ablation.improvement('a', RULE, evidence, passed=True)
  assert said['p_adjusted'] == pytest.approx(adjusted[0])
  # Holm: the smallest of three is multiplied by three.
  assert said['p_holm'] == pytest.approx(3 * raw[0])
  assert raw[0] < raw[1]


def test_the_more_changes_there_are_the_more_evidence_one_of_them_needs():
  evidence = left_out(a=gains(0.4))
  few = ablation.Rule(('a', 'b'), worth=0.0)
  many = ablation.Rule(('a', *map(str, range(50))), worth=0.0)
  assert verdicts(few, evidence)['a'] == 'confirmed'
  assert verdicts(many, evidence)['a'] == 'undecided'


def test_whoever_has_a_verdict_is_settled_and_changes_alone_at_once():
  evidence = left_out(a=gains(1.0), b=gains(0.0), c=gains(0.2, spread=5.0))
  evidence |= {only('a'): gains(0.2, spread=5.0)}
  settled = RULE.settled(evidence)
  assert settled >= {'without a', 'without b', 'only a'}
  assert 'without c' not in settled


GAIN = st.floats(-1, 4) | st.sampled_from([math.inf, -math.inf, math.nan])


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
def test_what_is_confirmed_stays_so_while_pairs_of_any_change_come_in(data):
  names = ('a', 'b', 'c', 'd')[: data.draw(st.integers(1, 4))]
  rule = ablation.Rule(names, worth=1.0)
  pairs = {
    name: data.draw(st.lists(GAIN, min_size=16, max_size=16)) for name in names
  }
  # One step brings one change to its next look.
  steps = data.draw(st.permutations([*names] * len(LOOKS)))
  reached, confirmed = dict.fromkeys(names, 0), set()
  for name in steps:
    reached[name] += 1
    evidence = {
      without(n): trial.Evidence(tuple(pairs[n][: LOOKS[i - 1]]), LOOKS)
      for n, i in reached.items()
      if i
    }
    found = {n for n, v in verdicts(rule, evidence).items() if v == 'confirmed'}
    assert found >= confirmed
    confirmed = found


def test_whoever_settles_keeps_the_verdict_to_the_end():
  # As a trial plays it: settled changes get no more pairs, others do.
  rng, compared = np.random.default_rng(0), 0
  for _ in range(100):
    rule = ablation.Rule(tuple('abcdefgh'), worth=1.0)
    truths = rng.uniform(-1, 2, 8)
    pairs = dict(zip(rule.names, rng.normal(truths, 1, (16, 8)).T.tolist()))
    evidence, still_open, first = {}, set(rule.names), {}
    for look in LOOKS:
      evidence |= {
        without(n): trial.Evidence(tuple(pairs[n][:look]), LOOKS)
        for n in still_open
      }
      settled = {n for n in still_open if without(n) in rule.settled(evidence)}
      first |= {n: verdicts(rule, evidence)[n] for n in settled}
      still_open -= settled
    last = verdicts(rule, evidence)
    for name, verdict in first.items():
      # Further discoveries can only make more of the others acceptable.
      assert last[name] in (verdict, 'confirmed')
      compared += 1
  assert compared > 500


@pytest.mark.parametrize(
  'losses,kept',
  [
    ([3.0], 0),
    ([3.0, 2.0, 2.5, 1.0], 2),
    ([1.0, 2.0, 3.0], 0),
    ([3.0, 3.0, 3.0], 0),
    ([math.inf, 2.0, math.inf, 1.0], 2),
    ([4.0, 3.0, 2.0, 1.0], 3),
  ],
)
def test_a_greedy_rule_keeps_whatever_is_below_the_best_so_far(losses, kept):
  assert ablation.greedy_keeps(losses) == kept


def test_in_pure_noise_greed_keeps_a_harmonic_number_less_one():
  # Of n losses in random order the i-th is the best so far once in i times.
  orders = list(itertools.permutations(range(6)))
  mean = sum(map(ablation.greedy_keeps, orders)) / len(orders)
  assert mean == pytest.approx(sum(1 / i for i in range(2, 7)))


STACK = BASE | {'rate': 0.9, 'depth': 3, 'norm': 'layer', 'bias': True}


def test_without_a_bound_every_change_is_left_out_and_made_alone():
  found = ablation.extent(SPACE, STACK, None, tuple)
  assert found == ablation.Extent(('rate', 'depth', 'norm', 'bias'))
  assert found.alone


@pytest.mark.parametrize(
  'runs,names,alone',
  [
    (60, ('rate', 'depth', 'norm', 'bias'), True),
    (59, ('rate', 'depth', 'norm', 'bias'), False),
    (36, ('rate', 'depth', 'norm', 'bias'), False),
    (35, ('rate', 'norm', 'bias'), False),
    (18, ('norm',), False),
    (17, (), False),
    (-5, (), False),
  ],
)
def test_a_small_budget_tests_what_promises_most(runs, names, alone):
  best = ('norm', 'bias', 'rate', 'depth')
  found = ablation.extent(
    SPACE, STACK, runs, lambda names: sorted(names, key=best.index)
  )
  # Six pairs; the stack and the baseline are two arms of them.
  assert found == ablation.Extent(names, alone)


def test_only_what_is_tested_has_arms():
  tested = ablation.Extent(('rate', 'norm'), alone=False)
  arms = ablation.arms(SPACE, STACK, tested)
  assert set(arms) == {'stack', 'baseline', 'without rate', 'without norm'}
  contrasts = ablation.contrasts(SPACE, STACK, tested)
  assert set(contrasts) == {'without rate', 'without norm'}
