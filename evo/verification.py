"""Verification: what the search found, trained again from scratch."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from evo import member as member_lib
from evo import statistics

Configuration = member_lib.Configuration
Leg = member_lib.Leg
Result = member_lib.Result


@dataclasses.dataclass(frozen=True)
class Piece:
  """A stretch of training under one configuration.

  Attributes:
    configuration: in effect.
    stop: segments behind the lineage at its end.
  """

  configuration: Configuration
  stop: int


Schedule = tuple[Piece, ...]


def constant(configuration: Configuration, segments: int) -> Schedule:
  """One configuration for the whole budget."""
  return (Piece(configuration, segments),)


def constants(
  configurations: dict[str, Configuration], segments: int
) -> dict[str, Schedule]:
  """Each of some configurations for the whole budget."""
  return {
    arm: constant(configuration, segments)
    for arm, configuration in configurations.items()
  }


def search_legs(records: Sequence[dict[str, Any]]) -> list[Leg]:
  """All legs of the search in a ledger, in order of asking."""
  return [
    member_lib.Leg.from_json(leg)
    for record in records
    if record['phase'] == 'search'
    for leg in record['legs']
  ]


def lineage_schedule(legs: list[Leg], member: int, segments: int) -> Schedule:
  """The configurations under which a member's weights were trained, in order.

  Args:
    legs: all legs of the search, in order of asking.
    member: that reached the end of its budget.
    segments: of the budget.

  Returns:
    Pieces from 0 to `segments`, equal neighbours merged.
  """
  pieces: list[Piece] = []
  end = segments
  while end > 0:
    leg = next(
      leg
      for leg in reversed(legs)
      if leg.member == member and leg.start < end <= leg.stop
    )
    if pieces and pieces[0].configuration == leg.configuration:
      pieces[0] = Piece(leg.configuration, pieces[0].stop)
    else:
      pieces.insert(0, Piece(leg.configuration, end))
    end = leg.start
    member = leg.source[0] if leg.source else member
  return tuple(pieces)


class Confirmation:
  """Schedules trained from scratch, on fresh paired seeds.

  The runs of a seed share their initialisation and their batches (common
  random numbers), whatever their arm, and are scored on the confirm split,
  which the search never reads. Asked and told like a strategy.

  Attributes:
    members: next free id.
    results: of the runs that ended, by member.
  """

  def __init__(
    self,
    arms: dict[str, Schedule],
    *,
    seeds: list[int],
    first_member: int,
    splits: tuple[str, ...],
  ):
    """Plans one run for each seed and arm.

    Args:
      arms: schedules by name.
      seeds: none of which the search used.
      first_member: id of the first run.
      splits: scored at the end; the first one decides.
    """
    self._splits, self._arms, self._seeds = splits, arms, seeds
    self._runs = {
      first_member + len(arms) * i + j: (arm, i)
      for i in range(len(seeds))
      for j, arm in enumerate(arms)
    }
    self.members = first_member + len(self._runs)
    self._waiting = [(member, 0) for member in self._runs]
    self.results: dict[int, Result] = {}

  def ask(self, n: int, fresh: int | None = None) -> list[Leg]:
    """Legs for at most `n` free slots; see `Strategy.ask`."""
    del fresh  # A confirmation is run whole or not at all.
    chosen, self._waiting = self._waiting[:n], self._waiting[n:]
    return [self._leg(member, piece) for member, piece in chosen]

  def tell(self, results: list[Result]) -> None:
    """Takes results; a run with a further piece goes on."""
    for result in results:
      member = result.leg.member
      schedule = self._arms[self._runs[member][0]]
      stops = [piece.stop for piece in schedule]
      if result.ok and result.leg.stop < stops[-1]:
        self._waiting.append((member, stops.index(result.leg.stop) + 1))
      else:
        self.results[member] = result
    self._sort()

  def losses(self, arm: str, split: str | None = None) -> list[float]:
    """Losses of an arm by seed; infinite where a run failed.

    Args:
      arm: its name.
      split: scored; the one that decides by default.
    """
    split = split or self._splits[0]
    return [
      self.results[member].metrics.get(split, math.inf)
      for member, (name, _) in self._runs.items()
      if name == arm
    ]

  def gain(self) -> statistics.Interval | None:
    """Baseline minus champion on the split that decides; positive is better.

    Returns:
      Mean and 95% interval over the pairs; None if a run failed.
    """
    pairs = zip(self.losses('baseline'), self.losses('champion'))
    differences = [before - after for before, after in pairs]
    if not all(math.isfinite(d) for d in differences):
      return None
    return statistics.t_interval(differences)

  def _sort(self) -> None:
    self._waiting.sort(key=lambda run: (self._order(run[0]), run))

  def _order(self, member: int) -> tuple[int, ...]:
    """Of two runs that wait, the one that is less begins first."""
    return (member,)

  def _leg(self, member: int, number: int) -> Leg:
    arm, seed = self._runs[member]
    piece = self._arms[arm][number]
    start = self._arms[arm][number - 1].stop if number else 0
    last = number == len(self._arms[arm]) - 1
    return Leg(
      member=member,
      parent=None,
      configuration=piece.configuration,
      source=(member, start) if number else None,
      start=start,
      stop=piece.stop,
      seed=self._seeds[seed],
      splits=self._splits if last else (),
      arm=arm,
    )
