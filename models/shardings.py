"""Where a member's arrays lie on a mesh: one table of logical axes.

A member has the mesh axes `data`, `fsdp` and `tensor` to itself. Its batch is
split over the first two. Weights, and what the optimiser keeps for them, are
split over `fsdp` (arXiv:1910.02054, there called ZeRO-3) and over `tensor`
(arXiv:1909.08053): heads, hidden channels and vocabulary. The compiler moves
the data that follows from it.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from models.structure import Structure

PyTree = Any

# Mesh axes by logical axis.
MESH_AXES = {
  'batch': ('data', 'fsdp'),
  'width': ('fsdp',),
  'heads': ('tensor',),
  'hidden': ('tensor',),
  'vocabulary': ('tensor',),
  'draws': ('fsdp', 'tensor'),
}

# Logical axes by the end of a tensor's path. What is not here is small and
# lies everywhere.
LOGICAL = {
  ('embedding',): ('vocabulary', 'width'),
  ('positions',): (None, 'width'),
  ('head',): ('width', 'vocabulary'),
  ('value_embedding',): (None, 'heads'),
  ('q', 'kernel'): ('width', 'heads'),
  ('k', 'kernel'): ('width', 'heads'),
  ('v', 'kernel'): ('width', 'heads'),
  ('out', 'kernel'): ('heads', 'width'),
  ('up', 'kernel'): ('width', 'hidden'),
  ('gate', 'kernel'): ('width', 'hidden'),
  ('down', 'kernel'): ('hidden', 'width'),
}


def specs(state: PyTree, sizes: dict[str, int]) -> PyTree:
  """How the arrays of a state are split.

  Args:
    state: nested dicts of arrays or shapes whose paths end as those of weights.
    sizes: of the mesh axes.

  Returns:
    A `PartitionSpec` for each array. An axis that its mesh axes do not divide
    is not split.
  """
  flat = traverse_util.flatten_dict(state)
  return traverse_util.unflatten_dict(
    {
      path: _split(_logical(path, len(leaf.shape)), leaf.shape, sizes)
      for path, leaf in flat.items()
    }
  )


def refusal(structure: Structure, sizes: dict[str, int]) -> str | None:
  """Why members of a structure cannot be split like this, if they cannot.

  Args:
    structure: of the members.
    sizes: of the mesh axes.
  """
  batch = math.prod(sizes.get(axis, 1) for axis in MESH_AXES['batch'])
  heads, width = sizes.get('tensor', 1), sizes.get('fsdp', 1)
  for name, axis, ways in (
    ('batch', 'data x fsdp', batch),
    ('width', 'fsdp', width),
    ('heads', 'tensor', heads),
    ('kv_heads', 'tensor', heads),
    ('hidden', 'tensor', heads),
  ):
    size = getattr(structure, name)
    if size % ways:
      return f'{name} is {size}; expected a multiple of {axis}, which is {ways}'
  return None


def constrain(x: jax.Array, *logical: str | None) -> jax.Array:
  """Splits an array over the mesh that is being traced for, if there is one.

  Args:
    x: any array.
    *logical: a logical axis, or None, for each of its axes.

  Returns:
    The same array.
  """
  sizes = _sizes()
  if math.prod(sizes.values()) == 1:
    return x
  return jax.lax.with_sharding_constraint(x, _split(logical, x.shape, sizes))


def of_stream(x: jax.Array) -> jax.Array:
  """The stream `[batch, length, width]`, its batch split over the devices."""
  return constrain(x, 'batch', None, None)


def rows(table: jax.Array, index: jax.Array, most: int = 0) -> jax.Array:
  """`table[index]`, of a table that is first put together on each device.

  XLA's partitioner fails where table and index are split over the same axis.

  Args:
    table: `[row, width]`.
    index: integers `[batch, length]`.
    most: rows of a table whose gradient is a product with the one-hot index,
      which devices do for their own part of a batch; a scatter, as of larger
      tables, adds up row after row, after all devices have told each other all.
  """
  table = constrain(table, *[None] * table.ndim)
  return _rows(table, index) if table.shape[0] <= most else table[index]


@jax.custom_vjp
def _rows(table: jax.Array, index: jax.Array) -> jax.Array:
  return table[index]


def _rows_forward(
  table: jax.Array, index: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return table[index], (table, index)


def _rows_backward(
  kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, None]:
  table, index = kept
  hot = jax.nn.one_hot(index, table.shape[0], dtype=gradient.dtype)
  gradient = jnp.einsum(
    'btr,btw->rw', hot, gradient, preferred_element_type=jnp.float32
  )
  return gradient.astype(table.dtype), None


_rows.defvjp(_rows_forward, _rows_backward)


def gather(path: tuple[str, ...], x: jax.Array) -> jax.Array:
  """A weight as products take it: what is split over `fsdp` brought together.

  Without it the compiler moves a part at a time between many narrow products.

  Args:
    path: of the weight.
    x: the weight, or one with two axes in place of one: of heads, and of a
      head's channels.

  Returns:
    The same weight, whose gradient is split again at once.
  """
  logical = _logical(path, x.ndim)
  together = (None if a == 'width' else a for a in logical)
  return constrain(constrain(x, *logical), *together)


def as_weights(tree: PyTree) -> PyTree:
  """Splits what is shaped as the weights as they are.

  Args:
    tree: nested dicts of arrays whose paths end as those of weights.

  Returns:
    The same arrays.
  """
  flat = traverse_util.flatten_dict(tree)
  return traverse_util.unflatten_dict(
    {path: constrain(x, *_logical(path, x.ndim)) for path, x in flat.items()}
  )


def locally(
  function: Callable[..., jax.Array],
  args: tuple[jax.Array, ...],
  logical: tuple[tuple[str | None, ...], ...],
  out: tuple[str | None, ...],
) -> jax.Array:
  """Calls a function on each device's part of arrays, and moves no data.

  Kernels need that: the compiler cannot split them.

  Args:
    function: of arrays, as large as the parts are.
    args: the arrays.
    logical: the axes of each, as in `constrain`.
    out: of the result, which is shaped as the first argument.

  Returns:
    The whole of what the parts give.
  """
  sizes = _sizes()
  if math.prod(sizes.values()) == 1:
    return function(*args)
  return jax.shard_map(
    function,
    in_specs=tuple(
      _split(axes, x.shape, sizes) for axes, x in zip(logical, args)
    ),
    out_specs=_split(out, args[0].shape, sizes),
    axis_names=set(sizes),
    check_vma=False,
  )(*args)


def by_rows(
  function: Callable[..., jax.Array], rows: jax.Array, *whole: PyTree
) -> jax.Array:
  """Calls a function on each device's rows, where devices share only a batch.

  What it is compiled to is then what one device alone would run, and a sum of
  gradients. Where weights are split too the compiler splits it all.

  Args:
    function: of some of the rows and what follows; gives as many rows.
    rows: `[batch, ...]`.
    *whole: what else it reads: it must not close over arrays.

  Returns:
    What the function gives for all rows.
  """
  sizes = _sizes()
  data = sizes.get('data', 1)
  alone = data == math.prod(sizes.values())
  if data == 1 or not alone or rows.shape[0] % data:
    return function(rows, *whole)
  return jax.shard_map(
    function,
    in_specs=(jax.P('data'), *(jax.P() for _ in whole)),
    out_specs=jax.P('data'),
    axis_names=set(sizes),
    check_vma=False,
  )(rows, *whole)


def shards(logical: str) -> int:
  """Parts that a logical axis is split into, of those traced for."""
  sizes = _sizes()
  return math.prod(sizes.get(axis, 1) for axis in MESH_AXES[logical])


def _logical(path: tuple[str, ...], ndim: int) -> tuple[str | None, ...]:
  """The axes of a weight, its heads with or without an axis of their own."""
  logical = LOGICAL.get(path[-2:], LOGICAL.get(path[-1:], (None,) * ndim))
  if len(logical) == ndim:
    return logical
  behind = logical.index('heads') + 1
  return (*logical[:behind], None, *logical[behind:])


def _split(
  logical: tuple[str | None, ...],
  shape: tuple[int, ...],
  sizes: dict[str, int],
) -> jax.P:
  parts = []
  for name, size in zip(logical, shape, strict=True):
    axes = tuple(a for a in MESH_AXES.get(name, ()) if sizes.get(a, 1) > 1)
    ways = math.prod(sizes[axis] for axis in axes)
    parts.append(axes if axes and size % ways == 0 else None)
  return jax.P(*parts)


def _sizes() -> dict[str, int]:
  """Of the mesh axes that the compiler splits over, of those traced for."""
  mesh = jax.sharding.get_abstract_mesh()
  kinds = dict(zip(mesh.axis_names, mesh.axis_types))
  auto = jax.sharding.AxisType.Auto
  return {a: n for a, n in mesh.shape.items() if kinds[a] == auto}
