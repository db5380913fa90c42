"""Promise: how much each change of a stack gains, by what its search has seen.

A search changes many parameters at once, so no single loss tells what one of
them is worth. A Gaussian process over all of its members has an opinion, which
is good enough to say what is worth testing first, and nothing more: verdicts
come from fresh seeds.
"""

from collections.abc import Sequence

from evo import acquisition, surrogate
from evo import member as member_lib
from evo import space as space_lib

Configuration = space_lib.Configuration


def order(
  space: space_lib.Space,
  stack: Configuration,
  names: Sequence[str],
  trials: Sequence[member_lib.Result],
) -> list[str]:
  """The changes, those first whose undoing is expected to cost most.

  Args:
    space: whose baseline the changes are made to.
    stack: configuration with all changes.
    names: of the changes.
    trials: results of the search, trained for as long as each other; at least
      one ended well.
  """
  model = surrogate.Surrogate(space, judge=acquisition.mean)
  model.fit(
    [space.canonical(trial.leg.configuration) for trial in trials],
    surrogate.targets([trial.loss for trial in trials]),
  )
  without = [
    space.canonical(stack | {name: space.baseline[name]}) for name in names
  ]
  # The lower, the more the loss is expected to rise without the change.
  try:
    scores = dict(zip(names, model.scores(without)))
  except FloatingPointError:
    return list(names)  # It has no opinion, and nothing hangs on it.
  return sorted(names, key=scores.__getitem__)
