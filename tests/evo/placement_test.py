"""Tests of arrays between host and devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evo import placement, population

MESH = {'member': 4}


@pytest.mark.parametrize(
  'dtype', ['float32', 'bfloat16', 'float16', 'int32', 'uint8', 'bool']
)
def test_a_broadcast_keeps_every_bit(dtype):
  mesh = population.make_mesh(MESH)
  odd = [np.nan, -0.0, np.inf, 1e-40, -1.5, 3.0]
  values = np.array(odd if 'float' in dtype else range(6))
  array = np.stack([np.roll(values, i) for i in range(4)]).astype(dtype)

  @functools.partial(
    jax.shard_map,
    mesh=mesh,
    in_specs=(population.MEMBER, population.SHARED),
    out_specs=population.SHARED,
    check_vma=False,
  )
  def send(array, source):
    here = jax.lax.axis_index('member') == source
    return placement.broadcast(array, here, 'member')

  placed = placement.put(array, jax.NamedSharding(mesh, population.MEMBER))
  for source in range(4):
    out = jax.jit(send)(placed, jnp.int32(source))
    for shard in out.addressable_shards:
      assert np.asarray(shard.data).tobytes() == array[source].tobytes()


def test_what_is_put_on_the_devices_is_what_the_host_had():
  mesh = population.make_mesh(MESH)
  tree = {'a': np.arange(8.0, dtype=np.float32), 'b': np.arange(4)}
  sharding = jax.NamedSharding(mesh, population.MEMBER)
  placed = placement.put(tree, sharding)
  for name, value in tree.items():
    assert placed[name].sharding == sharding
    np.testing.assert_array_equal(placement.readable(placed[name]), value)
