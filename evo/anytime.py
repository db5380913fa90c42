"""Losses over the charge: what a search would give if it stopped there.

A search is a step function: (charge, loss) of each incumbent, by charge; the
loss holds until the next one, is infinite where the incumbent has none, and
before the first one.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evo import member as member_lib
from evo import statistics

Steps = Sequence[tuple[float, float]]

# Charges are sums of many terms; the last must not miss the budget by one ulp.
_ROUNDING = 1e-9
# Resamples behind a band, which is drawn, not read off.
_DRAWS = 2000


def loss(steps: Steps, charge: float) -> float:
  """The loss at a charge."""
  limit = charge * (1 + _ROUNDING)
  return next((loss for at, loss in reversed(steps) if at <= limit), math.inf)


def start(searches: Sequence[Steps]) -> float:
  """The charge at which all searches have had a loss.

  Those that never have one are left out; infinite if none has.
  """
  firsts = []
  for steps in searches:
    firsts += [at for at, loss in steps if math.isfinite(loss)][:1]
  return max(firsts, default=math.inf)


def area(steps: Steps, begin: float, budget: float) -> float:
  """Mean loss over the charges from `begin` to the budget.

  It is the area under the step function divided by its length, so that it is in
  units of the loss. Infinite where a part of it is, or where `begin` is not
  below the budget.
  """
  if begin >= budget:
    return math.inf
  edges = [begin, *(at for at, _ in steps if begin < at < budget), budget]
  losses = [loss(steps, at) for at in edges[:-1]]
  return float(np.diff(edges) @ losses) / (budget - begin)


def curve(
  searches: Sequence[Steps], budget: float, seed: int
) -> dict[str, list[Any]]:
  """Mean loss over the charge, a step function too, with a band.

  Args:
    searches: of one strategy, one per seed.
    budget: where it ends.
    seed: of the bootstrap.

  Returns:
    `charge`, `mean`, `low`, `high` and `n`, one of each per step, from the
    charge at which all searches have had a loss. `low` and `high` are
    bootstrapped 95% intervals over seeds, step by step; None where one search
    alone has a loss. Searches without a loss at a step are left out of it, and
    `n` counts those that are not.
  """
  begin = start(searches)
  charges = sorted({at for steps in searches for at, _ in steps})
  found = {key: [] for key in ('charge', 'mean', 'low', 'high', 'n')}
  for charge in charges:
    losses = [loss(steps, charge) for steps in searches]
    losses = [value for value in losses if math.isfinite(value)]
    if not losses or not begin <= charge <= budget * (1 + _ROUNDING):
      continue
    ends = [None, None]
    if len(losses) > 1:
      # The same resamples of seeds at every step make a smooth band.
      rng = member_lib.generator(seed, 'band')
      levels = (0.025, 0.975)
      ends = statistics.bootstrap_bounds(losses, levels, rng, _DRAWS).tolist()
    step = (charge, float(np.mean(losses)), *ends, len(losses))
    for key, value in zip(found, step, strict=True):
      found[key].append(value)
  return found
