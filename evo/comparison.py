"""A comparison: what the searches of several strategies say about them.

Every strategy has searched once per seed, for the same charge. What counts at
a charge is the confirmed loss of the incumbent then: the member with the best
loss that the search had observed by then, of those that its strategy may claim,
trained from scratch on fresh seeds.
The search does not see confirmed losses, so an incumbent whose confirmation
failed leaves its run without a loss until the next.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evo import anytime, form
from evo import standing as standing_lib

Record = dict[str, Any]
_LOSS, _CHARGE = form.number(-3.5e38, 3.5e38), form.number(0, 1e36)
_INCUMBENT = {
  'charge': _CHARGE,
  'member': form.whole(-(2**53)),
  'observed': _LOSS,
  'confirmed': form.optional(_LOSS),
}
_RUN = {
  'strategy': form.text,
  'seed': form.whole(),
  'charge': _CHARGE,
  'members': form.whole(),
  'failures': form.whole(),
  'asks': form.whole(),
  'seconds_asking': _CHARGE,
  'incumbents': form.listed(form.exactly(**_INCUMBENT)),
  'rows': form.mapping(_LOSS),
}
# Raises ValueError unless `Run.from_json` takes a value.
check = form.exactly(**_RUN)
# Runs of each strategy, one per seed, in the same order of seeds.
Paired = dict[str, list['Run']]


@dataclasses.dataclass(frozen=True)
class Incumbent:
  """A member that was the best so far at the end of its budget.

  Attributes:
    charge: of the search by then, in members.
    member: its id.
    observed: its loss in the search.
    confirmed: its loss when trained from scratch on fresh seeds, on the confirm
      split; None or infinite where that failed.
  """

  charge: float
  member: int
  observed: float
  confirmed: float | None


@dataclasses.dataclass(frozen=True)
class Run:
  """One search of one strategy.

  Attributes:
    strategy: its name in the comparison.
    seed: of the search; searches of one seed are paired.
    charge: of the whole search, in FLOPs of one whole member.
    members: that were started.
    failures: how many of them diverged or were infeasible.
    asks: of the strategy.
    seconds_asking: that they took.
    incumbents: by charge.
    rows: further losses at the end, by what they are of.
  """

  strategy: str
  seed: int
  charge: float
  members: int
  failures: int
  asks: int
  seconds_asking: float
  incumbents: tuple[Incumbent, ...]
  rows: dict[str, float] = dataclasses.field(default_factory=dict)

  @property
  def steps(self) -> list[tuple[float, float]]:
    """(charge, confirmed loss) of each incumbent; infinite where it failed."""
    return [(i.charge, _loss(i.confirmed)) for i in self.incumbents]

  @property
  def observed(self) -> list[tuple[float, float]]:
    """(charge, loss that the search observed) of each incumbent."""
    return [(i.charge, i.observed) for i in self.incumbents]

  def to_json(self) -> Record:
    incumbents = [
      dataclasses.asdict(incumbent)
      | {'confirmed': standing_lib.finite(_loss(incumbent.confirmed))}
      for incumbent in self.incumbents
    ]
    rows = {name: row for name, row in self.rows.items() if math.isfinite(row)}
    return dataclasses.asdict(self) | {'incumbents': incumbents, 'rows': rows}

  @classmethod
  def from_json(cls, value: Record) -> 'Run':
    """Reads what `to_json` gave."""
    incumbents = tuple(Incumbent(**item) for item in value['incumbents'])
    return cls(**value | {'incumbents': incumbents})


def compare(
  runs: Sequence[Run],
  reference: str,
  budget: float,
  metric: str,
  seed: int = 0,
  at: Sequence[float] = (),
) -> Record:
  """The content of comparison.json.

  Args:
    runs: one per strategy and seed. A seed that a strategy lacks is left out
      for all, so that every comparison is paired.
    reference: the strategy that the others are tested against.
    budget: charge at which they are compared, in members.
    metric: name of the loss; lower is better.
    seed: of the bootstrap.
    at: earlier charges at which to say how they stand. Each has tests of its
      own, which no correction relates to those at the budget.

  Returns:
    What `standing.standing` gives at the budget, with more about each strategy:
    `observed` and `optimism`, `area`, `curve`, costs and `rows`; `at` has the
    same at earlier charges, without areas, curves, costs and rows.

  Raises:
    ValueError: no run of the reference, one strategy only, two runs of a
      strategy with one seed, or fewer than two seeds that all strategies have.
  """
  paired, seeds = _pair(runs, reference)
  value = _standing(paired, reference, budget, seed)
  start = anytime.start([run.steps for own in paired.values() for run in own])
  for name, entry in value['strategies'].items():
    own = paired[name]
    steps = [run.steps for run in own]
    areas = [anytime.area(one, start, budget) for one in steps]
    entry['area'] = standing_lib.mean(areas)
    entry['curve'] = anytime.curve(steps, budget, seed)
    entry |= _costs(own) | {'rows': _rows(own)}
  return {
    'metric': metric,
    'reference': reference,
    'budget': budget,
    'headline': standing_lib.headline(value, reference, len(seeds)),
    'seeds': seeds,
    'seeds_left_out': sorted({run.seed for run in runs} - set(seeds)),
    'area_from': standing_lib.finite(start),
    **value,
    'at': [
      {'charge': charge} | _standing(paired, reference, charge, seed)
      for charge in at
    ],
  }


def _pair(runs: Sequence[Run], reference: str) -> tuple[Paired, list[int]]:
  """Runs by strategy, in the order of the seeds that all of them have."""
  by_name: dict[str, dict[int, Run]] = {}
  for run in runs:
    own = by_name.setdefault(run.strategy, {})
    if run.seed in own:
      raise ValueError(
        f'{run.strategy} ran twice with seed {run.seed}; expected once'
      )
    own[run.seed] = run
  if reference not in by_name or len(by_name) < 2:
    raise ValueError(
      f'there are runs of {", ".join(by_name) or "nothing"}; expected some of'
      f' {reference} and of another strategy'
    )
  seeds = sorted(set.intersection(*map(set, by_name.values())))
  if len(seeds) < 2:
    raise ValueError(
      f'the strategies have {len(seeds)} seeds in common; expected at least 2'
    )
  return {
    name: [own[seed] for seed in seeds] for name, own in by_name.items()
  }, seeds


def _standing(
  paired: Paired, reference: str, charge: float, seed: int
) -> Record:
  """How strategies stand at a charge, with what their searches believed.

  Optimism is confirmed minus observed loss. A part of it is that the splits
  differ, the same for all strategies; the rest is the price of picking the best
  of many noisy losses, and of inherited weights.
  """
  losses = {
    name: [anytime.loss(run.steps, charge) for run in own]
    for name, own in paired.items()
  }
  value = standing_lib.standing(losses, reference, seed)
  for name, entry in value['strategies'].items():
    found = [
      (anytime.loss(run.observed, charge), loss)
      for run, loss in zip(paired[name], losses[name], strict=True)
      if math.isfinite(loss)
    ]
    entry['observed'] = standing_lib.mean([observed for observed, _ in found])
    entry['optimism'] = standing_lib.mean([loss - own for own, loss in found])
  return value


def _costs(own: Sequence[Run]) -> Record:
  charges = [run.charge for run in own]
  members, asks = sum(run.members for run in own), sum(run.asks for run in own)
  return {
    'charge': {
      'mean': float(np.mean(charges)),
      'min': min(charges),
      'max': max(charges),
    },
    'members': members,
    'failures': sum(run.failures for run in own),
    'seconds_per_ask': sum(run.seconds_asking for run in own) / max(asks, 1),
  }


def _rows(own: Sequence[Run]) -> Record:
  names = dict.fromkeys(name for run in own for name in run.rows)
  return {
    name: standing_lib.mean([run.rows.get(name, math.inf) for run in own])
    for name in names
  }


def _loss(confirmed: float | None) -> float:
  """What a confirmation gave; infinite where it failed."""
  if confirmed is None or math.isnan(confirmed):
    return math.inf
  return confirmed
