"""Ageing evolution with tournaments, recombination and inherited weights."""

import collections
import dataclasses
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from evo import member as member_lib
from evo import space as space_lib
from evo import strategy

Structure = tuple[tuple[str, Any], ...]


@dataclasses.dataclass
class Member:
  """A member in flight or in the window.

  Attributes:
    id: of the member.
    parent: whose configuration it descends from.
    configuration: of the member.
    origin: the root whose state at the inheritance point its lineage holds;
      its own id where it trains from scratch.
    root: configuration of the origin.
    done: segments behind its lineage.
    loss: at the end of its budget; infinite for a failure.
  """

  id: int
  parent: int | None
  configuration: member_lib.Configuration
  origin: int
  root: member_lib.Configuration
  done: int = 0
  loss: float = math.inf


class Evolution(strategy.Strategy):
  """Ageing ("regularised") evolution, asynchronous.

  Real, Aggarwal, Huang and Le, "Regularized Evolution for Image Classifier
  Architecture Search", arXiv 1802.01548. The window holds the members that
  finished last; the best of a random few of them is the parent of one mutated
  child; the oldest leaves the window, even the best, so that a lucky loss
  cannot rule for ever. The paper's 100 members and samples of 25 served 20
  thousand models; for 100 members, a window of 20 and tournaments of 5 did
  best or as well as the best on five tasks of 100 seeds, when a child had one
  parent or two (`evo/README.md`).

  A child has as many parents as it has parameters: each is from the winner of
  a tournament of its own, then one or two are mutated. Gene pool recombination
  of Muehlenbein and Voigt ("Gene Pool Recombination in Genetic Algorithms",
  1996), the global discrete recombination of evolution strategies: unlike one
  or two parents' mutants, such children lie as far apart as the good members
  do, so that few of them cover what those have found.

  No slot ever waits: until a member has finished well, further initial
  configurations are started.

  Inheritance. With `inherit_at` at 0 every child trains from scratch. Above,
  a member from scratch trains in two legs and its state between them, at
  h = floor(inherit_at * segments), is kept. A child starts there, from the
  state that its parent's lineage holds at h, and trains h to `segments`: all
  lineages are as long as each other. Since descendants all share the first h
  segments of a root, trained under the root's configuration, a share
  `scratch` of the children become roots themselves; otherwise every member
  for ever would descend from prefixes of the first few. So does a child whose
  structure `inherits` says is too far from its lineage's root. Where an heir
  is better than all roots, the next root has its configuration, since nothing
  else can show what it is worth; with `scratch` at 0 none is shown. What acts
  only where training begins, an heir has from its lineage's root; it is not
  changed in one that was to inherit, either, and is then refused.
  """

  def __init__(
    self,
    space: space_lib.Space,
    *,
    window: int | None = None,
    tournament: int = 5,
    crossover: float = 1.0,
    inherit_at: float = 0.0,
    scratch: float = 0.25,
    step: float = 0.15,
    resample: float = 0.1,
    inherits: Callable[[Structure, Structure], bool] = operator.eq,
    **shared: Any,
  ):
    """Sets up.

    Args:
      space: what may change.
      window: members that may be parents: those that finished last. By
        default 20, or twice the population if that is more.
      tournament: members drawn from the window, without replacement, of
        which the best is the parent.
      crossover: probability that a child is recombined before mutation: each
        of its parameters is that of the winner of a tournament of its own.
        The paper has none; `evo/README.md` says what it is worth.
      inherit_at: share of the budget, in [0, 1), that a child inherits.
      scratch: probability that a child trains from scratch though it could
        inherit.
      step: of `Space.mutate`, as a share of a parameter's range.
      resample: of `Space.mutate`, probability of a new draw instead.
      inherits: whether a child may take over weights, given the structures of
        its lineage's root and of itself; equal ones only by default.
      **shared: of `Strategy`. As many members as the population start first.
    """
    super().__init__(space, **shared)
    window = max(20, 2 * self.population) if window is None else window
    strategy.require('window', window, window >= 1, 'at least 1')
    strategy.require('tournament', tournament, tournament >= 1, 'at least 1')
    strategy.require(
      'inherit_at', inherit_at, 0 <= inherit_at < 1, 'a share in [0, 1)'
    )
    for name, value in (('crossover', crossover), ('scratch', scratch)):
      strategy.require(name, value, 0 <= value <= 1, 'a share in [0, 1]')
    self.tournament = tournament
    self.crossover = crossover
    self.scratch = scratch
    self.step = step
    self.resample = resample
    self.inherits = inherits
    self._continued = space.continued()
    self._shown: set[int] = set()  # Heirs that were trained from scratch too.
    self._root_loss = math.inf  # The least of those that trained from scratch.
    # Rounded first: .29 of 100 segments is 28.999999999999996 in floats.
    self.inherited = math.floor(round(inherit_at * self.segments, 9))
    # Where legs end, and what they are scored at; 0 is no place to end.
    self._stages = {self.inherited, self.segments} - {0}
    self._scored = {self.segments}
    self._flying: dict[int, Member] = {}
    self._ready: collections.deque[Member] = collections.deque()
    self._window: collections.deque[Member] = collections.deque(maxlen=window)

  def _ask(
    self, n: int, fresh: int | None, rng: np.random.Generator
  ) -> list[strategy.Leg]:
    legs = []
    while self._ready and len(legs) < n:
      legs.append(self._launch(self._ready.popleft()))
    for _ in range(strategy.startable(n - len(legs), fresh)):
      legs.append(self._launch(self._start(rng)))
    return legs

  def tell(self, results: list[strategy.Result]) -> None:
    # By id: what came in one batch must not depend on the slots it ran in.
    for result in sorted(results, key=lambda r: r.leg.member):
      member = self._flying.pop(result.leg.member)
      # As it was run: a proposal without a seat gets another structure.
      member.configuration = result.leg.configuration
      if member.origin == member.id:
        member.root = member.configuration
      member.done = result.stop
      if result.leg.stop < self.segments and result.ok:
        self._pause(member, result)
      else:
        member.loss = strategy.selection_loss(result)
        self._end(member)

  def pinned(self) -> set[member_lib.Weights]:
    parents = (m for m in self._window if math.isfinite(m.loss))
    flying = self._flying.values()
    going = (*self._ready, *flying)
    pinned = {(m.origin, self.inherited) for m in (*parents, *going)}
    pinned |= {(m.id, m.done) for m in going}
    pinned |= {(m.id, self._next_stage(m)) for m in flying}
    return {(m, stop) for m, stop in pinned if 0 < stop < self.segments}

  def _pause(self, member: Member, result: strategy.Result) -> None:
    """A leg ended well before the end of the budget."""
    del result
    self._ready.append(member)

  def _end(self, member: Member) -> None:
    """A member is through, or failed."""
    self._window.append(member)
    if member.origin == member.id:
      self._root_loss = min(self._root_loss, member.loss)

  def _next_stage(self, member: Member) -> int:
    return min(stage for stage in self._stages if stage > member.done)

  def _launch(self, member: Member) -> strategy.Leg:
    """The next leg of a member."""
    self._flying[member.id] = member
    stop = self._next_stage(member)
    holder = member.origin if member.done == self.inherited else member.id
    return strategy.Leg(
      member=member.id,
      parent=member.parent,
      configuration=member.configuration,
      source=(holder, member.done) if member.done else None,
      start=member.done,
      stop=stop,
      seed=self.member_seed,
      keep=stop < self.segments,
      # Scoring a leg that nothing is decided on would be wasted.
      splits=('search',) if stop in self._scored else (),
    )

  def _start(self, rng: np.random.Generator) -> Member:
    """A new member: an initial one, or a child of a tournament's winner."""
    member = self._new_id()
    if self.early(member) or not any(
      math.isfinite(m.loss) for m in self._window
    ):
      first = self.initial_configuration(member)
      return Member(member, None, first, origin=member, root=first)
    heir = self.inherited and self._continued.free
    heir = heir and rng.random() >= self.scratch
    if not heir and (best := self._unshown()):
      self._shown.add(best.id)
      found = best.configuration
      return Member(member, best.id, found, origin=member, root=found)
    space = self._continued if heir else self.space
    parent, configuration = self._breed(rng, space)
    structures = map(self.space.structure, (parent.root, configuration))
    if not (heir and self.inherits(*structures)):
      return Member(member, parent.id, configuration, member, configuration)
    return Member(
      member,
      parent.id,
      self.space.with_start(configuration, parent.root),
      origin=parent.origin,
      root=parent.root,
      done=self.inherited,
    )

  def _unshown(self) -> Member | None:
    """The best heir of the window that no root has come up to or shown."""
    heirs = [
      m
      for m in self._window
      if m.id not in self._shown and m.loss < self._root_loss
    ]
    return min(heirs, key=lambda m: (m.loss, m.id), default=None)

  def _breed(
    self, rng: np.random.Generator, space: space_lib.Space
  ) -> tuple[Member, member_lib.Configuration]:
    """A tournament's winner, and a child of it that the space allows."""
    parent, *others = self._winners(1 + len(space.free), rng)
    configuration = parent.configuration
    if rng.random() < self.crossover:
      parents = [other.configuration for other in others]
      configuration = space.recombine(configuration, parents)
    return parent, space.mutate(
      configuration, rng, step=self.step, resample=self.resample
    )

  def _winners(self, n: int, rng: np.random.Generator) -> list[Member]:
    """Winners of n tournaments among the window; never a failure."""
    ranked = sorted(self._window, key=lambda m: (m.loss, m.id))
    sound = sum(math.isfinite(m.loss) for m in ranked)
    ranks = self._tournaments(n, len(ranked), rng)
    again = self._tournaments(n, sound, rng)
    return [ranked[i] for i in np.where(ranks < sound, ranks, again)]

  def _tournaments(
    self, n: int, members: int, rng: np.random.Generator
  ) -> np.ndarray:
    """Ranks [n] of winners; each one's entrants are without replacement."""
    drawn = rng.permuted(np.tile(np.arange(members), (n, 1)), axis=1)
    return drawn[:, : self.tournament].min(axis=1)
