"""Random keys folded from names, never drawn in order.

Two members that share a seed share every draw whose name they share, whatever
else differs between them, and no random state needs to be kept.
"""

import zlib

import jax


def named_key(seed: jax.Array | int, name: str) -> jax.Array:
  """The key of a name.

  Args:
    seed: of the member, int32 scalar, may be traced.
    name: such as the path of a tensor. Folded in by its CRC-32, which is the
      same on every machine; Python's own hash is not.

  Returns:
    A typed threefry key: of JAX's generators the only one whose draws do not
    depend on how members are mapped.
  """
  key = jax.random.key(seed, impl='threefry2x32')
  return jax.random.fold_in(key, zlib.crc32(name.encode()))
