"""Tests of searches over structures: several species in one campaign."""

import itertools
import math

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from evo import bounds as bounds_lib
from evo import (
  campaign,
  engine,
  ledger,
  member,
  phases,
  population,
  retention,
  space,
  strategies,
)
from evo import mesh as mesh_lib
from evo import rows as rows_lib
from models import quadratic

SIZES = (1, 2, 3, 4, 5, 6)


class Sized(quadratic.Quadratic):
  """Climbs in as many dimensions as its structure says; there is no sixth.

  A seventh of the budget's worth of slack: sizes differ in steps.
  """

  def init(self, structure, hyperparameters, seed):
    return jnp.full((_size(structure),), 0.9) + 0.01 * seed

  def step(self, structure, data, hyperparameters, theta, seed, step, fraction):
    scale = hyperparameters['h0'] + 0.1 * jnp.arange(_size(structure))
    return theta - 0.01 * scale * theta, jnp.sum(scale * theta**2)

  def cost(self, structure):
    size = _size(structure)
    if size == 6:
      raise ValueError('size 6; expected at most 5')
    return quadratic.Cost(
      3.0 * size, 1, dict.fromkeys(('search', 'confirm'), 1.0), size
    )

  def inherit(self, old, new, state, fresh):
    common = min(len(state), len(fresh))
    return np.concatenate([state[:common], fresh[common:]])

  def share(self, old, new):
    return min(_size(old), _size(new)) / _size(new)


def _size(structure):
  return dict(structure)['size']


@pytest.fixture
def sized():
  """A space of a structural size and a traced rate."""
  size = {'kind': 'choice', 'choices': list(SIZES), 'default': 2}
  rate = {'kind': 'float', 'low': 0.0, 'high': 1.0, 'default': 0.5}
  return space.Space.from_json(
    {
      'name': 'sized',
      'parameters': {
        'size': size | {'tier': 'architecture', 'structural': True},
        'h0': rate | {'tier': 'configuration'},
      },
    }
  )


@pytest.fixture
def make_engine(sized):
  def make(workdir, **options):
    trainee = Sized()
    return engine.Engine(
      trainee,
      sized,
      engine.Budget(600.0, 10),
      workdir,
      slots=4,
      mesh=mesh_lib.make({'member': 2}),
      crossing=trainee,
      **options,
    )

  return make


@pytest.fixture
def make(sized, make_engine):
  def make(
    workdir,
    strategy='evolution',
    stop=lambda: None,
    members=32,
    pairs=3,
    max_species=3,
    **options,
  ):
    return campaign.Campaign(
      make_engine(workdir, max_species=max_species),
      strategies.make(
        strategy, sized, seed=0, population=4, segments=10, **options
      ),
      workdir,
      bounds=bounds_lib.Bounds(members=members),
      phases=phases.Phases(pairs),
      stop=stop,
    )

  return make


EVOLUTION = ('evolution', {'inherit_at': 0.3, 'inherits': lambda a, b: True})
each_strategy = pytest.mark.parametrize(
  'strategy,options', [('random', {}), EVOLUTION, ('pbt', {})]
)


def records(workdir):
  return ledger.Ledger(workdir / 'ledger').records


def legs_of(workdir):
  return [leg for record in records(workdir) for leg in record['legs']]


def after(rounds):
  count = itertools.count(1)
  return lambda: 'sigterm' if next(count) == rounds else None


def run_alone(work, legs, splits=('search',)):
  """Runs legs to their end; returns results by member."""
  legs = work.seats.admit(legs, limit=9)
  work.start(legs)
  results = {}
  while not work.idle():
    work.rounds.dispatch()
    ended = work.rounds.collect()
    work.settle(ended)
    results |= {result.leg.member: result for result in ended}
  return results


def leg(i, size, h0=0.5, start=0, stop=10, **values):
  values = {'parent': None, 'source': None, 'seed': i} | values
  configuration = {'size': size, 'h0': h0}
  return member.Leg(
    i, configuration=configuration, start=start, stop=stop, **values
  )


@each_strategy
def test_several_species_train_and_are_in_the_ledger(
  tmp_path, make, strategy, options
):
  make(tmp_path, strategy, **options).run()
  legs = legs_of(tmp_path)
  assert len({leg['species'] for leg in legs}) > 3
  for leg_ in legs:
    size = leg_['configuration']['size']
    if size < 6:
      assert leg_['weights'] == size and leg_['flops_per_token'] == 3.0 * size
      assert leg_['steps_per_segment'] == int(600 / 3 / size) // 10


def test_equal_flops_whatever_the_structure(tmp_path, make_engine):
  results = run_alone(
    make_engine(tmp_path), [leg(i, size) for i, size in enumerate((1, 2, 4))]
  )
  assert [results[i].flops for i in range(3)] == [601.0] * 3
  assert [results[i].tokens for i in range(3)] == [200, 100, 50]


def test_a_member_does_not_feel_other_species(tmp_path, make_engine):
  legs = [leg(i, size) for i, size in enumerate((1, 3, 4, 3))]
  together = run_alone(make_engine(tmp_path / 'all'), legs)
  for one in legs:
    alone = run_alone(make_engine(tmp_path / f'{one.member}'), [one])
    assert alone[one.member].metrics == together[one.member].metrics


@pytest.mark.parametrize('through', ['slot', 'storage'])
def test_an_heir_of_another_structure_begins_with_its_parents_weights(
  tmp_path, make_engine, through
):
  work = make_engine(tmp_path)
  run_alone(work, [leg(0, 2, stop=4, keep=True, splits=())])
  donor = work.kept.restore((0, 4))
  if through == 'storage':
    run_alone(work, [leg(i, 2) for i in range(10, 14)])
    work.checkpoints.wait()
    work.checkpoints._recent.clear()
  heir = leg(1, 3, h0=0.25, parent=0, source=(0, 4), start=4, stop=5, keep=True)
  (seated,) = work.seats.admit([heir], limit=9)
  assert work.facts(seated)['inherited'] == pytest.approx(2 / 3)
  run_alone(work, [heir])
  state = work.kept.restore((1, 5))
  fresh = np.float32(0.9 + 0.01)
  expected = np.append(donor, fresh)
  for _ in range(6):
    expected = expected * (1 - 0.01 * (0.25 + 0.1 * np.arange(3)))
  np.testing.assert_allclose(state, expected, rtol=1e-5)


def test_without_a_crossing_nothing_passes(tmp_path, make_engine):
  work = make_engine(tmp_path)
  work._heirs._crossing = None
  run_alone(work, [leg(0, 2, stop=4, keep=True, splits=())])
  heir = leg(1, 3, h0=0.0, source=(0, 4), start=4, stop=5, keep=True)
  run_alone(work, [heir])
  state = work.kept.restore((1, 5))
  assert state[0] == np.float32(0.9) + np.float32(0.01)
  assert work.facts(heir)['inherited'] == 0.0


@each_strategy
@pytest.mark.parametrize('rounds', [1, 14, 33])
def test_resuming_between_species_gives_the_unbroken_ledger(
  tmp_path, make, monkeypatch, strategy, options, rounds
):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  unbroken = make(whole, strategy, **options)
  unbroken.run()
  make(parts, strategy, stop=after(rounds), **options).run()
  resumed = make(parts, strategy, **options)
  resumed.run()
  assert records(parts) == records(whole)
  best = (unbroken.best.leg.member, unbroken.best.stop)
  chex.assert_trees_all_equal(
    unbroken.engine.kept.restore(best), resumed.engine.kept.restore(best)
  )


def test_another_number_of_seats_goes_on_with_a_run(tmp_path, make):
  make(tmp_path, 'random', members=8, pairs=0).run()
  before = records(tmp_path)
  make(tmp_path, 'random', members=16, pairs=0, max_species=1).run()
  assert records(tmp_path)[: len(before)] == before
  seats = [record['asked']['species'] for record in records(tmp_path)]
  assert seats == [3] * len(before) + [1] * (len(seats) - len(before))


def test_an_impossible_structure_is_recorded_and_never_a_parent(tmp_path, make):
  run = make(tmp_path, *EVOLUTION[:1], members=48, **EVOLUTION[1])
  run.run()
  lost = {r.leg.member for r in run.results if r.status == 'infeasible'}
  assert lost
  for result in run.results:
    if result.leg.member in lost:
      assert result.flops == 0 and math.isinf(result.loss)
  assert not lost & {leg.parent for leg in run.legs}


def test_what_does_not_fit_is_infeasible_and_changes_nothing_else(
  tmp_path, make_engine
):
  legs = [leg(0, 2), leg(1, 5), leg(2, 2)]
  roomy = make_engine(tmp_path / 'a')
  expected = run_alone(roomy, legs)
  need = roomy._populations[0].peak_bytes
  assert roomy._populations[1].peak_bytes > need
  tight = make_engine(tmp_path / 'b', memory=need)
  results = run_alone(tight, legs)
  assert results[1].status == 'infeasible' and results[1].flops == 0
  for i in (0, 2):
    assert results[i] == expected[i]


def test_a_newcomer_has_to_leave_the_others_room_for_their_turns(
  tmp_path, make_engine, monkeypatch
):
  peaks = property(lambda self: {5: 1000, 1: 100}[self.row.size])
  monkeypatch.setattr(population.Population, 'peak_bytes', peaks)
  states = property(lambda self: 50)
  monkeypatch.setattr(population.Population, 'state_bytes', states)
  legs = [leg(0, 5), leg(1, 1)]
  for memory, ok in ((1050, True), (1049, False)):
    tight = make_engine(tmp_path / str(ok), memory=memory)
    results = run_alone(tight, legs)
    assert [results[i].ok for i in (0, 1)] == [True, ok]


def test_a_new_species_compiles_while_the_others_train(tmp_path, make_engine):
  work, order = make_engine(tmp_path), []
  run_alone(work, [leg(0, 2)])
  rounds = work.rounds
  turn, compile_ = rounds._dispatch, rounds.compile
  rounds._dispatch = lambda id: (order.append(id), turn(id))
  rounds.compile = lambda: (order.append('compile'), compile_())
  run_alone(work, [leg(1, 2, stop=1), leg(2, 3, stop=1)])
  assert order == [0, 'compile', 1]


def test_a_confirmation_of_another_structure_than_the_baselines(tmp_path, make):
  run = make(tmp_path, 'random', members=8, max_species=2)
  run.run()
  assert run.best.leg.configuration['size'] != 2
  confirmed = [r for r in records(tmp_path) if r['phase'] == 'confirm']
  sizes = [x['configuration']['size'] for r in confirmed for x in r['legs']]
  # Arm by arm, so that one structure trains at a time.
  assert sizes == [2] * 3 + [run.best.leg.configuration['size']] * 3
  assert run.confirmation.gain().n == 3


def test_every_flop_of_every_species_is_charged(tmp_path, make, line_run):
  run = make(tmp_path, *EVOLUTION[:1], **EVOLUTION[1])
  run.run()
  rows = rows_lib.leg_rows(
    records(tmp_path), line_run | {'metric': 'negative_q'}
  )
  for row in rows:
    steps = row['lineage_step'] - row['start']
    scored = len(row['metrics'])
    if row['status'] == 'ok':
      assert row['flops'] == steps * row['flops_per_token'] + scored
      assert row['tokens'] == steps
  assert run.loop.flops == sum(row['flops'] for row in rows)
