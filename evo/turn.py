"""A turn of a species on the devices: what was dispatched, and when it was done."""

import dataclasses
import time
from concurrent import futures
from typing import Any

import jax
import numpy as np

from evo import member as member_lib
from evo import program as program_lib

Leg = member_lib.Leg


@dataclasses.dataclass
class Turn:
  """One species' share of a round.

  Attributes:
    legs: at work in each slot, or None.
    losses: mean training losses, `[slot]`.
    metrics: by split, `[slot]`, of the legs that end with this round.
    begin: monotonic second of the dispatch.
    trained: will hold the monotonic second at which the segment was done.
    evaluated: likewise for the evaluations.
  """

  legs: list[Leg | None]
  losses: Any
  metrics: dict[str, jax.Array]
  begin: float = 0.0
  trained: futures.Future | None = None
  evaluated: futures.Future | None = None

  def read(self) -> dict[int, dict[str, float]]:
    """Metrics by member; waits for them."""
    host = {split: np.asarray(array) for split, array in self.metrics.items()}
    return {
      leg.member: {split: float(host[split][i]) for split in host}
      for i, leg in enumerate(self.legs)
      if leg
    }

  def dead(self) -> set[int]:
    """Members whose training loss is not finite; waits for the losses."""
    losses = np.asarray(self.losses)
    return {
      leg.member
      for leg, loss in zip(self.legs, losses)
      if leg and not np.isfinite(loss)
    }


class Stopwatch:
  """Meters the turns of rounds: devices run them one after another."""

  def __init__(self, meter: program_lib.Meter):
    self._meter = meter
    self._ready = 0.0  # Monotonic second at which the devices were last done.
    # Notes when arrays are ready, however long the host takes to look.
    self._watch = futures.ThreadPoolExecutor(max_workers=1)

  def start(self, turn: Turn, begin: float) -> None:
    """Begins to watch a turn that was dispatched from `begin` on."""
    turn.begin = begin
    turn.trained = self._watch.submit(_ready_at, turn.losses)
    if turn.metrics:
      turn.evaluated = self._watch.submit(_ready_at, turn.metrics)

  def stop(self, turn: Turn) -> None:
    """Waits for a turn and meters it once; turns in order of dispatch."""
    if turn.trained is None:
      return
    done = turn.trained.result()
    self._meter.training += done - max(self._ready, turn.begin)
    self._ready = done
    if turn.evaluated is not None:
      self._ready = turn.evaluated.result()
      self._meter.evaluating += self._ready - done
    turn.trained = None


def _ready_at(arrays: Any) -> float:
  jax.block_until_ready(arrays)
  return time.monotonic()
