"""Tests of copying rows between slots."""

import re

import jax
import numpy as np
import pytest

from evo import inheritance
from evo import mesh as mesh_lib


def copier(devices):
  mesh = mesh_lib.make({'member': devices})

  def copy(state, parent):
    return inheritance.ring_copy(state, parent, axis='member', devices=devices)

  spec = mesh_lib.MEMBER
  function = jax.jit(
    jax.shard_map(
      copy, mesh=mesh, in_specs=(spec, spec), out_specs=spec, check_vma=False
    )
  )
  sharding = jax.NamedSharding(mesh, spec)
  return lambda *args: function(*jax.device_put(args, sharding)), function


@pytest.mark.parametrize('devices', [1, 2, 4])
@pytest.mark.parametrize('seed', range(5))
def test_every_row_becomes_its_parents_row_bit_for_bit(devices, seed):
  rng = np.random.default_rng(seed)
  state = {
    'a': rng.standard_normal((8, 3, 2)).astype(np.float32),
    'b': rng.integers(0, 9, 8).astype(np.int32),
  }
  parent = rng.integers(0, 8, 8).astype(np.int32)
  copy, _ = copier(devices)
  out = copy(state, parent)
  for name, rows in state.items():
    np.testing.assert_array_equal(np.asarray(out[name]), rows[parent])


def test_a_diverged_row_leaks_into_no_other():
  state = np.ones((8, 3), np.float32)
  state[5] = np.nan
  copy, _ = copier(4)
  out = np.asarray(copy(state, np.array([0, 0, 2, 3, 4, 5, 6, 1], np.int32)))
  assert np.isnan(out[5]).all() and np.isfinite(np.delete(out, 5, 0)).all()


def test_rows_travel_by_permute_and_are_never_gathered():
  _, function = copier(4)
  mesh = mesh_lib.make({'member': 4})
  sharding = jax.NamedSharding(mesh, mesh_lib.MEMBER)
  state = jax.ShapeDtypeStruct((8, 3), np.float32, sharding=sharding)
  parent = jax.ShapeDtypeStruct((8,), np.int32, sharding=sharding)
  text = function.lower(state, parent).compile().as_text()
  kinds = set(
    re.findall(
      r' (all-gather|all-reduce|all-to-all|collective-permute)\S*\(', text
    )
  )
  assert kinds == {'collective-permute'}
