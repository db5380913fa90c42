"""A trial: contrasts between schedules, looked at while the pairs come in."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence

from scipy import special

from evo import member as member_lib
from evo import sequential, statistics, verification


@dataclasses.dataclass(frozen=True)
class Contrast:
  """Two arms of which one is expected to be better.

  Attributes:
    treatment: name of the arm expected to be better.
    control: name of the other one.
  """

  treatment: str
  control: str


@dataclasses.dataclass(frozen=True)
class Evidence:
  """What the pairs of a contrast say so far.

  Attributes:
    gains: control minus treatment, by pair, positive is better; infinite where
      one of the two failed, NaN where both did.
    looks: numbers of pairs after which the gains are looked at.
  """

  gains: tuple[float, ...]
  looks: tuple[int, ...]

  @property
  def n(self) -> int:
    """Pairs up to the last look; 0 before the first."""
    return sequential.reached(len(self.gains), self.looks) or 0

  @property
  def sound(self) -> bool:
    """Whether no run failed."""
    return all(map(math.isfinite, self.gains))

  @functools.cached_property
  def p(self) -> float:
    """One-sided repeated p-value of a gain above 0; 1 before the first look.

    A look at runs of which some failed is that of a sign test, in which a pair
    counts for the arm that did not fail: a change without which training breaks
    down is an improvement, though nobody can say of what size. Like that of
    `sequential.p_value` it never rises as further looks are reached.
    """
    if self.looks[-1] < 2:  # One pair tells nothing.
      return 1.0
    sound = list(itertools.takewhile(math.isfinite, self.gains))
    broken = [n for n in self.looks if len(sound) < n <= len(self.gains)]
    wins = [sum(gain > 0 for gain in self.gains[:n]) for n in broken]
    # At least as many wins in tosses of a coin.
    signs = [float(special.bdtrc(w - 1, n, 0.5)) for w, n in zip(wins, broken)]
    return min(
      sequential.p_value(sound, self.looks),
      sequential.crossing(min(signs, default=1.0), self.looks),
    )

  @functools.cached_property
  def interval(self) -> statistics.Interval | None:
    """Repeated 95% interval of the mean gain; None before the first look.

    None as well where a run failed, and for one pair.
    """
    if self.n < 2 or not self.sound:
      return None
    return sequential.interval(self.gains, self.looks)


Settled = Callable[[dict[str, Evidence]], set[str]]


class Trial(verification.Confirmation):
  """Contrasts between arms, each with as many pairs as it takes.

  All contrasts get the pairs of the first look. Once all of them have reached
  it, those that `settled` does not name get the pairs of the next, until the
  last: whether a contrast goes on may depend on what the others come to, but
  never on which runs end first. The runs of a look begin arm by arm, so that
  arms of one structure train together.

  Attributes:
    evidence: of each contrast that has reached a look, by name.
  """

  def __init__(
    self,
    arms: dict[str, verification.Schedule],
    contrasts: dict[str, Contrast],
    *,
    seeds: Sequence[int],
    looks: tuple[int, ...],
    settled: Settled,
    first_member: int,
    splits: tuple[str, ...],
  ):
    """Plans the pairs of the first look.

    Args:
      arms: schedules by name.
      contrasts: between arms, by name.
      seeds: one for each pair of the last look, none used before.
      looks: numbers of pairs, rising.
      settled: given the evidence of all contrasts that reached a look, names
        those that need no more pairs.
      first_member: id of the first run.
      splits: scored at the end; the first one decides.
    """
    super().__init__(
      arms,
      seeds=list(seeds[: looks[-1]]),
      first_member=first_member,
      splits=splits,
    )
    self._contrasts, self._looks, self._settled = contrasts, looks, settled
    self.evidence: dict[str, Evidence] = {}
    self._open, self._pairs = list(contrasts), looks[0]
    self._asked: set[int] = set()
    self._waiting = []
    self._plan()

  def ask(self, n: int, fresh: int | None = None) -> list[member_lib.Leg]:
    """Legs for at most `n` free slots, of which at most `fresh` begin a run."""
    fresh = n if fresh is None else fresh
    chosen = []
    for member, piece in self._waiting:
      begins = piece == 0
      if len(chosen) < n and (fresh or not begins):
        chosen.append((member, piece))
        fresh -= begins
    self._waiting = [run for run in self._waiting if run not in chosen]
    return [self._leg(member, piece) for member, piece in chosen]

  def tell(self, results: list[member_lib.Result]) -> None:
    """Takes results, and looks once all pairs until the look are complete."""
    super().tell(results)
    complete = [name for name in self._open if self._complete(name)]
    for name in complete:
      self.evidence[name] = self._evidence(name)
    if len(complete) == len(self._open):
      self._go_on()

  def _go_on(self) -> None:
    """Plans the next look of the contrasts that are not settled."""
    more = sequential.next_look(self._pairs, self._looks)
    if more is None or not self._open:
      self._open = []
      return
    settled = self._settled(dict(self.evidence))
    self._open = [name for name in self._open if name not in settled]
    self._pairs = more
    self._plan()

  def _plan(self) -> None:
    """Queues the runs that open contrasts still need."""
    for name in self._open:
      for member in self._members(name):
        if member not in self._asked:
          self._asked.add(member)
          self._waiting.append((member, 0))
    self._sort()

  def _order(self, member: int) -> tuple[int, ...]:
    arm, i = self._runs[member]
    return list(self._arms).index(arm), i

  def _members(self, name: str) -> list[int]:
    """Runs of a contrast until the look."""
    contrast = self._contrasts[name]
    return [
      member
      for member, (arm, i) in self._runs.items()
      if arm in (contrast.treatment, contrast.control) and i < self._pairs
    ]

  def _complete(self, name: str) -> bool:
    return all(member in self.results for member in self._members(name))

  def _evidence(self, name: str) -> Evidence:
    contrast = self._contrasts[name]
    losses = [
      self._losses(arm) for arm in (contrast.control, contrast.treatment)
    ]
    # Infinity minus infinity, of a pair that failed twice, is NaN.
    gains = (control - treatment for control, treatment in zip(*losses))
    return Evidence(tuple(gains), self._looks)

  def _losses(self, arm: str) -> list[float]:
    """Of the pairs until the look; infinite where a run failed."""
    return [
      self.results[member].metrics.get(self._splits[0], math.inf)
      for member, (name, i) in self._runs.items()
      if name == arm and i < self._pairs
    ]
