"""What a run takes of its chips, estimated from its compiled programs.

Three kinds of time are added up, as if nothing were done meanwhile: the cycles
for which the compiler has scheduled the program; kernels, of which it knows
none, at their FLOPs and half of the chip's peak; and what collectives send, at
what a link carries: both ways where a closed path of links joins the chips,
else one way (jax-ml.github.io/scaling-book/sharding). Tori are faster, and much
of what is sent is hidden behind products: so far the estimate is a careful one.
It was never compared with chips, and it leaves out compiling, checkpoints, and
what slices tell each other.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence

from evo import chips, collectives, hlo, program
from evo import trainee as trainee_lib

# What goes from one chip to one other, however many stand in a ring.
_ONE_WAY = 'collective-permute'
# Kernels are given this share of the peak.
_KERNEL_SHARE = 0.5
_KERNEL = 'custom_call_target="tpu_custom_call"'


@dataclasses.dataclass(frozen=True)
class Time:
  """Seconds of one run of a program.

  Attributes:
    scheduled: by the compiler.
    kernels: that it knows nothing of.
    sending: what collectives send.
  """

  scheduled: float
  kernels: float
  sending: float

  @property
  def seconds(self) -> float:
    return self.scheduled + self.kernels + self.sending


def of_program(
  module: hlo.Module,
  chip: chips.Chip,
  found: Sequence[collectives.Collective],
  kernel_flops: Callable[[str], float],
  rings: Collection[str] = (),
) -> Time:
  """Of one run of a program.

  Args:
    module: compiled for the chip.
    chip: each of those that it runs on.
    found: its collectives.
    kernel_flops: of the text of a kernel's call.
    rings: axes of the mesh whose chips a closed path of links joins.
  """

  def kernel(instruction: hlo.Instruction) -> float:
    text = instruction.text
    return kernel_flops(text) if _KERNEL in text else 0.0

  def ways(c: collectives.Collective) -> int:
    return 2 if c.kind != _ONE_WAY and set(c.axes) <= set(rings) else 1

  sent = sum(
    c.sent * c.times / ways(c)
    for c in found
    if collectives.BETWEEN_SLICES not in c.axes
  )
  return Time(
    scheduled=chip.seconds(module),
    kernels=module.total(kernel) / chip.peak / _KERNEL_SHARE,
    sending=sent / chip.link,
  )


@dataclasses.dataclass(frozen=True)
class Estimate:
  """How fast a species trains.

  Attributes:
    chip: each of those that it runs on.
    chips: their number.
    slots: members that train side by side.
    steps: of training in a segment.
    cost: of a member.
    segment: of all slots.
  """

  chip: chips.Chip
  chips: int
  slots: int
  steps: int
  cost: trainee_lib.Cost
  segment: Time

  @property
  def step_seconds(self) -> float:
    """Of one training step of all slots."""
    return self.segment.seconds / self.steps

  @property
  def utilisation(self) -> float:
    """Share of the chips' peak that the model's own FLOPs come to.

    arXiv:2204.02311, appendix B: what is computed anew does not count.
    """
    flops = self.slots * self.cost.flops_per_step
    return flops / self.step_seconds / self.chips / self.chip.peak

  @property
  def tokens_per_second(self) -> float:
    """Of all slots."""
    return self.slots * self.cost.tokens_per_step / self.step_seconds


@dataclasses.dataclass(frozen=True)
class Footprint:
  """Bytes that a species takes on each chip while it has its turn.

  Attributes:
    data: the tokens, and what else does not grow with the slots.
    state: of its slots.
    others: of the slots of the other live species.
    copies: of all of these, while a checkpoint is being written.
    temporaries: the most that one of its programs needs beside its arguments.
  """

  data: float
  state: float
  others: float
  copies: float
  temporaries: float

  @property
  def total(self) -> float:
    return sum(dataclasses.astuple(self))

  def rows(self, chip: chips.Chip, rows: int, mapped: bool) -> int:
    """Slots that a chip's memory could hold.

    Args:
      chip: whose memory.
      rows: slots that it holds now.
      mapped: whether they take turns, so that they share the temporaries.
    """
    shared = self.data + (self.temporaries if mapped else 0)
    of_row = (self.total - shared) / rows
    return max(0, math.floor((chip.usable - shared) / of_row))


def footprint(
  memory: Sequence[program.Memory],
  state: float,
  data: float,
  others: float,
) -> Footprint:
  """Of a species.

  Args:
    memory: of its programs.
    state: bytes of its slots on each chip.
    data: likewise of the data.
    others: likewise of the slots of the other live species.
  """
  return Footprint(
    data=data,
    state=state,
    others=others,
    copies=state + others,
    temporaries=max(m.results + m.temporaries for m in memory),
  )


def run_seconds(
  members: float, slots: int, segments: int, segment: float, turn: float
) -> float:
  """Of training and scoring so many members from scratch.

  Args:
    members: in all.
    slots: that train side by side, all of them at work.
    segments: of each member.
    segment: seconds of one.
    turn: seconds between a member and the next in its slot.
  """
  return math.ceil(members / slots) * (segments * segment + turn)
