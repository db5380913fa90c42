"""Random keys folded from names, never drawn in order.

Two members that share a seed share every draw whose name they share, whatever
else differs between them, and no random state needs to be kept.
"""

import functools
import math
import zlib

import jax
import jax.numpy as jnp

from models import shardings

# Drawn with one key each: large enough that keys cost nothing, small enough
# that little is drawn in vain.
BLOCK = 4096


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
  return jax.random.fold_in(key, _code(name))


def named_normals(
  seed: jax.Array | int, shapes: dict[str, tuple[int, ...]]
) -> dict[str, jax.Array]:
  """Standard normal arrays, each a function of the seed and its name alone.

  They are drawn together, in blocks whose keys are folded from (seed, name,
  number of the block): so one generator is compiled, not one for each shape,
  and an array that grows keeps the entries it had, in row-major order.

  Args:
    seed: of the member, int32 scalar, may be traced.
    shapes: by name.

  Returns:
    float32 arrays by name.
  """
  root = jax.random.key(seed, impl='threefry2x32')
  if shardings.shards('draws') > 1:
    return _by_shape(root, shapes)
  sizes = {name: math.prod(shape) for name, shape in shapes.items()}
  counts = {name: math.ceil(size / BLOCK) for name, size in sizes.items()}
  blocks = [(_code(n), i) for n, count in counts.items() for i in range(count)]
  draws = jax.vmap(lambda block: _block(root, *block))(
    jnp.array(blocks, jnp.uint32)
  )
  arrays, begin = {}, 0
  for name, shape in shapes.items():
    flat = draws[begin : begin + counts[name]].reshape(-1)
    arrays[name] = flat[: sizes[name]].reshape(shape)
    begin += counts[name]
  return arrays


def _by_shape(
  root: jax.Array, shapes: dict[str, tuple[int, ...]]
) -> dict[str, jax.Array]:
  """The same for devices that share a member, each of which draws its part.

  Where all are cut out of one array, that has to be whole on each of them.
  """
  names: dict[tuple[int, ...], list[str]] = {}
  for name, shape in shapes.items():
    names.setdefault(tuple(shape), []).append(name)
  arrays = {}
  for shape, alike in names.items():
    codes = jnp.array([_code(name) for name in alike], jnp.uint32)
    draw = functools.partial(_array, root, shape)
    arrays |= zip(alike, jax.vmap(draw)(codes))
  return arrays


def _array(
  root: jax.Array, shape: tuple[int, ...], code: jax.Array
) -> jax.Array:
  """One of them."""
  size = math.prod(shape)
  numbers = jnp.arange(math.ceil(size / BLOCK), dtype=jnp.uint32)
  numbers = shardings.constrain(numbers, 'draws')
  blocks = jax.vmap(functools.partial(_block, root, code))(numbers)
  blocks = shardings.constrain(blocks, 'draws', None)
  return blocks.reshape(-1)[:size].reshape(shape)


def _block(root: jax.Array, code: jax.Array, number: jax.Array) -> jax.Array:
  key = jax.random.fold_in(jax.random.fold_in(root, code), number)
  return jax.random.normal(key, (BLOCK,), jnp.float32)


def _code(name: str) -> int:
  return zlib.crc32(name.encode())
