"""Placement: arrays between this host and a mesh that may span several.

A host holds the shards of its own devices only. What every host knows is put
on them without any traffic; what every host must read is replicated first, by
a program of its own.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
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


def broadcast(array: jax.Array, here: jax.Array, axis: str) -> jax.Array:
  """One device's array on all devices, bit for bit; runs in `shard_map`.

  Args:
    array: of this device.
    here: whether it is the one, bool scalar; so on exactly one device.
    axis: mesh axis of the devices.
  """
  # As integers: adding zeros to a float would lose the sign of -0, and some
  # backends flush small numbers. At least 32 bits: collectives know no 16.
  size = array.dtype.itemsize
  if array.dtype == bool:
    bits = array.astype(jnp.uint8)
  else:
    bits = jax.lax.bitcast_convert_type(array, f'uint{8 * size}')
  wide = bits.astype(f'uint{max(32, 8 * size)}')
  wide = jax.lax.psum(jnp.where(here, wide, 0), axis)
  bits = wide.astype(bits.dtype)
  if array.dtype == bool:
    return bits.astype(bool)
  return jax.lax.bitcast_convert_type(bits, array.dtype)
