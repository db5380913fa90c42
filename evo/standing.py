"""Where strategies stand at one charge, from one loss per seed and strategy.

A run without a loss (none of its members has finished and been confirmed, or
the confirmation of its incumbent failed) is infinitely bad: it is the worst of
its seed in ranks, and its difference from a run with a loss is larger than any
other in the signed-rank test. Means leave it out and say how many they are of.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evo import member as member_lib
from evo import statistics

Record = dict[str, Any]
Losses = dict[str, Sequence[float]]

# Below it an adjusted p is called significant.
LEVEL = 0.05
# Pairs that a bootstrapped bound takes: with fewer it is far too close.
_FEWEST = 5


def standing(losses: Losses, reference: str, seed: int) -> Record:
  """Ranks, means and tests at one charge.

  Args:
    losses: of each strategy one per seed, in the same order of seeds; infinite
      where there is none.
    reference: the strategy that the others are tested against.
    seed: of the bootstrap.

  Returns:
    JSON-able: `strategies` by name, in order of their means, and the tests of
    all of them together, which need three: `friedman`, `critical_difference`
    and `cliques` are None for two.
  """
  table = np.array(list(losses.values()), np.float64).T  # [seed, strategy]
  n, k = table.shape
  ranks = statistics.ranks(table)
  found = {
    name: {
      'final': [finite(loss) for loss in losses[name]],
      'failed': int(np.isinf(table[:, i]).sum()),
      'mean': mean(losses[name]),
      'median_rank': float(np.median(ranks[:, i])),
      'average_rank': float(ranks[:, i].mean()),
    }
    for i, name in enumerate(losses)
  }
  pairs = _paired(losses, reference, seed)
  for name, entry in found.items():
    entry['paired'] = pairs.get(name)
    entry['verdict'] = verdict(pairs.get(name), reference)
  names = sorted(found, key=lambda name: _order(found[name]))
  return {
    'strategies': {name: found[name] for name in names},
    # The best that the test can say of the first of its k - 1 strategies.
    'smallest_p': min(1.0, (k - 1) * 2.0 ** (1 - n)),
    'seeds_needed': math.floor(1 + math.log2((k - 1) / LEVEL)) + 1,
    **_together(table, list(losses)),
  }


def mean(sample: Sequence[float]) -> Record | None:
  """Mean and 95% interval (Student) of the finite numbers of a sample.

  None without any; one number alone has no interval.
  """
  values = [value for value in sample if math.isfinite(value)]
  if not values:
    return None
  if len(values) == 1:
    return {'mean': values[0], 'low': None, 'high': None, 'n': 1}
  return dataclasses.asdict(statistics.t_interval(values))


def finite(loss: float) -> float | None:
  """A loss as JSON holds it."""
  return float(loss) if math.isfinite(loss) else None


def verdict(paired: Record | None, reference: str) -> str:
  """What a paired test says, in words; None is the reference itself."""
  if paired is None:
    return 'the reference'
  if paired['p_adjusted'] >= LEVEL:
    return f'no significant difference from {reference}'
  return f'{"better" if paired["effect"] < 0 else "worse"} than {reference}'


def headline(value: Record, reference: str, seeds: int) -> str:
  """What a standing says, in one sentence without its full stop."""
  others = value['strategies'].items()
  if value['smallest_p'] >= LEVEL:
    return (
      f'{seeds} seeds are too few to tell {len(others)} strategies apart:'
      f' it takes at least {value["seeds_needed"]}'
    )
  better, worse = (
    [name for name, entry in others if entry['verdict'].startswith(word)]
    for word in ('better', 'worse')
  )
  if not better and not worse:
    return f'Nothing differs significantly from {reference}'
  said = f'Better than {reference}: {_names(better)}'
  return said + (f'; worse: {_names(worse)}' if worse else '')


def _paired(losses: Losses, reference: str, seed: int) -> dict[str, Record]:
  """Tests of each strategy's losses minus the reference's, seed by seed.

  `mean`, `low` and `high` are Student's; `bound` is a bootstrapped bound that
  the mean difference is below with 95% confidence, None for fewer than five
  pairs. Negative is better.
  """
  found = {}
  for name, own in losses.items():
    if name == reference:
      continue
    pairs = list(zip(own, losses[reference], strict=True))
    # Two failures are equally bad.
    differences = [0.0 if a == b else a - b for a, b in pairs]
    both = [a - b for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    bound = None
    if len(both) >= _FEWEST:
      # The same resamples of seeds for all, whoever else takes part.
      rng = member_lib.generator(seed, 'bound')
      bound = float(statistics.bootstrap_bounds(both, [0.95], rng)[0])
    test = dataclasses.asdict(statistics.signed_rank(differences))
    none = {'mean': None, 'low': None, 'high': None, 'n': 0}
    found[name] = (mean(both) or none) | {'bound': bound} | test
  adjusted = statistics.holm([entry['p'] for entry in found.values()])
  for entry, p in zip(found.values(), adjusted, strict=True):
    entry['p_adjusted'] = float(p)
  return found


def _names(names: list[str]) -> str:
  """Names, or how many, so that a headline stays one."""
  text = ', '.join(names) or 'none'
  return text if len(text) <= 38 else f'{len(names)} strategies'


def _together(table: np.ndarray, names: list[str]) -> Record:
  """Friedman's test and Nemenyi's of all strategies, `[seed, strategy]`."""
  n, k = table.shape
  if k < 3:
    return dict.fromkeys(('friedman', 'critical_difference', 'cliques'))
  test = statistics.friedman(table)
  difference = statistics.critical_difference(k, n)
  averages = statistics.ranks(table).mean(0)
  return {
    'friedman': {'chi2': test.chi2, 'f': finite(test.f), 'p': test.p},
    'critical_difference': difference,
    'cliques': [
      [names[i] for i in clique]
      for clique in statistics.cliques(averages, difference)
    ],
  }


def _order(entry: Record) -> tuple[float, float]:
  """By the mean; a strategy without one comes last."""
  found = entry['mean']
  return (found['mean'] if found else math.inf), entry['average_rank']
