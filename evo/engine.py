"""The engine: runs legs on this process's mesh and returns their results.

Slots are refilled when their leg ends, like continuous batching. The table of
slots is plain bookkeeping, so a ledger can be replayed through it without a
device; the arrays follow from a checkpoint.
"""

import dataclasses
import time
from concurrent import futures
from typing import Any

import jax
import numpy as np
from etils import epath

from evo import checkpoint as checkpoint_lib
from evo import member as member_lib
from evo import population as population_lib
from evo import program as program_lib
from evo import slots as slots_lib
from evo import space as space_lib
from evo import trainee as trainee_lib

Leg = member_lib.Leg
Result = member_lib.Result
Weights = member_lib.Weights


@dataclasses.dataclass(frozen=True)
class Budget:
  """What one member may spend.

  Attributes:
    flops: of training one member; steps follow from its structure.
    segments: into which it is cut; legs begin and end on these.
  """

  flops: float
  segments: int

  def steps(self, cost: trainee_lib.Cost) -> int:
    """Training steps in one segment, rounded down."""
    return int(self.flops / cost.flops_per_step * (1 + 1e-9)) // self.segments


@dataclasses.dataclass
class _Round:
  """A dispatched round.

  Attributes:
    begin: monotonic second of the dispatch.
    legs: at work in each slot, or None.
    losses: mean training losses, `[slot]`.
    metrics: by split, `[slot]`, of the legs that end with this round.
    trained: will hold the monotonic second at which the segment was done.
    evaluated: likewise for the evaluations.
  """

  begin: float
  legs: list[Leg | None]
  losses: Any
  metrics: dict[str, jax.Array]
  trained: futures.Future | None = None
  evaluated: futures.Future | None = None


def kept_name(weights: Weights) -> str:
  """Name of the checkpoint of a kept state."""
  return f'member-{weights[0]}-{weights[1]}'


class Engine:
  """Runs legs in the slots of a population.

  Attributes:
    budget: of one member.
    slots: the table, one entry per slot.
    cost: of one member.
    steps: of training in one segment.
    checkpoints: of kept members and of all slots.
    meter: where the time went.
  """

  def __init__(
    self,
    trainee: trainee_lib.Trainee,
    space: space_lib.Space,
    budget: Budget,
    workdir: epath.PathLike,
    *,
    slots: int,
    mesh: jax.sharding.Mesh | None = None,
    mapped: bool = True,
  ):
    """Puts the data on the devices; compiles and writes nothing yet.

    Args:
      trainee: what a member is.
      space: of its configurations.
      budget: of one member.
      workdir: checkpoints go to a folder in it.
      slots: members that train side by side.
      mesh: from `population.make_mesh`; by default as many devices as divide
        the slots.
      mapped: run a device's members one after another instead of vmapped.

    Raises:
      ValueError: the budget is too small for one step per segment, or the
        slots do not divide over the mesh.
    """
    self.budget = budget
    self.meter = program_lib.Meter()
    self._trainee, self._space = trainee, space
    self.checkpoints = checkpoint_lib.Checkpoints(
      epath.Path(workdir) / 'checkpoints'
    )
    mesh = population_lib.make_mesh(_divisor(slots)) if mesh is None else mesh
    self.slots = slots_lib.Table(slots, mesh.shape['member'])
    self._structure = space.structure(space.baseline)
    self.cost = trainee.cost(self._structure)
    self.steps = budget.steps(self.cost)
    if self.steps < 1:
      raise ValueError(
        f'the budget is {budget.flops:.3g} FLOPs a member; expected at least'
        f' {budget.segments * self.cost.flops_per_step:.3g}, one step in each'
        f' of {budget.segments} segments'
      )
    self._population = population_lib.Population(
      trainee,
      self._structure,
      tuple(space.hyperparameters(space.baseline)),
      slots=slots,
      steps=self.steps,
      total_steps=self.steps * budget.segments,
      mesh=mesh,
      data=jax.device_put(
        trainee.data, jax.NamedSharding(mesh, population_lib.SHARED)
      ),
      mapped=mapped,
      meter=self.meter,
    )
    self._is_compiled = False
    self._round: _Round | None = None  # Dispatched, not yet collected.
    self._last: _Round | None = None  # Collected; its losses are not yet read.
    self._ready = 0.0  # Monotonic second at which the devices were last done.
    # Notes when arrays are ready, however long the host takes to look.
    self._watch = futures.ThreadPoolExecutor(max_workers=1)

  def segment_flops(self, members: int) -> float:
    """Charge of one segment of so many members."""
    return members * self.steps * self.cost.flops_per_step

  @property
  def member_flops(self) -> float:
    """Charge of one whole member, one evaluation included."""
    training = self.budget.segments * self.segment_flops(1)
    return training + max(self.cost.flops_per_evaluation.values())

  @property
  def splits(self) -> tuple[str, ...]:
    """Splits that can be scored."""
    return tuple(name for name in self._trainee.data if name != 'train')

  @property
  def row(self) -> Any:
    """Shapes and dtypes of one member's state."""
    return self._population.row

  def free(self) -> int:
    """Slots without a leg."""
    return self.slots.free()

  def idle(self) -> bool:
    """Whether no leg is at work."""
    return self.free() == len(self.slots)

  def start(self, legs: list[Leg], *, replay: bool = False) -> None:
    """Puts legs into free slots, with the weights that they name.

    Args:
      legs: at most `free()`.
      replay: keep the table only; the arrays come from a checkpoint.
    """
    filling = self.slots.start(legs)
    if not replay:
      self._fill(filling)

  def compile(self) -> None:
    """Compiles what every round needs, side by side; a second call is free."""
    if not self._is_compiled:
      idle = self._arrays([None] * len(self.slots))
      self._population.compile(idle, ('search',))
      self._is_compiled = True

  def dispatch(self) -> None:
    """Starts one segment, and the evaluations of the legs that end with it."""
    begin = time.monotonic()
    losses = self._population.segment(self._arrays(self.slots.legs))
    ending = self.slots.ending()
    metrics = {}
    for split in sorted({s for leg in ending if leg for s in leg.splits}):
      scored = [leg if leg and split in leg.splits else None for leg in ending]
      metrics[split] = self._population.evaluate(self._arrays(scored), split)
    self._round = _Round(
      begin,
      self.slots.legs,
      losses,
      metrics,
      trained=self._watch.submit(_ready_at, losses),
      evaluated=self._watch.submit(_ready_at, metrics) if metrics else None,
    )

  def collect(self) -> list[Result]:
    """Results of the round just dispatched; waits only if a leg ends in it.

    A member whose training loss is not finite is culled one round later, so
    that nothing has to wait for it.
    """
    this, self._round = self._round, None
    dead = self._dead()
    metrics = {}
    if this.metrics:
      self._settle_clock(this)
      metrics = {k: np.asarray(v) for k, v in this.metrics.items()}
    self._last = this
    results = []
    for i, (leg, ends) in enumerate(zip(this.legs, self.slots.ending())):
      stop = self.slots[i].done + 1
      if leg and i in dead:
        results.append(self._result(leg, stop, None))
      elif ends:
        losses = {split: float(metrics[split][i]) for split in leg.splits}
        results.append(self._result(leg, stop, losses))
    # By id, so that a record does not tell which slots the members were in.
    return sorted(results, key=lambda result: result.leg.member)

  def settle(self, results: list[Result], *, replay: bool = False) -> None:
    """Advances the table by one segment and frees the slots of `results`."""
    self.slots.settle(results)
    for result in results:
      if result.leg.keep and result.ok and not replay:
        self.keep((result.leg.member, result.stop))

  def keep(self, weights: Weights) -> None:
    """Saves the state of a member that is still held in a slot."""
    row = self._population.take(self.slots.find(weights))
    self.checkpoints.save(kept_name(weights), row, remember=True)

  def restore_kept(self, weights: Weights) -> Any:
    """The kept state of a member, on the host."""
    abstract = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype),
      self._population.row,
    )
    rows = self.checkpoints.restore(kept_name(weights), abstract)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], rows)

  def save(self, name: str) -> None:
    """Saves all slots, and which members turned out dead in the last round."""
    legs, losses = self._last.legs, self._last.losses

    def note() -> dict[str, list[int]]:
      finite = np.isfinite(np.asarray(losses))
      members = [leg.member for leg, ok in zip(legs, finite) if leg and not ok]
      return {'dead': members}

    self.checkpoints.save(name, self._population.snapshot(), note)

  def restore(self, name: str) -> None:
    """Reads all slots back; the table must have been replayed up to there."""
    self._population.state = self.checkpoints.restore(
      name, self._population.abstract_state()
    )
    dead = self.checkpoints.note(name)['dead']
    legs = self.slots.legs
    losses = [np.nan if leg and leg.member in dead else 0.0 for leg in legs]
    self._last = _Round(0.0, legs, np.array(losses), {})

  @property
  def state_bytes(self) -> int:
    """Size of all slots."""
    return sum(x.nbytes for x in jax.tree.leaves(self._population.state))

  def _fill(self, filling: slots_lib.Filling) -> None:
    population, size = self._population, len(self.slots)
    if filling.moved:
      population.inherit(np.array(filling.moves))
    if filling.fresh:
      fresh = np.isin(np.arange(size), filling.fresh)
      population.refill(self._arrays(self.slots.legs), fresh)
    for place, weights in filling.restored.items():
      population.place(place, self.restore_kept(weights))
    if filling.any():
      # Waiting here keeps the filling of slots out of the training time.
      jax.block_until_ready(population.state)

  def _arrays(self, legs: list[Leg | None]) -> population_lib.Slots:
    baseline = self._space.hyperparameters(self._space.baseline)
    rows = [
      self._space.hyperparameters(leg.configuration) if leg else baseline
      for leg in legs
    ]
    return population_lib.Slots(
      hyperparameters={
        name: np.array([row[name] for row in rows], np.float32)
        for name in baseline
      },
      seed=np.array([leg.seed if leg else 0 for leg in legs], np.int32),
      step=np.array([slot.done * self.steps for slot in self.slots], np.int32),
      active=np.array([leg is not None for leg in legs]),
    )

  def _dead(self) -> set[int]:
    """Slots whose leg was already lost in the round before."""
    last = self._last
    if last is None:
      return set()
    self._settle_clock(last)
    losses = np.asarray(last.losses)
    return {
      i
      for i, leg in enumerate(self.slots.legs)
      if leg and leg is last.legs[i] and not np.isfinite(losses[i])
    }

  def _result(
    self, leg: Leg, stop: int, metrics: dict[str, float] | None
  ) -> Result:
    """The result of a leg; `metrics` is None where the member was culled."""
    cost, steps = self.cost, (stop - leg.start) * self.steps
    ok = metrics is not None and bool(
      np.all(np.isfinite(list(metrics.values())))
    )
    metrics = metrics or {}
    return Result(
      leg=leg,
      status=member_lib.OK if ok else member_lib.DIVERGED,
      metrics=metrics if ok else {},
      flops=steps * cost.flops_per_step
      + sum(cost.flops_per_evaluation[split] for split in metrics),
      tokens=steps * cost.tokens_per_step,
      stop=stop,
    )

  def _settle_clock(self, this: _Round) -> None:
    """Waits for a round and meters it, once."""
    if this.trained is None:
      return
    done = this.trained.result()
    self.meter.training += done - max(self._ready, this.begin)
    self._ready = done
    if this.evaluated is not None:
      self._ready = this.evaluated.result()
      self.meter.evaluating += self._ready - done
    this.trained = None


def _divisor(slots: int) -> dict[str, int]:
  """As many devices as divide the slots."""
  sizes = range(1, jax.device_count() + 1)
  return {'member': max(size for size in sizes if slots % size == 0)}


def _ready_at(arrays: Any) -> float:
  jax.block_until_ready(arrays)
  return time.monotonic()
