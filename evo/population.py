"""Populations: the slots of one species, trained by one program.

Everything static is in the structure, everything that mutates is an array
`[slot]`, everything that trains is an array `[slot, ...]` sharded over the
mesh's `member` axis. A device runs its own slots only: no program here has a
collective over `member`, inheritance excepted.
"""

import concurrent.futures
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evo import inheritance, placement
from evo import program as program_lib
from evo import trainee as trainee_lib

PyTree = Any
AXES = ('member', 'data', 'fsdp', 'tensor')
MEMBER = jax.P('member')
SHARED = jax.P()


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Slots:
  """What the slots are to do, one entry per slot.

  Attributes:
    hyperparameters: float32 `[slot]` each.
    seed: of the member, int32 `[slot]`.
    step: training steps behind the lineage, int32 `[slot]`.
    active: whether the slot is at work, bool `[slot]`. Idle slots keep their
      state; where members are mapped they also cost nothing.
  """

  hyperparameters: dict[str, Any]
  seed: Any
  step: Any
  active: Any


def make_mesh(sizes: dict[str, int]) -> jax.sharding.Mesh:
  """A mesh over all four axes, in one place; sizes of 1 are kept.

  Raises:
    ValueError: not every host would have as many of its devices.
  """
  shape = tuple(sizes.get(axis, 1) for axis in AXES)
  kinds = (jax.sharding.AxisType.Explicit,) * len(AXES)
  total, hosts = math.prod(shape), jax.process_count()
  if total % hosts:
    raise ValueError(
      f'the mesh has {total} devices; expected a multiple of the {hosts} hosts'
    )
  devices = [
    device
    for host in range(hosts)
    for device in jax.local_devices(host)[: total // hosts]
  ]
  return jax.make_mesh(shape, AXES, axis_types=kinds, devices=devices)


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
      mesh: from `make_mesh`.
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
    self._trainee, self._structure = trainee, structure
    self._total_steps, self._mesh, self._data = total_steps, mesh, data
    self._mapped, self.meter = mapped, meter
    self._sharding = jax.NamedSharding(mesh, MEMBER)
    self.row = jax.eval_shape(
      lambda: trainee.init(
        structure,
        {name: jnp.float32(0) for name in names},
        jnp.int32(0),
      )
    )
    self._names, self.compiled = names, False
    self.state: PyTree = None
    self._programs = {
      'refill': self._program(self._refill, (MEMBER,) * 3, donate=0),
      'inherit': self._program(self._inherit, (MEMBER,) * 2, donate=0),
      'place': self._program(self._place, (MEMBER, SHARED, SHARED), donate=0),
      'take': self._program(self._take, (MEMBER, SHARED), out=SHARED),
      'snapshot': self._program(self._copy, (MEMBER,)),
      'segment': self._program(
        self._segment, (SHARED, MEMBER, MEMBER, SHARED), donate=1
      ),
    }

  def compile(self, splits: tuple[str, ...]) -> None:
    """Compiles side by side what every round needs; a second call is free."""
    if self.compiled:
      return
    slots = self._abstract_slots()
    total = self._abstract(np.float32, SHARED)
    state, data = self.abstract_state(), self._data
    jobs = [
      ('refill', (state, slots, slots.active)),
      ('segment', (data['train'], state, slots, total)),
      *((self._evaluation(s), (data[s], state, slots)) for s in splits),
    ]
    with concurrent.futures.ThreadPoolExecutor() as pool:
      futures = [
        pool.submit(self._programs[name].compile, *args) for name, args in jobs
      ]
      for future in futures:
        future.result()
    self.compiled = True

  @property
  def state_bytes(self) -> int:
    """Of all slots, on each device."""
    leaves = jax.tree.leaves(self.row)
    row = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    return row * self.slots // self._mesh.shape['member']

  @property
  def peak_bytes(self) -> int:
    """Of a segment on each device, state and data included; once compiled."""
    return self._programs['segment'].peak_bytes()

  def allocate(self) -> None:
    """Makes room for the slots, unless there is some."""
    if self.state is None:
      self.state = jax.tree.map(self._zeros, self.row)

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
    row, slot = self._share((row, np.int32(slot)))
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
    """A copy of one slot's state, `[1, ...]`, on a device of this host.

    Every host gets one. Does not wait.
    """
    copies = self._programs['take'](self.state, self._share(np.int32(slot)))
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), copies)

  def snapshot(self) -> PyTree:
    """A copy of all slots that later segments leave alone; does not wait."""
    return self._programs['snapshot'](self.state)

  def abstract_state(self) -> PyTree:
    """Shapes, dtypes and shardings of `state`."""
    return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(
        (self.slots, *leaf.shape), leaf.dtype, sharding=self._sharding
      ),
      self.row,
    )

  def compiled_texts(self) -> list[str]:
    """Optimised programs compiled so far, for looking at their collectives."""
    return [program.text() for program in self._programs.values()]

  # What follows runs on the devices, inside `shard_map`: leading axes are the
  # slots of one device.

  def _refill(self, state: PyTree, slots: Slots, fresh: jax.Array) -> PyTree:
    def fill(j: int, state: PyTree) -> PyTree:
      def init(state: PyTree) -> PyTree:
        hyperparameters = jax.tree.map(lambda x: x[j], slots.hyperparameters)
        row = self._trainee.init(
          self._structure, hyperparameters, slots.seed[j]
        )
        return _write(state, row, j)

      return jax.lax.cond(fresh[j], init, lambda state: state, state)

    return jax.lax.fori_loop(0, fresh.shape[0], fill, state)

  def _inherit(self, state: PyTree, parent: jax.Array) -> PyTree:
    return inheritance.ring_copy(
      state, parent, axis='member', devices=self._mesh.shape['member']
    )

  def _place(self, state: PyTree, row: PyTree, slot: jax.Array) -> PyTree:
    j, here = self._local(slot)
    kept = jax.tree.map(lambda x: x[j], state)
    row = jax.tree.map(lambda new, old: jnp.where(here, new, old), row, kept)
    return _write(state, row, j)

  def _take(self, state: PyTree, slot: jax.Array) -> PyTree:
    j, here = self._local(slot)

    def copy(leaf: jax.Array) -> jax.Array:
      row = jax.lax.dynamic_index_in_dim(leaf, j, keepdims=True)
      return placement.broadcast(row, here, 'member')

    return jax.tree.map(copy, state)

  def _local(self, slot: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The row of a slot on this device, and whether it is here at all."""
    rows = self.slots // self._mesh.shape['member']
    j = slot - jax.lax.axis_index('member') * rows
    return jnp.clip(j, 0, rows - 1), (j >= 0) & (j < rows)

  def _copy(self, state: PyTree) -> PyTree:
    return jax.tree.map(jnp.copy, state)

  def _segment(
    self, data: PyTree, state: PyTree, slots: Slots, total: jax.Array
  ) -> tuple[PyTree, jax.Array]:
    def member(state: PyTree, slot: Slots) -> tuple[PyTree, jax.Array]:
      def step(state: PyTree, k: jax.Array) -> tuple[PyTree, jax.Array]:
        now = slot.step + k
        return self._trainee.step(
          self._structure,
          data,
          slot.hyperparameters,
          state,
          slot.seed,
          now,
          now / total,
        )

      def train(state: PyTree) -> tuple[PyTree, jax.Array]:
        state, losses = jax.lax.scan(step, state, jnp.arange(self.steps))
        return state, jnp.mean(losses)

      def rest(state: PyTree) -> tuple[PyTree, jax.Array]:
        return state, jnp.float32(0)

      return jax.lax.cond(slot.active, train, rest, state)

    return self._map(member, state, slots)

  def _evaluate(self, data: PyTree, state: PyTree, slots: Slots) -> jax.Array:
    def member(state: PyTree, slot: Slots) -> jax.Array:
      def score(state: PyTree) -> jax.Array:
        return self._trainee.evaluate(
          self._structure, data, slot.hyperparameters, state
        )

      def rest(state: PyTree) -> jax.Array:
        return jnp.float32(0)

      return jax.lax.cond(slot.active, score, rest, state)

    return self._map(member, state, slots)

  # Host side again.

  def _map(self, function: Callable, *args: PyTree) -> PyTree:
    if self._mapped:
      return jax.lax.map(lambda row: function(*row), args)
    return jax.vmap(function)(*args)

  def _program(
    self,
    function: Callable,
    specs: tuple,
    donate: int | None = None,
    out: jax.P = MEMBER,
  ) -> program_lib.Program:
    mapped = jax.shard_map(
      function,
      mesh=self._mesh,
      in_specs=specs,
      out_specs=out,
      check_vma=False,
    )
    donated = () if donate is None else (donate,)
    return program_lib.Program(mapped, self.meter, donate_argnums=donated)

  def _evaluation(self, split: str) -> str:
    """Name of the program that scores a split; equal shapes share one."""
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), self._data[split])
    name = f'evaluate {jax.tree.leaves(shapes)}'
    if name not in self._programs:
      self._programs[name] = self._program(
        self._evaluate, (SHARED, MEMBER, MEMBER)
      )
    return name

  def _abstract(
    self, dtype: Any, spec: jax.P, shape: tuple[int, ...] = ()
  ) -> jax.ShapeDtypeStruct:
    sharding = jax.NamedSharding(self._mesh, spec)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

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
    return placement.put(tree, jax.NamedSharding(self._mesh, SHARED))

  def _zeros(self, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    return jnp.zeros(
      (self.slots, *leaf.shape), leaf.dtype, device=self._sharding
    )

  def _put(self, tree: PyTree) -> PyTree:
    return placement.put(tree, self._sharding)


def _write(state: PyTree, row: PyTree, j: jax.Array) -> PyTree:
  return jax.tree.map(
    lambda x, r: jax.lax.dynamic_update_index_in_dim(x, r, j, 0), state, row
  )
