"""Populations: the slots of one species, trained by one program.

Everything static is in the structure, everything that mutates is an array
`[slot]`, everything that trains is an array `[slot, ...]` sharded over the
mesh's `member` axis, and over the others as the trainee says.
"""

import concurrent.futures
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evo import mesh as mesh_lib
from evo import placement
from evo import program as program_lib
from evo import shard as shard_lib
from evo import trainee as trainee_lib
from evo.mesh import MEMBER, SHARED

PyTree = Any
Slots = shard_lib.Slots

# Of the compiler, for training, by platform. On a TPU a fusion may use 16 MiB of
# vector memory by default, which cuts the tiles of wide products short; and
# products whose sums are then split become loops of narrow ones.
_OPTIONS = {
  'tpu': {
    'xla_tpu_scoped_vmem_limit_kib': '32768',
    'xla_jf_spmd_threshold_for_windowed_einsum_mib': '1000000',
  }
}


class Population:
  """The slots of one species on a mesh.

  Attributes:
    state: leaves `[slot, ...]`, sharded over `member`; None until `allocate`
      and after `release`.
    slots: how many members train side by side.
    steps: of training in one segment.
    row: shapes and dtypes of one member's state.
    compiled: whether what every round needs is.
    meter: counts compilations.
  """

  def __init__(
    self,
    trainee: trainee_lib.Trainee,
    structure: trainee_lib.Structure,
    names: tuple[str, ...],
    *,
    slots: int,
    steps: int,
    total_steps: int,
    mesh: jax.sharding.Mesh,
    data: dict[str, PyTree],
    mapped: bool,
    meter: program_lib.Meter,
  ):
    """Allocates and compiles nothing yet.

    Args:
      trainee: what a member is.
      structure: shared by all members.
      names: of the hyperparameters.
      slots: a multiple of the mesh's member axis.
      steps: of training in one segment.
      total_steps: of training in the whole budget.
      mesh: from `mesh.make`.
      data: the trainee's data by split, already on the devices.
      mapped: run a device's members one after another instead of vmapped.
      meter: counts compilations.

    Raises:
      ValueError: the slots do not divide over the mesh.
    """
    if slots % mesh.shape['member']:
      raise ValueError(
        f'population is {slots}; expected a multiple of the mesh axis member,'
        f' which is {mesh.shape["member"]}'
      )
    self.slots, self.steps = slots, steps
    self._total_steps, self._mesh, self._data = total_steps, mesh, data
    self.meter, self._names, self.compiled = meter, names, False
    self.row = jax.eval_shape(
      lambda: trainee.init(
        structure,
        {name: jnp.float32(0) for name in names},
        jnp.int32(0),
      )
    )
    self.state: PyTree = None
    self._split = mesh_lib.splits_members(mesh)
    self._specs = jax.tree.map(lambda _: SHARED, self.row)
    if self._split:
      self._specs = trainee.specs(self.row, dict(mesh.shape))
    self._shardings = self._of_rows('member')
    self._shard = shard_lib.Shard(
      trainee,
      structure,
      steps,
      size=slots // mesh.shape['member'],
      shards=mesh.shape['member'],
      mapped=mapped,
      specs=self._specs if self._split else None,
    )
    self._programs = self._make_programs()

  def compile(self, splits: tuple[str, ...]) -> None:
    """Compiles side by side what every round needs; a second call is free."""
    if self.compiled:
      return
    with concurrent.futures.ThreadPoolExecutor() as pool:
      list(pool.map(self.program, ('refill', 'segment', *splits)))
    self.compiled = True

  def program(self, name: str) -> program_lib.Program:
    """A program, compiled at the latest now, for the shapes that it will meet.

    Args:
      name: `refill`, `segment`, `inherit`, or the split that is to be evaluated.
    """
    state, slots = self.abstract_state(), self._abstract_slots()
    match name:
      case 'refill':
        args = state, slots, slots.active
      case 'segment':
        total = self._abstract(np.float32, SHARED)
        args = self._data['train'], state, slots, total
      case 'inherit':
        args = state, slots.seed
      case split:
        args = self._data[split], state, slots
        name = self._evaluation(split)
    self._programs[name].compile(*args)
    return self._programs[name]

  @property
  def total_bytes(self) -> int:
    """Of all slots, wherever they lie."""
    leaves = jax.tree.leaves(self.abstract_state())
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)

  @property
  def state_bytes(self) -> int:
    """Of all slots, on each device."""
    leaves = jax.tree.leaves(self.abstract_state())
    return sum(
      math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
      for leaf in leaves
    )

  @property
  def peak_bytes(self) -> int:
    """Of a segment on each device, state and data included; once compiled."""
    return self._programs['segment'].peak_bytes()

  def allocate(self) -> None:
    """Makes room for the slots, unless there is some."""
    if self.state is None:
      self.state = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding),
        self.abstract_state(),
      )

  def release(self) -> None:
    """Gives the slots' memory back; programs stay."""
    self.state = None

  def refill(self, slots: Slots, fresh: np.ndarray) -> None:
    """Initialises the slots where `fresh`, bool `[slot]`, is set."""
    self.state = self._programs['refill'](
      self.state, self._put(slots), self._put(fresh)
    )

  def inherit(self, parent: np.ndarray) -> None:
    """Copies whole states between slots: row i becomes row `parent[i]`."""
    self.state = self._programs['inherit'](
      self.state, self._put(parent.astype(np.int32))
    )

  def place(self, slot: int, row: PyTree) -> None:
    """Writes a member's state, without a member axis, into a slot."""
    row = jax.tree.map(
      lambda leaf, spec: placement.put(leaf, self._sharding(spec)),
      row,
      self._specs,
    )
    slot = self._share(np.int32(slot))
    self.state = self._programs['place'](self.state, row, slot)

  def segment(self, slots: Slots) -> jax.Array:
    """Dispatches one segment; returns mean training losses `[slot]`."""
    total = self._share(np.float32(self._total_steps))
    self.state, losses = self._programs['segment'](
      self._data['train'], self.state, self._put(slots), total
    )
    return placement.readable(losses)

  def evaluate(self, slots: Slots, split: str) -> jax.Array:
    """Dispatches an evaluation of the active slots; metrics `[slot]`."""
    program = self._programs[self._evaluation(split)]
    metrics = program(self._data[split], self.state, self._put(slots))
    return placement.readable(metrics)

  def take(self, slot: int) -> PyTree:
    """A copy of one slot's state, `[1, ...]`; does not wait.

    Every host gets one, on a device of its own; where members are split, it
    lies over devices as a member does.
    """
    rows = self._programs['take'](self.state, self._share(np.int32(slot)))
    if self._split:
      return rows
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), rows)

  def snapshot(self) -> PyTree:
    """A copy of all slots that later segments leave alone; does not wait."""
    self.allocate()
    return self._programs['snapshot'](self.state)

  def abstract_state(self) -> PyTree:
    """Shapes, dtypes and shardings of `state`."""
    return jax.tree.map(
      lambda leaf, sharding: jax.ShapeDtypeStruct(
        (self.slots, *leaf.shape), leaf.dtype, sharding=sharding
      ),
      self.row,
      self._shardings,
    )

  def abstract_row(self) -> PyTree:
    """Shapes and dtypes of what `take` gives, and how members are split."""

    def abstract(
      leaf: jax.ShapeDtypeStruct, sharding: jax.NamedSharding
    ) -> jax.ShapeDtypeStruct:
      where = sharding if self._split else None
      return jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype, sharding=where)

    return jax.tree.map(abstract, self.row, self._of_rows(None))

  def compiled_texts(self) -> list[str]:
    """Optimised programs compiled so far, for looking at their collectives."""
    return [program.text() for program in self._programs.values()]

  def _make_programs(self) -> dict[str, program_lib.Program]:
    """All but evaluations, by name."""
    shard, state, rows = self._shard, self._shardings, self._of_rows(None)
    losses = self._sharding(MEMBER)
    slot = self._sharding(SHARED)
    return {
      'refill': self._program(shard.refill, (MEMBER,) * 3, state, donate=0),
      'inherit': self._program(shard.inherit, (MEMBER,) * 2, state, donate=0),
      'place': self._program(
        shard.place, (MEMBER, SHARED, SHARED), state, donate=0
      ),
      'snapshot': self._program(shard.copy, (MEMBER,), state),
      'segment': self._program(
        shard.segment,
        (SHARED, MEMBER, MEMBER, SHARED),
        (state, losses),
        donate=1,
        options=_OPTIONS.get(self._mesh.devices.flat[0].platform),
      ),
      'take': program_lib.Program(
        _take,
        self.meter,
        in_shardings=(state, slot),
        out_shardings=rows,
      ),
    }

  def _program(
    self,
    function: Callable,
    specs: tuple,
    out: PyTree,
    donate: int | None = None,
    options: dict[str, str] | None = None,
  ) -> program_lib.Program:
    """A function of shards; `specs` go in, shardings `out` come out."""
    # The compiler splits what goes on within a member, if anything does.
    axes = {'member'} if self._split else set(self._mesh.axis_names)
    mapped = jax.shard_map(
      function,
      mesh=self._mesh,
      in_specs=specs,
      out_specs=MEMBER,
      axis_names=axes,
      check_vma=False,
    )
    return program_lib.Program(
      mapped,
      self.meter,
      options,
      donate_argnums=() if donate is None else (donate,),
      out_shardings=out,
    )

  def _evaluation(self, split: str) -> str:
    """Name of the program that scores a split; equal shapes share one."""
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), self._data[split])
    name = f'evaluate {jax.tree.leaves(shapes)}'
    if name not in self._programs:
      self._programs[name] = self._program(
        self._shard.evaluate, (SHARED, MEMBER, MEMBER), self._sharding(MEMBER)
      )
    return name

  def _of_rows(self, axis: str | None) -> PyTree:
    """Shardings of states that have an axis in front, split like this."""
    return jax.tree.map(
      lambda spec: self._sharding(jax.P(axis, *spec)), self._specs
    )

  def _sharding(self, spec: jax.P) -> jax.NamedSharding:
    return jax.NamedSharding(self._mesh, spec)

  def _abstract(
    self, dtype: Any, spec: jax.P, shape: tuple[int, ...] = ()
  ) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=self._sharding(spec))

  def _abstract_slots(self) -> Slots:
    def column(dtype: Any) -> jax.ShapeDtypeStruct:
      return self._abstract(dtype, MEMBER, (self.slots,))

    return Slots(
      hyperparameters={name: column(np.float32) for name in self._names},
      seed=column(np.int32),
      step=column(np.int32),
      active=column(np.bool_),
    )

  def _share(self, tree: PyTree) -> PyTree:
    return placement.put(tree, self._sharding(SHARED))

  def _put(self, tree: PyTree) -> PyTree:
    return placement.put(tree, self._sharding(MEMBER))


def _take(state: PyTree, slot: jax.Array) -> PyTree:
  """Row `slot` of leaves `[slot, ...]`, as `[1, ...]`, bit for bit."""

  def take(leaf: jax.Array) -> jax.Array:
    # As integers: adding zeros to a float would lose the sign of -0, and some
    # backends flush small numbers. At least 32 bits: collectives know no 16.
    size = leaf.dtype.itemsize
    unsigned, wide = f'uint{8 * size}', f'uint{max(32, 8 * size)}'
    flag = leaf.dtype == bool
    bits = leaf if flag else jax.lax.bitcast_convert_type(leaf, unsigned)
    here = jnp.arange(leaf.shape[0]) == slot
    here = here.reshape(-1, *[1] * (leaf.ndim - 1))
    bits = jnp.where(here, bits.astype(wide), 0)
    bits = bits.sum(0, keepdims=True, dtype=wide).astype(unsigned)
    if flag:
      return bits.astype(bool)
    return jax.lax.bitcast_convert_type(bits, leaf.dtype)

  return jax.tree.map(take, state)
