"""Tests of species that fail: while they are compiled, or on the devices."""

import math

import jax
import numpy as np
import pytest

from evo import bounds as bounds_lib
from evo import failure, ledger, member, retention, space
from models import quadratic

BASELINE, FAILING, OTHER = 1, 2, 3
EVOLUTION = {'inherit_at': 0.3, 'inherits': lambda old, new: True}
each_strategy = pytest.mark.parametrize(
  'strategy,options', [('random', {}), ('evolution', EVOLUTION), ('pbt', {})]
)


class Faulty(quadratic.Quadratic):
  """Fails where the structure says so, as often as it is told to."""

  def __init__(self, failing=FAILING, tracing=0, running=0, at=25):
    self._failing, self._at = failing, at
    self.tracing, self.running = tracing, running

  def step(self, structure, data, h, theta, seed, step, fraction):
    h = {'h0': h['h0'], 'h1': h['h0']}
    theta, loss = super().step(structure, data, h, theta, seed, step, fraction)
    if dict(structure)['kind'] != self._failing:
      return theta, loss
    if self.tracing:
      self.tracing -= 1
      raise TypeError('no such kind')
    return theta, jax.pure_callback(self._run, loss, loss, step)

  def _run(self, loss, step):
    if step == self._at and self.running:
      self.running -= 1
      raise MemoryError('out of memory')
    return np.asarray(loss)


@pytest.fixture
def kinds():
  kind = {'kind': 'choice', 'choices': [1, 2, 3], 'default': BASELINE}
  rate = {'kind': 'float', 'low': 0.0, 'high': 1.0, 'default': 0.5}
  return space.Space.from_json(
    {
      'name': 'kinds',
      'parameters': {
        'kind': kind | {'tier': 'architecture', 'structural': True},
        'h0': rate | {'tier': 'configuration'},
      },
    }
  )


@pytest.fixture
def make(make_campaign, kinds):
  def make(workdir, trainee, strategy='random', members=16, **options):
    bounds = bounds_lib.Bounds(members=members)
    return make_campaign(
      workdir,
      strategy,
      trainee=trainee,
      space=kinds,
      bounds=bounds,
      devices=1,
      pairs=0,
      **options,
    )

  return make


def records(workdir):
  return ledger.Ledger(workdir / 'ledger').records


def of_kind(campaign, kind):
  return [r for r in campaign.results if r.leg.configuration['kind'] == kind]


def tried(make, workdir, trainee, *args, **options):
  """Starts the same run again until it ends; returns it and its failures."""
  failures = []
  while True:
    campaign = make(workdir, trainee, *args, **options)
    try:
      campaign.run()
      return campaign, failures
    except failure.Failed as error:
      failures.append(error.reason)


def test_what_cannot_be_compiled_twice_is_infeasible(tmp_path, make):
  campaign = make(tmp_path, Faulty(tracing=2))
  campaign.run()
  failed = of_kind(campaign, FAILING)
  assert failed and all(r.status == 'infeasible' for r in failed)
  assert all(r.flops == 0 and math.isinf(r.loss) for r in failed)
  assert all(r.ok for r in of_kind(campaign, OTHER))
  said = ledger.Events(tmp_path / 'events.jsonl').read()
  reasons = [e['reason'] for e in said if e['event'] == 'infeasible']
  assert 'no such kind' in reasons[0]


def test_what_compiles_when_tried_again_is_sound(tmp_path, make):
  make(tmp_path / 'sound', Faulty()).run()
  campaign = make(tmp_path / 'again', Faulty(tracing=1))
  campaign.run()
  assert of_kind(campaign, FAILING) and all(r.ok for r in campaign.results)
  assert records(tmp_path / 'again') == records(tmp_path / 'sound')


def test_a_baseline_that_cannot_be_compiled_is_an_error(tmp_path, make):
  with pytest.raises(TypeError, match='no such kind'):
    make(tmp_path, Faulty(failing=BASELINE, tracing=99)).run()


@each_strategy
def test_what_fails_once_is_trained_as_if_it_had_not(
  tmp_path, make, strategy, options
):
  make(tmp_path / 'sound', Faulty(), strategy, **options).run()
  _, failures = tried(
    make, tmp_path / 'again', Faulty(running=1), strategy, **options
  )
  assert len(failures) == 1 and 'out of memory' in failures[0]
  assert records(tmp_path / 'again') == records(tmp_path / 'sound')


@each_strategy
@pytest.mark.parametrize('often', [1, 64])
def test_what_fails_twice_is_retired_and_the_others_go_on(
  tmp_path, make, monkeypatch, strategy, options, often
):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', often)
  campaign, failures = tried(
    make, tmp_path, Faulty(running=99), strategy, members=24, **options
  )
  assert len(failures) == 2
  failed = of_kind(campaign, FAILING)
  lost = [r for r in failed if r.status == 'infeasible']
  assert lost and all(math.isinf(r.loss) for r in lost)
  # Segments before the one that failed are charged.
  segments = {'random': 2, 'evolution': 2, 'pbt': 0}[strategy]
  assert max(r.flops for r in lost) == segments * 10 * 6.0
  others = of_kind(campaign, BASELINE) + of_kind(campaign, OTHER)
  assert all(r.ok for r in others) and campaign.best.ok
  assert not {r.leg.member for r in lost} & {
    leg.parent for leg in campaign.legs
  }
  # What was recorded stands, replayed or trained again.
  before = records(tmp_path)
  (tmp_path / 'ledger' / f'{len(before) - 1:08d}.json').unlink()
  make(tmp_path, Faulty(running=99), strategy, members=24, **options).run()
  assert records(tmp_path) == before


def test_a_baseline_that_fails_twice_is_an_error(tmp_path, make):
  trainee = Faulty(failing=BASELINE, running=99)
  with pytest.raises(failure.Failed):
    make(tmp_path, trainee).run()
  with pytest.raises(jax.errors.JaxRuntimeError, match='out of memory'):
    make(tmp_path, trainee).run()


def test_an_heir_of_a_retired_species_begins_afresh(
  tmp_path, make_campaign, kinds
):
  work = make_campaign(
    tmp_path, trainee=Faulty(), space=kinds, devices=1
  ).engine

  def leg(i, kind, start, stop, source=None):
    configuration = {'kind': kind, 'h0': 0.5}
    parent = source and source[0]
    return member.Leg(i, parent, configuration, source, start, stop, 0)

  def train(*legs):
    work.start(work.seats.admit(list(legs), limit=3))
    results = []
    while not work.idle():
      work.rounds.dispatch()
      results += (ended := work.rounds.collect())
      work.settle(ended)
    return results

  train(leg(0, FAILING, 0, 3))
  legs = work.seats.admit([leg(1, FAILING, 0, 3)], limit=3)
  work.start(legs)
  work.seats.refuse(work.seats.species_of[1], 'it failed twice')
  assert [r.status for r in train()] == ['infeasible']
  heir, fresh = train(
    leg(2, BASELINE, 3, 10, source=(0, 3)), leg(3, BASELINE, 3, 10)
  )
  assert heir.ok and heir.loss == fresh.loss
