"""Placement: arrays between this host and a mesh that may span several.

A host holds the shards of its own devices only. What every host knows is put
on them without any traffic; what every host must read is replicated first, by
a program of its own.
"""

import functools
from typing import Any

import jax
import numpy as np

PyTree = Any


def put(tree: PyTree, sharding: jax.sharding.Sharding) -> PyTree:
  """Arrays that every host knows, on the devices.

  Args:
    tree: NumPy arrays, or arrays of this host's devices; the same everywhere.
    sharding: of each of them.
  """
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)

  def place(leaf: Any) -> jax.Array:
    host = np.asarray(leaf)
    return jax.make_array_from_callback(
      host.shape, sharding, lambda index: host[index]
    )

  return jax.tree.map(place, tree)


def readable(array: jax.Array) -> jax.Array:
  """The same array where every host can read it whole; does not wait."""
  if array.is_fully_addressable:
    return array
  sharding = jax.NamedSharding(array.sharding.mesh, jax.P())
  return _replicate(sharding)(array)


@functools.cache
def _replicate(sharding: jax.sharding.Sharding) -> Any:
  return jax.jit(lambda array: array, out_shardings=sharding)
