"""Tests of the engine with real transformers on real text."""

import pathlib
import sysconfig

import chex
import jax
import numpy as np
import pytest

from evo import engine, failure, member, space
from evo import mesh as mesh_lib
from models import data, language_model

STRUCTURE = {
  'depth': 2,
  'width': 32,
  'heads': 2,
  'head_dim': 16,
  'mlp_ratio': 2,
  'context': 32,
  'batch': 4,
}


@pytest.fixture(scope='module')
def trainee(tmp_path_factory):
  folder = tmp_path_factory.mktemp('text')
  source = pathlib.Path(sysconfig.get_paths()['stdlib'], 'argparse.py')
  (folder / 'text.txt').write_bytes(source.read_bytes())
  corpus = data.load(
    str(folder / 'text.txt'), context=32, evaluation_tokens=512
  )
  return language_model.LanguageModel(corpus)


@pytest.fixture(scope='module')
def nanogpt():
  shipped = space.load('launch/spaces/nanogpt.json').to_json()
  for name, value in STRUCTURE.items():
    shipped['parameters'][name]['default'] = value
  return space.Space.from_json(shipped)


@pytest.fixture
def make(trainee, nanogpt, tmp_path):
  def make(slots, devices=2, mapped=True, steps_per_segment=3, segments=4):
    structure = nanogpt.structure(nanogpt.baseline)
    flops = trainee.cost(structure).flops_per_step
    return engine.Engine(
      trainee,
      nanogpt,
      engine.Budget(flops * steps_per_segment * segments, segments),
      tmp_path,
      slots=slots,
      mesh=mesh_lib.make({'member': devices}),
      mapped=mapped,
    )

  return make


def legs_of(nanogpt, count):
  rng = np.random.default_rng(0)
  traced = nanogpt.traced()
  return [
    member.Leg(i, None, traced.sample(rng), None, 0, 4, seed=100 + i)
    for i in range(count)
  ]


def start(work, legs):
  work.start(work.seats.admit(legs, limit=1))


def run(work, legs):
  """Runs legs to their end; returns losses by member."""
  start(work, legs)
  losses = {}
  while not work.idle():
    work.rounds.dispatch()
    results = work.rounds.collect()
    work.settle(results)
    losses |= {r.leg.member: r.loss for r in results}
  return losses


def row(work, weights):
  return work._populations.row(*work.seats.find(weights))


@pytest.mark.parametrize(
  'devices', [pytest.param(1, marks=pytest.mark.slow), 4]
)
def test_a_transformer_alone_and_among_fifteen_others_is_the_same_bit_for_bit(
  make, nanogpt, devices
):
  legs = legs_of(nanogpt, 16)
  together = make(16, devices)
  losses = run(together, legs)
  for leg in (legs[0], legs[9]):
    alone = make(1, devices=1)
    assert run(alone, [leg])[leg.member] == losses[leg.member]
    chex.assert_trees_all_equal(
      row(alone, (leg.member, 4)), row(together, (leg.member, 4))
    )


def test_vectorised_transformers_agree_with_mapped_ones(make, nanogpt):
  legs = legs_of(nanogpt, 16)
  mapped, vectorised = run(make(16), legs), run(make(16, mapped=False), legs)
  for i in range(16):
    assert vectorised[i] == pytest.approx(mapped[i], abs=1e-4)


def test_the_order_of_the_members_changes_no_result(make, nanogpt):
  legs = legs_of(nanogpt, 8)
  order = np.random.default_rng(1).permutation(8)
  assert run(make(8), legs) == run(make(8), [legs[i] for i in order])


def test_mutations_lower_no_program_again(make, nanogpt):
  work = make(16)
  run(work, legs_of(nanogpt, 16))
  programs = work.meter.compilations
  rng = np.random.default_rng(2)
  configuration = nanogpt.baseline
  for i in range(50):
    configuration = nanogpt.traced().mutate(configuration, rng)
    leg = member.Leg(100 + i, None, configuration, None, 0, 1, seed=i)
    run(work, [leg])
  assert work.meter.compilations == programs


@pytest.mark.parametrize('through', ['devices', 'orbax'])
def test_an_heir_has_its_donors_bits_and_its_own_learning_rate(
  make, nanogpt, through
):
  work = make(4, steps_per_segment=1)
  quiet = nanogpt.baseline | {'warmup': 0.0, 'weight_decay': 0.0}
  donor = member.Leg(0, None, quiet, None, 0, 2, seed=7, keep=True)
  run(work, [donor])
  before = row(work, (0, 2))
  if through == 'orbax':
    # Others take the slots, and nothing is remembered: storage has to do.
    run(work, [member.Leg(9 + i, None, quiet, None, 0, 1, 8) for i in range(4)])
    work.checkpoints.wait()
    work.checkpoints._recent.clear()
  heirs = [
    member.Leg(
      1 + i,
      0,
      quiet | {'learning_rate': 1e-3 * 2**i},
      (0, 2),
      2,
      3,
      seed=7,
    )
    for i in range(2)
  ]
  start(work, heirs)
  work._heirs.fill(0, work.rounds._arrays(0, work.seats.tables[0].legs))
  for i, leg in enumerate(work.seats.tables[0].legs):
    if leg in heirs:
      chex.assert_trees_all_equal(work._populations.row(0, i), before)
  assert work.checkpoints.restores == (2 if through == 'orbax' else 0)
  run(work, [])
  moved = [
    jax.tree.map(
      lambda new, old: new - old,
      row(work, (1 + i, 3))['weights'],
      before['weights'],
    )
    for i in range(2)
  ]
  # One step of Adam on the same batch: twice the rate moves twice as far.
  one, two = (
    np.concatenate([x.ravel() for x in jax.tree.leaves(tree)]) for tree in moved
  )
  assert np.abs(one).max() > 1e-4
  np.testing.assert_allclose(two, 2 * one, rtol=0.02, atol=1e-6)


def test_a_budget_below_one_step_a_segment_is_refused(make):
  with pytest.raises(ValueError, match=r'the budget is .*; expected at least'):
    make(2, steps_per_segment=0.5)


def test_a_source_that_nobody_holds_is_an_error(make, nanogpt):
  work = make(2)
  run(work, [member.Leg(0, None, nanogpt.baseline, None, 0, 1, seed=7)])
  start(work, [member.Leg(1, 0, nanogpt.baseline, (0, 2), 2, 4, seed=7)])
  with pytest.raises(failure.Damaged, match='checkpoint member-0-2 is missing'):
    work.rounds.dispatch()


def test_a_member_trains_as_a_plain_loop_over_its_steps_would(
  make, nanogpt, trainee
):
  (leg,) = legs_of(nanogpt, 1)
  work = make(2)
  losses = run(work, [leg])
  structure = nanogpt.structure(nanogpt.baseline)
  traced = {
    name: np.float32(value)
    for name, value in nanogpt.hyperparameters(leg.configuration).items()
  }
  seed = np.int32(leg.seed)
  state = jax.jit(lambda: trainee.init(structure, traced, seed))()
  step = jax.jit(
    lambda state, i: trainee.step(
      structure, trainee.data['train'], traced, state, seed, i, i / 12
    )[0]
  )
  for i in range(12):
    state = step(state, np.int32(i))
  chex.assert_trees_all_close(
    row(work, (0, 4))['weights'], state['weights'], rtol=1e-4, atol=1e-5
  )
  loss = trainee.evaluate(structure, trainee.data['search'], traced, state)
  assert losses[0] == pytest.approx(float(loss), abs=1e-4)
