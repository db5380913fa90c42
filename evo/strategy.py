"""The interface of strategies: `ask` for legs, `tell` their results."""

import abc
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evo import member as member_lib
from evo import space as space_lib

Leg = member_lib.Leg
Result = member_lib.Result


def require(name: str, value: Any, valid: bool, expected: str) -> None:
  """Raises ValueError naming the option, its value and what was expected."""
  if not valid:
    raise ValueError(f'{name} is {value!r}; expected {expected}')


def selection_loss(result: Result) -> float:
  """The loss that ranks a result: finite, or infinite for every failure.

  A NaN would compare false with everything and so could win a tournament; an
  infinite loss of either sign is a failure too.
  """
  return result.loss if math.isfinite(result.loss) else math.inf


class Strategy(abc.ABC):
  """Decides what is tried next.

  A strategy is a function of its seed and of what it was asked and told, in
  order: replaying a ledger rebuilds it. Randomness of ask number i is folded
  from (seed, i). Losses are compared only at equal segments.

  Attributes:
    space: what may change.
    seed: of the strategy's own draws.
    population: members that train side by side.
    segments: of one member's whole budget.
    initial: configurations of the first members.
    member_seed: seed of every member, shared so that configurations are
      compared on the same initialisation and the same batches.
    asks: calls of `ask` so far that returned legs.
    first_member: id of the first member.
    members: the next id; they are given out in the order of asking.
    takes_over: whether an heir takes over the run of a member that ends, so
      that starting it needs no further budget.
    finds_schedules: whether what it finds is the sequence of configurations
      along a lineage, rather than the configuration of one member.
    evaluations: of a member on its way to the end of its budget, at most.
    finishes: whether every member that starts goes on to the end of its budget
      unless it fails, so that its whole run can be paid for when it starts.
      Where it may be left unfinished, each leg is paid for by itself.
  """

  takes_over = False
  finds_schedules = False
  evaluations = 1
  finishes = True

  def __init__(
    self,
    space: space_lib.Space,
    *,
    seed: int = 0,
    population: int = 8,
    segments: int = 10,
    initial: list[member_lib.Configuration] | None = None,
    first_member: int = 0,
  ):
    """Sets up.

    Args:
      space: what may change.
      seed: of the strategy's own draws.
      population: members that train side by side.
      segments: of one member's whole budget.
      initial: configurations of the first members; by default the baseline.
        The rest of the first members are drawn from the space.
      first_member: id of the first member.
    """
    require('population', population, population >= 1, 'at least 1')
    require('segments', segments, segments >= 1, 'at least 1')
    self.space = space
    self.seed = seed
    self.population = population
    self.segments = segments
    self.initial = []
    for configuration in [space.baseline] if initial is None else initial:
      space.validate(configuration)
      self.initial.append(space.canonical(configuration))
    self.member_seed = member_lib.fold(seed, 'search')
    self.asks = 0
    self.first_member = self.members = first_member

  def ask(self, n: int, fresh: int | None = None) -> list[Leg]:
    """Returns legs for at most `n` free slots.

    An ask that returns none is not counted, so that a ledger need not hold it.

    Args:
      n: free slots.
      fresh: members that may still be started; None is no bound. Going on
        with a member, or taking over its run by an exploit, needs none.

    Returns:
      At most n legs; none where the strategy waits for results or is done.
    """
    require('n', n, n >= 0, 'at least 0')
    rng = member_lib.generator(self.seed, 'ask', self.asks)
    legs = self._ask(n, fresh, rng)
    self.asks += bool(legs)
    return legs

  @abc.abstractmethod
  def tell(self, results: list[Result]) -> None:
    """Takes the results of legs that were asked, in any number and order.

    A leg may have been run with another structure than it was asked with,
    where its own found no seat: what counts is the configuration of
    `result.leg`.
    """

  def pinned(self) -> set[member_lib.Weights]:
    """States that a leg asked later, or not yet told, may inherit.

    Covers states that legs in flight are still to keep.
    """
    return set()

  def require_free(self, usable: Sequence[Any], what: str) -> None:
    """Raises ValueError unless the strategy can use a free parameter.

    Args:
      usable: free parameters that it can change.
      what: they are, in words.
    """
    if not usable:
      free = ', '.join(self.space.free_names)
      name = type(self).__name__.lower()
      raise ValueError(
        f'strategy {name} cannot change {free}; expected a free parameter'
        f' that is {what}'
      )

  def early(self, member: int) -> bool:
    """Whether a member is one of the first, which need no results."""
    first = max(self.population, len(self.initial))
    return member - self.first_member < first

  def initial_configuration(self, member: int) -> member_lib.Configuration:
    """Of one of the first: the i-th is given, else drawn from (seed, i)."""
    i = member - self.first_member
    if i < len(self.initial):
      return self.initial[i]
    return self.space.sample(member_lib.generator(self.seed, 'initial', i))

  def _from_scratch(
    self, member: int, configuration: member_lib.Configuration
  ) -> Leg:
    """The leg of a member that trains for the whole budget at once."""
    return Leg(
      member=member,
      parent=None,
      configuration=configuration,
      source=None,
      start=0,
      stop=self.segments,
      seed=self.member_seed,
    )

  @abc.abstractmethod
  def _ask(
    self, n: int, fresh: int | None, rng: np.random.Generator
  ) -> list[Leg]:
    """As `ask`, with the generator of this ask."""

  def _new_id(self) -> int:
    """The id of the next member."""
    self.members += 1
    return self.members - 1


def near(
  space: space_lib.Space, n: int, seed: int
) -> list[member_lib.Configuration]:
  """The baseline of a space and mutations of it: n configurations to start at.

  For a search whose every change is to be explained: a draw from the whole
  space differs from the baseline in nearly everything.
  """
  rng = member_lib.generator(seed, 'near')
  mutants = [space.mutate(space.baseline, rng) for _ in range(n - 1)]
  return [space.canonical(space.baseline), *mutants]


def startable(n: int, fresh: int | None) -> int:
  """Members that may be started in `n` free slots."""
  return n if fresh is None else max(0, min(n, fresh))
