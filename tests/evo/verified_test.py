"""Tests of what a campaign verifies: simulated from search to verdicts.

Searches, gates and ablations are played through the classes that a campaign
uses; only training is replaced, by numbers. The loss of a run is what its
configuration is worth, plus noise of its seed, shared by all runs of the seed,
plus noise of its own. The unit is the sd of the difference of a pair.
"""

import dataclasses
import functools
import math

import numpy as np
import pytest
from scipy import stats

from evo import ablation, elimination, gate, member, space, trial, verification

SD = 2.0  # Of the losses of runs that share nothing.
OWN = 1 / math.sqrt(2)
SHARED = math.sqrt(SD**2 - OWN**2)

MEMBERS = 64
PAIRS = 16
LOOKS = gate.looks(PAIRS)

SHAPE = {'kind': 'float', 'low': 0, 'high': 1, 'default': 0.5}
SPACE = space.Space.from_json(
  {
    'name': 'planted',
    'parameters': {
      f'p{i}': SHAPE | {'tier': 'configuration'} for i in range(25)
    },
  }
)


@dataclasses.dataclass
class Outcome:
  """What a campaign came to.

  Attributes:
    kept: improvements that a greedy keep rule would have kept in the search.
    passed: whether the champion passed the gate.
    evidence: of the contrasts of the ablation, if there was one.
    said: of each change, as in improvements.json.
    runs: of the gate and of the ablation.
    truths: gain of each change.
    back: names of the changes that the elimination put back.
    eliminating: runs of the elimination.
  """

  kept: int = 0
  passed: bool = False
  evidence: dict[str, trial.Evidence] = dataclasses.field(default_factory=dict)
  said: dict[str, dict] = dataclasses.field(default_factory=dict)
  runs: tuple[int, int] = (0, 0)
  truths: dict[str, float] = dataclasses.field(default_factory=dict)
  back: tuple[str, ...] = ()
  eliminating: int = 0

  @property
  def confirmed(self):
    """Names of the changes that are."""
    return [n for n, x in self.said.items() if x['verdict'] == 'confirmed']


def play(asker, worth, rng):
  """Trains all runs that a verification asks for."""
  shared = rng.normal(0, SHARED, PAIRS)
  own = {}
  while legs := asker.ask(10**6):
    results = []
    for leg in legs:
      if leg.arm not in own:
        own[leg.arm] = rng.normal(0, OWN, PAIRS)
      noise = shared[leg.seed] + own[leg.arm][leg.seed]
      loss = noise - worth(leg.configuration)
      metrics = {'confirm': float(loss)}
      results.append(member.Result(leg, member.OK, metrics, stop=leg.stop))
    asker.tell(results)
  return asker


def verified(champion, worth, rng, *, smallest, force=False):
  """Plays the gate and the ablation of a champion.

  Args:
    champion: its configuration.
    worth: gain of a configuration.
    rng: of the noise.
    smallest: gain worth having.
    force: ablates whatever the gate says, and takes it as passed.
  """
  options = {'seeds': range(PAIRS), 'looks': LOOKS, 'splits': ('confirm',)}
  duel = trial.Trial(
    {
      gate.BASELINE: verification.constant(SPACE.baseline, 4),
      gate.CHAMPION: verification.constant(champion, 4),
    },
    gate.contrasts(),
    settled=gate.settled(smallest),
    first_member=MEMBERS,
    **options,
  )
  found = play(duel, worth, rng).evidence[gate.CHAMPION]
  outcome = Outcome(passed=gate.passed(found), runs=(len(duel.results), 0))
  names = ablation.changes(SPACE, champion)
  if not names or not (outcome.passed or force):
    return outcome
  rule = ablation.Rule(names, smallest)
  asker = trial.Trial(
    verification.constants(ablation.arms(SPACE, champion), 4),
    ablation.contrasts(SPACE, champion),
    settled=rule.settled,
    first_member=duel.members,
    **options,
  )
  outcome.evidence = play(asker, worth, rng).evidence
  outcome.said = {
    name: ablation.improvement(name, rule, outcome.evidence, passed=True)
    for name in names
  }
  outcome.runs = outcome.runs[0], len(asker.results)
  return outcome


def eliminate(outcome, champion, worth, rng, *, smallest):
  """Plays the elimination of what an ablation did not confirm."""
  rule = ablation.Rule(tuple(outcome.said), smallest)
  for names in elimination.attempts(rule, outcome.evidence):
    asker = elimination.make(
      champion,
      elimination.reduced(SPACE, champion, names),
      4,
      pairs=PAIRS,
      worth=smallest,
      seeds=range(PAIRS),
      first_member=0,
      splits=('confirm',),
    )
    found = play(asker, worth, rng).evidence[elimination.STACK]
    outcome.eliminating += len(asker.results)
    if elimination.accepted(found, smallest):
      outcome.back = names
      return


def nothing_to_find(seed, *, smallest=SD, force=False):
  """A campaign in a space of parameters that do nothing."""
  rng = np.random.default_rng([seed, 1])
  points = rng.random((MEMBERS, 25))
  points[0] = 0.5  # The baseline is the first member.
  losses = rng.normal(0, OWN, MEMBERS)  # On one seed, so of their own.
  champion = SPACE.decode(points[np.argmin(losses)])
  outcome = verified(
    champion, lambda configuration: 0.0, rng, smallest=smallest, force=force
  )
  outcome.kept = ablation.greedy_keeps(losses)
  return outcome


def planted(seed, *, smallest=SD):
  """A campaign whose champion changed all: half for nothing, half for gains."""
  rng = np.random.default_rng([seed, 2])
  gains = np.where(rng.random(25) < 0.5, 0.0, rng.uniform(0, 6, 25))
  truths = dict(zip(SPACE.by_name, gains.tolist()))

  def worth(configuration):
    return sum(truths[n] for n, x in configuration.items() if x != 0.5)

  champion = SPACE.decode(np.full(25, 0.9))
  outcome = verified(champion, worth, rng, smallest=smallest)
  eliminate(outcome, champion, worth, rng, smallest=smallest)
  outcome.truths = truths
  return outcome


def at_most(rate, n):
  """How often something of this rate happens in n campaigns, at most."""
  return stats.binom.ppf(0.999, n, rate)


@functools.cache
def null_campaigns(n, smallest):
  return [nothing_to_find(seed, smallest=smallest) for seed in range(n)]


@pytest.mark.parametrize('smallest', [0.0, SD])
def test_where_nothing_helps_hardly_any_campaign_says_that_something_did(
  smallest,
):
  campaigns = null_campaigns(2000, smallest)
  assert np.mean([bool(c.confirmed) for c in campaigns]) <= 0.06
  # The gate alone errs in 2.5% at most; Student's test of few pairs is liberal
  # by up to a tenth of that, see `sequential`.
  assert sum(c.passed for c in campaigns) <= at_most(0.0275, 2000)


def test_where_nothing_helps_greed_keeps_improvements_in_almost_every_search():
  kept = [c.kept for c in null_campaigns(2000, SD)]
  # A record of n losses in random order: the n-th harmonic number less one.
  expected = sum(1 / i for i in range(2, MEMBERS + 1))
  error = np.std(kept) / math.sqrt(len(kept))
  assert abs(np.mean(kept) - expected) < 4 * error
  assert np.mean(np.array(kept) > 0) > 0.95


FEW = pytest.param(100, id='few')
MANY = pytest.param(2000, id='many', marks=pytest.mark.slow)


@pytest.mark.parametrize('n', [FEW, MANY])
@pytest.mark.parametrize('smallest', [0.0, SD])
def test_the_ablation_hardly_errs_even_where_the_gate_is_left_open(n, smallest):
  # Of 25 changes, none of which helps, Benjamini and Hochberg confirm any in
  # 5% of the campaigns; few pairs make that a little more.
  wrong = sum(
    bool(nothing_to_find(seed, smallest=smallest, force=True).confirmed)
    for seed in range(n)
  )
  assert wrong <= at_most(0.055, n)


@functools.cache
def planted_campaigns(n):
  return [planted(seed) for seed in range(n)]


def changes(campaigns):
  """(truth, what is said of it) of all changes."""
  return [(c.truths[name], c.said[name]) for c in campaigns for name in c.said]


def test_the_planted_changes_are_all_tested():
  campaigns = planted_campaigns(200)
  assert all(c.passed and c.said.keys() == {*SPACE.by_name} for c in campaigns)
  truths = np.array([truth for truth, _ in changes(campaigns)])
  assert 0.45 < np.mean(truths == 0) < 0.55 and truths.max() > 5.9


def test_effects_of_two_sd_are_found():
  found = [
    said['verdict'] == 'confirmed'
    for truth, said in changes(planted_campaigns(200))
    if truth >= 2
  ]
  assert len(found) > 1000 and np.mean(found) >= 0.9


def test_few_of_the_confirmed_changes_do_nothing():
  shares = [
    np.mean([c.truths[name] == 0 for name in c.confirmed])
    for c in planted_campaigns(200)
  ]
  assert np.mean(shares) <= 0.1


def test_no_change_that_is_worth_having_is_refuted():
  wrong = [
    said['verdict'] == 'refuted'
    for truth, said in changes(planted_campaigns(200))
    if truth >= SD
  ]
  assert np.mean(wrong) <= 0.025


@pytest.mark.parametrize('kind', ['leave_one_out', 'add_one_in'])
def test_intervals_cover_the_truth(kind):
  # Effects are changes of the loss, gains their opposites.
  covered = [
    said[kind]['low'] <= -truth <= said[kind]['high']
    for truth, said in changes(planted_campaigns(200))
  ]
  assert np.mean(covered) >= 0.93


@pytest.mark.parametrize('kind', ['leave_one_out', 'add_one_in'])
def test_stopping_early_hardly_biases_the_estimates(kind):
  errors = [
    -said[kind]['effect'] - truth
    for truth, said in changes(planted_campaigns(200))
  ]
  assert abs(np.mean(errors)) < 0.1


@pytest.mark.parametrize('smallest', [SD, 1.0])
def test_what_is_put_back_was_worth_nothing_and_little_that_is_stays(smallest):
  campaigns = [planted(seed, smallest=smallest) for seed in range(100)]
  lost = [sum(c.truths[name] for name in c.back) for c in campaigns]
  # An error in forty attempts is accepted, and few campaigns take a second one.
  assert sum(loss > smallest for loss in lost) <= at_most(0.025, 100)
  stay = [
    name not in c.back
    for c in campaigns
    for name, truth in c.truths.items()
    if not truth and name not in c.confirmed
  ]
  assert len(stay) > 1000 and np.mean(stay) <= 0.1


def test_where_little_is_worth_having_changes_stay_rather_than_be_lost():
  # A tenth of what the pairs can tell: hardly any attempt may succeed.
  campaigns = [planted(seed, smallest=0.1) for seed in range(20)]
  lost = [sum(c.truths[name] for name in c.back) for c in campaigns]
  assert sum(loss > 0.1 for loss in lost) <= at_most(0.025, 20)


def test_stopping_early_saves_two_fifths_of_the_runs():
  campaigns = planted_campaigns(200)
  # Champion and baseline for the gate; the stack and the baseline, and each
  # change left out and made alone, for the ablation.
  used = np.mean([c.runs for c in campaigns], 0) / PAIRS
  assert used.sum() <= 0.6 * (2 + 2 + 2 * 25)
  # No verdict rests on changes made alone, which stop at the first look: it is
  # not only there that runs are saved.
  pairs = [said['n'] for _, said in changes(campaigns)]
  assert np.mean(pairs) <= 0.6 * PAIRS
