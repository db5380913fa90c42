"""The interface of strategies: `ask` for legs, `tell` their results."""

from typing import Any

from evo import member as member_lib
from evo import space as space_lib

Leg = member_lib.Leg
Result = member_lib.Result


class Strategy:
  """Decides what is tried next.

  A strategy is a function of its seed and of what it was asked and told, in
  order: replaying a ledger rebuilds it. Randomness of ask number i is folded
  from (seed, i). Losses are compared only at equal segments.

  Attributes:
    space: what may change.
    seed: of the strategy's own draws.
    population: members that train side by side.
    segments: of one member's whole budget.
    member_seed: seed of every member, shared so that configurations are
      compared on the same initialisation and the same batches.
  """

  def __init__(
    self,
    space: space_lib.Space,
    *,
    seed: int = 0,
    population: int = 8,
    segments: int = 10,
    initial: list[member_lib.Configuration] | None = None,
  ):
    """Sets up.

    Args:
      space: what may change.
      seed: of the strategy's own draws.
      population: members that train side by side.
      segments: of one member's whole budget.
      initial: configurations of the first members; by default the baseline,
        and the rest are drawn from the space.
    """
    self.space = space
    self.seed = seed
    self.population = population
    self.segments = segments
    self.initial = [space.baseline] if initial is None else initial
    self.member_seed = member_lib.fold(seed, 'search')
    self.asks = 0  # Calls of `ask` so far.
    self.members = 0  # Ids given out so far.

  def ask(self, n: int, fresh: int | None = None) -> list[Leg]:
    """Returns legs for at most `n` free slots.

    Args:
      n: free slots.
      fresh: members that may still be started; None is no bound. Going on
        with a member, or taking over its run by an exploit, needs none.

    Returns:
      At most n legs; none where the strategy waits for results or is done.
    """
    raise NotImplementedError

  def tell(self, results: list[Result]) -> None:
    """Takes the results of legs, in any number and order."""
    raise NotImplementedError

  def pinned(self) -> set[member_lib.Weights]:
    """Kept states that a later leg may still inherit."""
    return set()

  def initial_configuration(self, i: int) -> dict[str, Any]:
    """Configuration of the i-th member: given, else drawn from (seed, i)."""
    if i < len(self.initial):
      return self.initial[i]
    return self.space.sample(member_lib.generator(self.seed, 'initial', i))
