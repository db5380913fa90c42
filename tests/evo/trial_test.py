"""Tests of trials: a toy loss, in slots whose runs end in any order."""

import itertools
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from evo import ablation, member, sequential, trial, verification

ARMS = {'without': {'x': 0.0}, 'with': {'x': 1.0}, 'other': {'x': 0.2}}
CONTRASTS = {
  'plain': trial.Contrast('with', control='without'),
  'small': trial.Contrast('other', control='without'),
}
LOOKS = (2, 3, 5)
SEEDS = [31, 37, 41, 43, 47, 53]  # One more than are needed.


def nothing(evidence):
  """Settles no contrast."""
  return set()


def everything(evidence):
  return set(evidence)


def make(
  arms=ARMS, contrasts=CONTRASTS, *, looks=LOOKS, settled=nothing, **options
):
  schedules = {
    name: arm if isinstance(arm, tuple) else verification.constant(arm, 4)
    for name, arm in arms.items()
  }
  options = {'seeds': SEEDS, 'first_member': 20} | options
  splits = ('confirm', 'search')
  return trial.Trial(
    schedules, contrasts, looks=looks, settled=settled, splits=splits, **options
  )


def loss(leg):
  """The lower the larger x is, with noise of the seed and of the run."""
  shared = member.generator(leg.seed, 'shared').normal(0, 2)
  own = member.generator(leg.seed, leg.arm).normal(0, 0.1)
  return shared + own - sum(leg.configuration.values())


def finish(leg, score=loss):
  """The result of a leg; the run failed where the score is infinite."""
  losses = {'confirm': score(leg), 'search': -1000.0}
  if not math.isfinite(losses['confirm']):
    return member.Result(leg, member.DIVERGED, {}, stop=leg.start)
  metrics = {split: losses[split] for split in leg.splits}
  return member.Result(leg, member.OK, metrics, stop=leg.stop)


class Slots:
  """Slots whose legs end in any order, any number at once.

  Attributes:
    history: (leg, ids of runs that had ended when it was asked), in order.
  """

  def __init__(self, size, order=0, score=loss):
    self._size, self._score = size, score
    self._rng = np.random.default_rng(order)
    self.history = []

  @property
  def legs(self):
    return [leg for leg, _ in self.history]

  def play(self, asker):
    working, ended = [], set()
    while True:
      legs = asker.ask(self._size - len(working))
      assert len(legs) + len(working) <= self._size
      self.history += [(leg, frozenset(ended)) for leg in legs]
      working += legs
      if not working:
        return asker
      self._rng.shuffle(working)
      n = self._rng.integers(0, len(working), endpoint=True)
      done, working = working[:n], working[n:]
      ended |= {leg.member for leg in done}
      asker.tell([finish(leg, self._score) for leg in done])


def run_of(leg):
  return leg.arm, SEEDS.index(leg.seed)


def begun(legs):
  """(arm, pair) of the runs that legs begin."""
  return [run_of(leg) for leg in legs if leg.start == 0]


@pytest.mark.parametrize('size', [1, 3, 100])
def test_all_first_looks_end_before_any_second_one_begins(size):
  slots = Slots(size)
  slots.play(make())
  look_of = [
    sum(pair >= n for n in LOOKS) for _, pair in map(run_of, slots.legs)
  ]
  assert look_of == [0] * 6 + [1] * 3 + [2] * 6
  ids = [leg.member for leg in slots.legs]
  for (_, ended), look in zip(slots.history, look_of):
    assert ended >= {i for i, other in zip(ids, look_of) if other < look}


def test_the_runs_of_a_look_begin_arm_by_arm():
  arms = [leg.arm for leg in make().ask(100)]
  assert [arm for arm, _ in itertools.groupby(arms)] == list(ARMS)


def test_whoever_is_settled_gets_no_more_pairs_and_others_go_to_the_last():
  slots = Slots(4)
  played = slots.play(make(settled=lambda evidence: {'small'}))
  assert sorted(begun(slots.legs)) == sorted(
    [('other', i) for i in range(2)]
    + [(arm, i) for arm in ('with', 'without') for i in range(5)]
  )
  assert {name: e.n for name, e in played.evidence.items()} == {
    'plain': 5,
    'small': 2,
  }


def test_where_all_are_settled_nothing_more_is_asked():
  slots = Slots(4)
  slots.play(make(settled=everything))
  assert len(slots.legs) == 6


def test_a_contrast_settled_at_a_later_look_stops_there():
  def settled(evidence):
    return {name for name, found in evidence.items() if found.n == 3}

  played = Slots(3).play(make(settled=settled))
  assert {found.n for found in played.evidence.values()} == {3}


def test_the_rule_is_asked_once_a_look_and_sees_all_contrasts_that_reached_it():
  seen = []

  def settled(evidence):
    seen.append({name: found.n for name, found in evidence.items()})
    return {'small'}

  Slots(2).play(make(settled=settled))
  assert seen == [{'plain': 2, 'small': 2}, {'plain': 3, 'small': 2}]


def test_runs_of_a_pair_share_a_seed_and_no_two_pairs_do():
  slots = Slots(4)
  slots.play(make())
  seeds = {}
  for leg in slots.legs:
    seeds.setdefault(leg.arm, []).append(leg.seed)
  assert {arm: sorted(used) for arm, used in seeds.items()} == {
    arm: SEEDS[:5] for arm in ARMS
  }


@pytest.mark.parametrize('size', [1, 4, 100])
def test_every_run_is_asked_once_under_an_id_of_its_own(size):
  slots = Slots(size)
  played = slots.play(make())
  assert len(set(begun(slots.legs))) == len(slots.legs)
  ids = {leg.member for leg in slots.legs}
  assert len(ids) == len(slots.legs)
  assert min(ids) >= 20 and max(ids) < played.members


def test_ids_stay_below_members_from_the_start():
  assert make().members == Slots(4).play(make()).members == 20 + 3 * 5


def test_gains_are_control_minus_treatment_by_pair_on_the_first_split():
  slots = Slots(4)
  evidence = slots.play(make()).evidence
  losses = {run_of(leg): loss(leg) for leg in slots.legs}
  for name, contrast in CONTRASTS.items():
    assert evidence[name].gains == tuple(
      losses[contrast.control, i] - losses[contrast.treatment, i]
      for i in range(5)
    )
  # The noise that the runs of a seed share is gone.
  assert np.std(evidence['plain'].gains) < 0.5
  interval = evidence['plain'].interval
  assert interval.low < 1 < interval.high and interval.n == 5


SINGLES = ablation.Rule(('a', 'b', 'c', 'd'), worth=0.5)


@hypothesis.given(
  st.lists(st.floats(-0.5, 3), min_size=4, max_size=4),
  st.integers(1, 60),
  st.integers(0, 10**6),
)
@hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
def test_evidence_depends_neither_on_slots_nor_on_who_ends_first(
  effects, size, order
):
  arms = {'stack': {'x': 0.0}}
  arms |= {
    ablation.without(name): {'x': -effect}
    for name, effect in zip(SINGLES.names, effects)
  }
  contrasts = {arm: trial.Contrast('stack', control=arm) for arm in [*arms][1:]}

  def noisy(leg):  # The effects are of the size of the noise of a pair.
    own = member.generator(leg.seed, leg.arm, order).normal(0, 0.7)
    return own - sum(leg.configuration.values())

  def play(size, order):
    asker = make(
      arms,
      contrasts,
      looks=sequential.LOOKS,
      settled=SINGLES.settled,
      seeds=range(16),
    )
    return Slots(size, order, noisy).play(asker).evidence

  assert play(size, order) == play(1000, 0)


def test_a_complete_pair_counts_while_other_contrasts_are_at_work():
  asker = make()
  legs = asker.ask(100)
  asker.tell([finish(leg) for leg in legs if leg.arm != 'other'])
  assert set(asker.evidence) == {'plain'} and asker.ask(100) == []
  asker.tell([finish(leg) for leg in legs if leg.arm == 'other'])
  assert set(asker.evidence) == {'plain', 'small'}
  assert len(asker.ask(100)) == 3


def test_half_a_look_is_no_evidence():
  asker = make()
  legs = asker.ask(100)
  asker.tell([finish(leg) for leg in legs[:-3]])
  assert asker.evidence == {}


PIECES = (
  verification.Piece({'x': 0.1}, 1),
  verification.Piece({'x': 0.5}, 3),
  verification.Piece({'x': 1.0}, 4),
)


@pytest.mark.parametrize('size', [1, 3, 100])
def test_a_schedule_is_replayed_piece_by_piece_and_scored_at_its_end(size):
  slots = Slots(size)
  played = slots.play(make(ARMS | {'with': PIECES}))
  for pair in range(5):
    legs = [leg for leg in slots.legs if run_of(leg) == ('with', pair)]
    assert [(leg.start, leg.stop) for leg in legs] == [(0, 1), (1, 3), (3, 4)]
    assert [leg.configuration for leg in legs] == [
      piece.configuration for piece in PIECES
    ]
    (own,) = {leg.member for leg in legs}
    assert [leg.source for leg in legs] == [None, (own, 1), (own, 3)]
    assert [leg.splits for leg in legs] == [(), (), ('confirm', 'search')]
  assert played.evidence['plain'].n == 5


def test_a_run_that_goes_on_comes_before_those_that_begin():
  # Its state stands in the slot that it left, which nobody else may take.
  asker = make(ARMS | {'without': PIECES, 'with': PIECES})
  working = asker.ask(3)
  while working:
    done, working = working[:1], working[1:]
    asker.tell([finish(leg) for leg in done])
    new = asker.ask(1)
    if done[0].stop < 4:
      assert [leg.source for leg in new] == [(done[0].member, done[0].stop)]
    working += new


def test_fresh_bounds_the_runs_that_begin_but_not_those_that_go_on():
  asker = make(ARMS | {'without': PIECES})
  assert asker.ask(100, fresh=0) == []
  first = asker.ask(100, fresh=1)
  assert begun(first) == [('without', 0)]
  asker.tell([finish(leg) for leg in first])
  (more,) = asker.ask(100, fresh=0)
  assert more.goes_on and more.start == 1
  asker.tell([finish(more)])
  last, *new = asker.ask(100, fresh=2)
  assert last.goes_on and last.start == 3
  assert begun(new) == [('without', 1), ('with', 0)]
  assert len(asker.ask(100, fresh=None)) == 3


def test_no_more_is_asked_than_there_are_slots():
  asker = make(ARMS | {'without': PIECES})
  assert asker.ask(0) == []
  assert len(asker.ask(2)) == 2


def failing(*runs):
  """The toy loss, where some runs, (arm, pair), fail."""
  return lambda leg: math.inf if run_of(leg) in runs else loss(leg)


def test_a_failed_run_makes_an_infinite_gain_and_two_make_none():
  score = failing(('with', 0), ('without', 1), ('with', 2), ('without', 2))
  evidence = Slots(3, score=score).play(make()).evidence['plain']
  lost, won, neither, *rest = evidence.gains
  assert (lost, won) == (-math.inf, math.inf) and math.isnan(neither)
  assert np.isfinite(rest).all()
  assert not evidence.sound and evidence.interval is None


def test_a_run_that_fails_on_its_way_is_not_taken_up_again():
  def score(leg):
    return math.inf if (leg.arm, leg.start) == ('with', 1) else loss(leg)

  slots = Slots(3, score=score)
  played = slots.play(make(ARMS | {'with': PIECES}))
  assert not any(leg.start == 3 for leg in slots.legs)
  assert set(played.evidence['plain'].gains) == {-math.inf}


def evidence(*gains, looks=None):
  return trial.Evidence(gains, looks or (len(gains),))


@pytest.mark.parametrize(
  'gains,wins',
  [
    ((math.inf, 0.1, 0.2, 3.0, 0.1, 0.1), 6),
    ((math.inf, 0.1, -0.2, 3.0, -math.inf, 0.1), 4),
    ((math.inf, 0.1, 0.2, 3.0, math.nan, 0.1), 5),
    ((-math.inf, -0.1, -2.0, -3.0, -0.1, -0.1, 0.0), 0),
    ((math.nan, math.nan), 0),
    ((math.inf,) * 12, 12),
  ],
)
def test_where_a_run_failed_p_is_that_of_a_sign_test(gains, wins):
  expected = stats.binomtest(wins, len(gains), alternative='greater').pvalue
  assert evidence(*gains).p == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
  'gains', [(0.3, 0.5, -0.1, 0.8, 0.4), (0.1, 0.2, 0.1, 0.1, 0.3, 90.0)]
)
def test_where_none_failed_p_is_that_of_students_test(gains):
  expected = stats.ttest_1samp(gains, 0, alternative='greater').pvalue
  assert evidence(*gains).p == pytest.approx(expected, rel=1e-9)


def test_all_looks_are_paid_for_in_a_sign_test_too():
  gains = (math.inf, 1.0, 2.0, 1.0, 0.5, 1.0)
  single = stats.binomtest(6, 6, alternative='greater').pvalue
  repeated = evidence(*gains, looks=(6, 9, 12, 16)).p
  assert single < repeated < 4 * single
  assert repeated == pytest.approx(
    sequential.crossing(single, (6, 9, 12, 16)), rel=1e-12
  )


def test_before_the_first_look_nothing_is_said():
  young = evidence(3.0, 3.1, 2.9, looks=(6, 9))
  assert (young.n, young.p, young.interval) == (0, 1.0, None)
  broken = evidence(math.inf, math.inf, looks=(6, 9))
  assert (broken.n, broken.p, broken.interval) == (0, 1.0, None)


@pytest.mark.parametrize('gain', [5.0, math.inf, math.nan])
def test_one_pair_says_nothing(gain):
  lone = evidence(gain)
  assert (lone.p, lone.interval) == (1.0, None)
  slots = Slots(4)
  slots.play(make(looks=(1,), settled=everything))
  assert len(slots.legs) == 3


GAINS = st.floats(-3, 10) | st.sampled_from([math.inf, -math.inf, math.nan])


@hypothesis.given(st.lists(GAINS, min_size=16, max_size=16))
@hypothesis.settings(max_examples=200, deadline=None, derandomize=True)
def test_p_never_rises_while_pairs_come_in_even_if_runs_fail(gains):
  p = [evidence(*gains[:n], looks=(6, 9, 12, 16)).p for n in range(17)]
  assert all(later <= before for before, later in itertools.pairwise(p))
  assert 0 <= p[-1] <= p[0] == 1


def test_runs_that_fail_at_random_leave_the_level_as_it_is():
  # Pairs without an effect of which one in twenty fails, on either side.
  rng = np.random.default_rng(0)
  n, looks, level = 4000, (6, 9, 12, 16), 0.05
  gains = rng.normal(size=(n, 16))
  signs = rng.choice([-math.inf, math.inf], size=gains.shape)
  gains = np.where(rng.random(gains.shape) < 0.05, signs, gains)
  wrong = sum(evidence(*row, looks=looks).p <= level for row in gains.tolist())
  # Student's test of few pairs is itself liberal by a sixteenth.
  assert wrong <= stats.binom.ppf(0.999, n, 0.0531)
