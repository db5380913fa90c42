"""Hyperband: successive halving from several lowest rungs in turn."""

import dataclasses
from typing import Any

import numpy as np

from evo import member as member_lib
from evo import space as space_lib
from evo import strategy
from evo.strategies import rungs


@dataclasses.dataclass
class _Bracket:
  """One run of successive halving.

  Attributes:
    rungs: where it halves, in segments, ascending; the last is the budget.
    size: members that start in it.
    eta: one in so many members goes on at each rung.
    rung: number of the rung that its members are on the way to, from 0.
    members: configurations of those on the way or there, by id.
    waiting: ids of those that may go on and have not been asked to.
    losses: told at this rung, by id; infinite for failures.
  """

  rungs: tuple[int, ...]
  size: int
  eta: int
  rung: int = 0
  members: dict[int, member_lib.Configuration] = dataclasses.field(
    default_factory=dict
  )
  waiting: list[int] = dataclasses.field(default_factory=list)
  losses: dict[int, float] = dataclasses.field(default_factory=dict)

  @property
  def start(self) -> int:
    """Where its members come from, in segments."""
    return self.rungs[self.rung - 1] if self.rung else 0

  @property
  def stop(self) -> int:
    """Where its members go to, in segments."""
    return self.rungs[self.rung]

  @property
  def open(self) -> bool:
    """Whether more members are to start in it."""
    return self.rung == 0 and len(self.members) < self.size

  @property
  def told(self) -> bool:
    """Whether all members that it has have come to the rung."""
    return len(self.losses) == len(self.members)

  @property
  def chosen(self) -> list[int]:
    """Members that go on if no better ones come to the rung, best first."""
    if self.stop == self.rungs[-1]:
      return []
    count = max(1, self.size // self.eta ** (self.rung + 1))
    return rungs.best(self.losses, count)

  def halve(self) -> None:
    """Sends the chosen on to the next rung, and drops the others."""
    self.waiting = self.chosen
    self.members = {m: self.members[m] for m in self.waiting}
    self.losses = {}
    self.rung += 1


class Hyperband(rungs.Rungs):
  """Hyperband.

  Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
  Optimization", arXiv 1603.06560. Successive halving has to choose between
  many members judged early and few judged late; Hyperband takes all choices
  in turn. Of L rungs, bracket s = L - 1, ..., 0 starts floor(L / (s + 1)) *
  eta**s members at the rung that has s others above it, waits until all have
  come there, sends the best in eta on, and so forth. These are the sizes of
  the paper's table 1; its algorithm 1 rounds them up instead, which does not
  give whole rungs. Brackets follow each other, in that order, for ever.

  No slot waits for a bracket: when it has nothing to ask, the next one starts.
  Where no member may start any more, the bracket that is still being filled is
  halved with those that it has, one at least going on.

  Failures never go on, so a rung may have fewer members than the table.
  """

  def __init__(self, space: space_lib.Space, **shared: Any):
    """Sets up.

    Args:
      space: what may change.
      **shared: of `Rungs`: `eta`, `grace`; and of `Strategy`.
    """
    super().__init__(space, **shared)
    self._begun = 0  # Brackets so far.
    self._brackets: list[_Bracket] = []  # Unfinished; only the last is open.

  def _ask(
    self, n: int, fresh: int | None, rng: np.random.Generator
  ) -> list[strategy.Leg]:
    del rng  # Members are drawn by their number.
    legs = []
    for bracket in self._brackets:
      legs += self._go_on(bracket, n - len(legs))
    for _ in range(strategy.startable(n - len(legs), fresh)):
      legs.append(self._start())
    if len(legs) < n:
      legs += self._cut_short(n - len(legs))
    return legs

  def _stood(self, result: strategy.Result) -> None:
    member = result.leg.member
    bracket = next(b for b in self._brackets if member in b.members)
    # As it was run: a proposal without a seat gets another structure.
    bracket.members[member] = result.leg.configuration
    bracket.losses[member] = strategy.selection_loss(result)
    if bracket.told and not bracket.open:
      if bracket.chosen:
        bracket.halve()
      else:
        self._brackets.remove(bracket)

  def _waiting(self) -> set[member_lib.Weights]:
    there = {(m, b.stop) for b in self._brackets for m in b.chosen}
    return there | {(m, b.start) for b in self._brackets for m in b.waiting}

  def _start(self) -> strategy.Leg:
    """The first leg of a new member."""
    if not self._brackets or not self._brackets[-1].open:
      self._brackets.append(self._next_bracket())
    bracket, member = self._brackets[-1], self._new_id()
    bracket.members[member] = self.initial_configuration(member)
    return self._launch(member, bracket.members[member], bracket.stop)

  def _next_bracket(self) -> _Bracket:
    count, lowest = len(self.rungs), self._begun % len(self.rungs)
    self._begun += 1
    above = count - 1 - lowest
    size = count // (above + 1) * self.eta**above
    return _Bracket(self.rungs[lowest:], size, self.eta)

  def _go_on(self, bracket: _Bracket, n: int) -> list[strategy.Leg]:
    """Legs of at most n members that wait to go on."""
    asked, bracket.waiting = bracket.waiting[:n], bracket.waiting[n:]
    return [
      self._launch(m, bracket.members[m], bracket.stop, bracket.start)
      for m in asked
    ]

  def _cut_short(self, n: int) -> list[strategy.Leg]:
    """Halves the open bracket as it stands, if somebody can go on."""
    for bracket in self._brackets[-1:]:
      if bracket.open and bracket.told and bracket.chosen:
        bracket.size = len(bracket.members)
        bracket.halve()
        return self._go_on(bracket, n)
    return []
