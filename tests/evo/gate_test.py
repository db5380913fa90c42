"""Tests of the gate, by confidence intervals and by simulation."""

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from evo import gate, sequential, trial

LOOKS = (6, 9, 12, 16)


def evidence(gains, looks=LOOKS):
  return trial.Evidence(tuple(gains), looks)


def drawn(rng, mean, n=16):
  return rng.normal(mean, 1.0, n).tolist()


@pytest.mark.parametrize(
  'pairs,looks',
  [
    (1, (1,)),
    (4, (4,)),
    (6, (6,)),
    (7, (6, 7)),
    (9, (6, 9)),
    (16, (6, 9, 12, 16)),
    (30, (6, 9, 12, 16, 30)),
  ],
)
def test_looks_end_at_the_last_pair_there_may_be(pairs, looks):
  assert gate.looks(pairs) == looks


def play(gains, looks, worth=0.0):
  """The evidence at which the gate ends."""
  settled = gate.settled(worth)
  for n in looks:
    found = evidence(gains[:n], looks)
    if settled({gate.CHAMPION: found}):
      return found
  return found


@hypothesis.given(
  st.integers(0, 2**31), st.floats(-0.5, 2.0), st.sampled_from([4, 6, 9, 16])
)
@hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
def test_it_passes_just_where_the_95_percent_interval_is_above_0(
  seed, mean, pairs
):
  looks = gate.looks(pairs)
  end = play(drawn(np.random.default_rng(seed), mean, pairs), looks)
  interval = sequential.interval(end.gains, looks, level=0.95)
  assert gate.passed(end) == (interval.low > 0)


def test_with_one_look_it_is_students_two_sided_test():
  rng, outcomes = np.random.default_rng(0), set()
  for _ in range(200):
    gains = drawn(rng, 1.0, 4)
    test = stats.ttest_1samp(gains, 0)
    better = bool(test.pvalue <= 0.05 and test.statistic > 0)
    assert gate.passed(evidence(gains, (4,))) == better
    outcomes.add(better)
  assert outcomes == {True, False}


def test_what_was_passed_once_stays_passed():
  gains = [1.0, 1.2, 0.9, 1.1, 1.0, 0.8, -3.0, -3.0, -3.0]
  assert gate.passed(evidence(gains[:6]))
  assert gate.passed(evidence(gains))


def test_before_the_first_look_nothing_is_passed_or_settled():
  young = evidence([1.0, 1.0, 1.0])
  assert not gate.passed(young)
  assert not gate.finished(young, worth=2.0)
  assert gate.settled(worth=2.0)({gate.CHAMPION: young}) == set()


@pytest.mark.parametrize('worth', [0.0, 0.5, 2.0])
def test_it_gives_up_where_no_gain_worth_having_is_left(worth):
  rng, outcomes = np.random.default_rng(1), set()
  for mean in np.linspace(-3, 3, 200):
    found = evidence(drawn(rng, mean, 6))
    interval = sequential.interval(found.gains, LOOKS)
    over = interval.low > 0 or interval.high <= worth
    settled = gate.settled(worth)({gate.CHAMPION: found})
    assert settled == ({gate.CHAMPION} if over else set())
    assert gate.finished(found, worth) == over
    outcomes.add((interval.low > 0, over))
  assert outcomes >= {(True, True), (False, True), (False, False)}


def test_it_is_finished_at_the_last_look_whatever_came_out():
  gains = [1.0, -1.0] * 8
  assert not gate.finished(evidence(gains[:12]))
  assert gate.finished(evidence(gains))
  assert not gate.passed(evidence(gains))


def test_one_pair_finishes_but_never_passes():
  lone = evidence([5.0], gate.looks(1))
  assert gate.finished(lone) and not gate.passed(lone)


def test_a_baseline_that_keeps_failing_lets_the_champion_pass():
  # Six wins of six tosses of a coin have probability 1/64.
  gains = [math.inf] * 6
  assert gate.passed(evidence(gains, (6,)))
  # Four looks have to be paid for.
  assert not gate.passed(evidence(gains))
  assert gate.passed(evidence(gains + [0.1, 0.1, 0.1]))


def test_a_champion_that_fails_needs_all_pairs_to_pass():
  gains = [-math.inf] + [1.0] * 15
  assert not gate.finished(evidence(gains[:6]), worth=2.0)
  assert gate.passed(evidence(gains))
  assert not gate.passed(evidence([-math.inf] * 16))


def ends(mean, n, worth, seed):
  rng = np.random.default_rng(seed)
  return [play(drawn(rng, mean), LOOKS, worth) for _ in range(n)]


@pytest.mark.parametrize('worth', [0.0, 2.0])
def test_it_passes_one_in_forty_times_without_a_gain(worth):
  passed = sum(map(gate.passed, ends(0.0, 4000, worth, seed=2)))
  # Student's test of few pairs is liberal by up to a tenth, see `sequential`.
  assert passed <= stats.binom.ppf(0.999, 4000, 0.0275)
  if not worth:  # Giving up only takes chances away.
    assert passed >= stats.binom.ppf(0.001, 4000, 0.024)


def test_a_clear_gain_passes_early_and_a_clear_loss_ends_early():
  better, worse = ends(3.0, 300, 0.0, 3), ends(-3.0, 300, 0.0, 4)
  assert all(map(gate.passed, better)) and not any(map(gate.passed, worse))
  for found in (better, worse):
    assert np.mean([end.n for end in found]) < 7


def test_a_later_champion_has_to_beat_what_its_cycle_started_from():
  found = gate.contrasts(first=False)
  assert next(iter(found)) == gate.CHAMPION
  assert found[gate.CHAMPION] == trial.Contrast(gate.CHAMPION, gate.STACK)
  assert found[gate.TOTAL] == trial.Contrast(gate.CHAMPION, gate.BASELINE)
  # What stands beside it neither ends the gate nor keeps it open.
  clear, unclear = (
    evidence([1.0, 1.2, 0.9, 1.1, 1.0, 0.8]),
    evidence([1, -1] * 3),
  )
  settle = gate.settled(worth=0.0)
  assert settle({gate.CHAMPION: unclear, gate.TOTAL: clear}) == set()
  both = {gate.CHAMPION, gate.TOTAL}
  assert settle({gate.CHAMPION: clear, gate.TOTAL: unclear}) == both
