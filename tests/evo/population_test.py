"""Tests of populations, with a trainee small enough to check by hand."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evo import mesh as mesh_lib
from evo import population, program
from models import quadratic

THETA = 0.9


class Noisy(quadratic.Quadratic):
  """Its state depends on the seed and the step; h1 above .9 diverges."""

  data = {'train': jnp.linspace(0, 1, 8), 'search': (), 'confirm': ()}

  def init(self, structure, hyperparameters, seed):
    return jax.random.normal(jax.random.key(seed), (2,))

  def step(self, structure, data, hyperparameters, theta, seed, step, fraction):
    key = jax.random.fold_in(jax.random.key(seed), step)
    noise = data[jax.random.randint(key, (), 0, 8)]
    theta, loss = super().step(
      structure, (), hyperparameters, theta, seed, step, fraction
    )
    theta = theta + 0.01 * noise * (1 - fraction)
    return jnp.where(hyperparameters['h1'] > 0.9, jnp.nan, theta), loss


def make(slots, devices=2, mapped=True, trainee=None, steps=5):
  trainee = trainee or Noisy()
  mesh = mesh_lib.make({'member': devices})
  shared = jax.NamedSharding(mesh, mesh_lib.SHARED)
  people = population.Population(
    trainee,
    (),
    ('h0', 'h1'),
    slots=slots,
    steps=steps,
    total_steps=50,
    mesh=mesh,
    data=jax.device_put(trainee.data, shared),
    mapped=mapped,
    meter=program.Meter(),
  )
  people.allocate()
  return people


def slots_of(h0, seeds, step=0, active=None, h1=0.5):
  n = len(h0)
  return population.Slots(
    hyperparameters={
      'h0': np.asarray(h0, np.float32),
      'h1': np.broadcast_to(np.asarray(h1, np.float32), n).copy(),
    },
    seed=np.asarray(seeds, np.int32),
    step=np.full(n, step, np.int32),
    active=np.ones(n, bool) if active is None else np.asarray(active),
  )


def trained(h0, seeds, devices=2, mapped=True, segments=3, **options):
  people = make(len(h0), devices, mapped)
  people.refill(slots_of(h0, seeds), np.ones(len(h0), bool))
  losses = []
  for i in range(segments):
    slots = slots_of(h0, seeds, step=5 * i, **options)
    losses.append(np.asarray(people.segment(slots)))
  metrics = np.asarray(people.evaluate(slots, 'search'))
  return np.asarray(people.state), np.stack(losses, 1), metrics


class Heavy(quadratic.Quadratic):
  """A state of 4 kB, which other work would not."""

  def init(self, structure, hyperparameters, seed):
    return jnp.full(1000, THETA)

  def step(self, structure, data, hyperparameters, theta, *now):
    return (1 - hyperparameters['h0']) * theta, theta.sum()


def test_members_trained_one_by_one_need_one_state_beside_those_of_all():
  def temporaries(slots):
    segment = make(slots, devices=1, trainee=Heavy()).program('segment')
    return segment.memory().temporaries

  assert temporaries(64) < temporaries(4) + 4000


def test_a_segment_takes_the_steps_that_a_loop_would():
  people = make(2, trainee=quadratic.Quadratic())
  slots = slots_of([1.0, 0.0], [0, 0], h1=[0.0, 0.5])
  people.refill(slots, np.ones(2, bool))
  people.segment(slots)
  expected = [[THETA * 0.98**5, THETA], [THETA, THETA * 0.99**5]]
  np.testing.assert_allclose(np.asarray(people.state), expected, rtol=1e-6)
  metric = np.asarray(people.evaluate(slots, 'search'))
  np.testing.assert_allclose(
    metric, np.square(expected).sum(1) - 1.2, rtol=1e-5
  )


@pytest.mark.parametrize('devices', [1, 2, 4])
def test_a_member_alone_and_among_fifteen_others_is_the_same_bit_for_bit(
  devices,
):
  rng = np.random.default_rng(0)
  h0, seeds = rng.random(16), rng.integers(0, 99, 16)
  together = trained(h0, seeds, devices)
  for i in (0, 7, 15):
    alone = trained(h0[i : i + 1], seeds[i : i + 1], devices=1)
    for a, b in zip(alone, together):
      np.testing.assert_array_equal(a[0], b[i])


def test_vectorised_members_agree_with_mapped_ones():
  rng = np.random.default_rng(0)
  h0, seeds = rng.random(16), rng.integers(0, 99, 16)
  for a, b in zip(trained(h0, seeds), trained(h0, seeds, mapped=False)):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('mapped', [True, False])
def test_permuting_the_slots_permutes_the_results(mapped):
  rng = np.random.default_rng(1)
  h0, seeds = rng.random(8), rng.integers(0, 99, 8)
  order = rng.permutation(8)
  straight = trained(h0, seeds, mapped=mapped)
  permuted = trained(h0[order], seeds[order], mapped=mapped)
  for a, b in zip(straight, permuted):
    np.testing.assert_array_equal(a[order], b)


def test_idle_slots_keep_their_state():
  people = make(4)
  slots = slots_of([0.5] * 4, range(4))
  people.refill(slots, np.ones(4, bool))
  before = np.asarray(people.state)
  people.segment(slots_of([0.5] * 4, range(4), active=[1, 0, 1, 0]))
  after = np.asarray(people.state)
  assert (after[[1, 3]] == before[[1, 3]]).all()
  assert (after[[0, 2]] != before[[0, 2]]).all()


def test_refilling_one_slot_leaves_the_others_alone():
  people = make(4)
  people.refill(slots_of([0.5] * 4, range(4)), np.ones(4, bool))
  before = np.asarray(people.state)
  fresh = np.array([False, False, True, False])
  people.refill(slots_of([0.5] * 4, [9, 9, 9, 9]), fresh)
  after = np.asarray(people.state)
  assert (after[[0, 1, 3]] == before[[0, 1, 3]]).all()
  np.testing.assert_array_equal(
    after[2], np.asarray(jax.random.normal(jax.random.key(9), (2,)))
  )


def test_a_diverged_member_stays_alone_with_its_nan():
  state, losses, metrics = trained([0.5] * 4, range(4), h1=[0.1, 0.95, 0.1, 0])
  for array in (state, losses, metrics):
    finite = np.isfinite(array.reshape(4, -1)).all(1)
    assert finite.tolist() == [True, False, True, True]


def test_a_row_taken_and_placed_elsewhere_is_the_same_bit_for_bit():
  people = make(4)
  people.refill(slots_of([0.5] * 4, range(4)), np.ones(4, bool))
  row = np.asarray(people.take(1))
  people.place(3, row[0])
  np.testing.assert_array_equal(people.take(3), row)
  np.testing.assert_array_equal(people.take(1), row)
  assert (np.asarray(people.take(2)) != row).all()


def test_copies_outlive_the_segments_that_follow():
  people = make(4)
  slots = slots_of([0.5] * 4, range(4))
  people.refill(slots, np.ones(4, bool))
  before = np.asarray(people.state).copy()
  row, all_rows = people.take(2), people.snapshot()
  people.segment(slots)
  np.testing.assert_array_equal(row, before[2:3])
  np.testing.assert_array_equal(all_rows, before)
  assert (np.asarray(people.state) != before).all()


def test_mutating_hyperparameters_compiles_nothing():
  people = make(16)
  rng = np.random.default_rng(0)
  people.refill(slots_of(rng.random(16), range(16)), np.ones(16, bool))
  people.segment(slots_of(rng.random(16), range(16)))
  before = people.meter.compilations
  for i in range(50):
    people.segment(slots_of(rng.random(16), range(16), step=i))
  assert people.meter.compilations == before == 2


def test_no_program_talks_across_members():
  people = make(8, devices=4)
  people.refill(slots_of([0.5] * 8, range(8)), np.ones(8, bool))
  slots = slots_of([0.5] * 8, range(8))
  people.segment(slots)
  people.evaluate(slots, 'search')
  for text in people.compiled_texts():
    assert not re.search(r'all-(gather|reduce|to-all)|collective', text)


def test_slots_must_divide_over_the_mesh():
  with pytest.raises(ValueError, match='population is 3; expected a multiple'):
    make(3, devices=2)


class Odd(quadratic.Quadratic):
  """Its state holds what arithmetic does not keep, of several types."""

  def init(self, structure, hyperparameters, seed):
    odd = jnp.array([jnp.nan, -0.0, jnp.inf, 1e-40, -1.5]) * jnp.float32(1)
    turned = jnp.roll(jax.lax.optimization_barrier(odd), seed)
    kinds = ('float32', 'bfloat16', 'float16')
    floats = {kind: turned.astype(kind) for kind in kinds}
    return floats | {'int32': jnp.full(3, seed), 'bool': jnp.arange(5) == seed}


@pytest.mark.parametrize('devices', [1, 4])
def test_what_is_taken_from_a_slot_is_its_state_to_the_bit(devices):
  people = make(4, devices, trainee=Odd())
  people.refill(slots_of([0.5] * 4, range(4)), np.ones(4, bool))
  for slot in range(4):
    row = people.take(slot)
    for name, leaf in people.state.items():
      assert (
        np.asarray(row[name])[0].tobytes() == np.asarray(leaf)[slot].tobytes()
      )
