"""Tests of arrays between host and devices."""

import jax
import numpy as np

from evo import mesh as mesh_lib
from evo import placement

MESH = {'member': 4}


def test_what_is_put_on_the_devices_is_what_the_host_had():
  mesh = mesh_lib.make(MESH)
  tree = {'a': np.arange(8.0, dtype=np.float32), 'b': np.arange(4)}
  sharding = jax.NamedSharding(mesh, mesh_lib.MEMBER)
  placed = placement.put(tree, sharding)
  for name, value in tree.items():
    assert placed[name].sharding == sharding
    np.testing.assert_array_equal(placement.readable(placed[name]), value)
