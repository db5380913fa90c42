"""Statistics of paired runs.

`scipy.stats` is slow to import, so only the functions that test import it.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import special


@dataclasses.dataclass(frozen=True)
class Interval:
  """A mean with its confidence interval.

  Attributes:
    mean: of the sample.
    low: lower end.
    high: upper end.
    n: size of the sample.
  """

  mean: float
  low: float
  high: float
  n: int


@dataclasses.dataclass(frozen=True)
class SignedRank:
  """What a signed-rank test says.

  Attributes:
    p: two-sided.
    effect: the rank-biserial correlation in [-1, 1]: the share of the ranks
      that are positive minus the share that are negative.
  """

  p: float
  effect: float


@dataclasses.dataclass(frozen=True)
class Friedman:
  """What a Friedman test says.

  Attributes:
    chi2: Friedman's statistic.
    f: Iman and Davenport's, made from it; infinite where all blocks agree.
    p: of `f`, whose distribution is closer than that of `chi2`.
  """

  chi2: float
  f: float
  p: float


def t_interval(sample: Sequence[float], level: float = 0.95) -> Interval:
  """Student's interval of a mean; of paired runs, pass their differences.

  Args:
    sample: at least two finite numbers, assumed independent and about normal.
    level: two-sided coverage, in (0, 1).

  Returns:
    The mean and its interval.

  Raises:
    ValueError: fewer than two numbers, or one that is not finite.
  """
  values = _finite(sample)
  mean = float(values.mean())
  spread = float(values.std(ddof=1)) / math.sqrt(values.size)
  half = float(special.stdtrit(values.size - 1, (1 + level) / 2)) * spread
  return Interval(mean, mean - half, mean + half, int(values.size))


def bootstrap_bounds(
  sample: Sequence[float],
  levels: Sequence[float],
  rng: np.random.Generator,
  draws: int = 10_000,
) -> np.ndarray:
  """One-sided bounds of a mean: expanded percentiles of the bootstrap.

  The plain percentiles are too close to the mean for small samples. They are
  moved outwards until the bounds of a normal sample are as wide as Student's
  (Hesterberg 2015, arXiv:1411.5279, section 3.2.1). Even so a bound cannot
  leave the range of the sample: a 95% interval of a normal sample covers .94 of
  the time with eight numbers, .91 with five, .76 with three.

  Args:
    sample: at least two finite numbers, assumed independent.
    levels: the mean is below the bound of level q with probability q, in
      (0, 1); .025 and .975 are the ends of a 95% interval.
    rng: draws the resamples.
    draws: how many resamples.

  Returns:
    Bounds `[level]`.

  Raises:
    ValueError: fewer than two numbers, or one that is not finite.
  """
  values = _finite(sample)
  n = values.size
  counts = rng.multinomial(n, np.full(n, 1 / n), size=draws)
  wide = math.sqrt(n / (n - 1)) * special.stdtrit(n - 1, np.asarray(levels))
  return np.quantile(counts @ values / n, special.ndtr(wide))


def signed_rank(differences: Sequence[float]) -> SignedRank:
  """Wilcoxon's signed-rank test of paired differences.

  Zeros are dropped, as Wilcoxon does; without any other difference p is 1.
  Infinite differences rank above all finite ones. Equal sizes share the mean of
  their ranks. p is exact in all cases: every choice of signs is as likely. That
  of scipy is exact only without ties, and slow or approximate with them.

  Args:
    differences: any numbers but NaN.

  Raises:
    ValueError: a difference is NaN.
  """
  from scipy import stats

  values = np.asarray(differences, np.float64)
  if np.isnan(values).any():
    raise ValueError(f'differences are {values.tolist()}; expected no NaN')
  values = values[values != 0]
  if not values.size:
    return SignedRank(1.0, 0.0)
  # Shared ranks are halves: doubled they are integers.
  sizes = np.rint(2 * stats.rankdata(np.abs(values))).astype(int)
  chance = np.ones(1)  # Of each sum of the sizes of positive differences.
  for size in sizes:
    chance = (np.pad(chance, (0, size)) + np.pad(chance, (size, 0))) / 2
  positive, total = int(sizes[values > 0].sum()), int(sizes.sum())
  tail = float(chance[: min(positive, total - positive) + 1].sum())
  return SignedRank(min(1.0, 2 * tail), 2 * positive / total - 1)


def holm(p: Sequence[float]) -> np.ndarray:
  """Holm's step-down correction: adjusted p, in the order given.

  Rejecting where the adjusted p is below a level keeps the probability of any
  false rejection below it, whatever the dependence (Holm 1979).
  """
  values = np.asarray(p, np.float64)
  order = np.argsort(values, kind='stable')
  steps = values[order] * np.arange(values.size, 0, -1)
  adjusted = np.empty_like(values)
  adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
  return adjusted


def benjamini_hochberg(p: Sequence[float]) -> np.ndarray:
  """Benjamini and Hochberg's step-up correction: adjusted p, in order given.

  Rejecting where the adjusted p is at or below a level keeps the expected share
  of false rejections among all rejections at or below it, for independent tests
  and for those with positive regression dependence (Benjamini and Hochberg
  1995, JRSS B 57; Benjamini and Yekutieli 2001, Annals of Statistics 29).
  """
  values = np.asarray(p, np.float64)
  order = np.argsort(values, kind='stable')[::-1]  # The largest first.
  steps = values[order] * (values.size / np.arange(values.size, 0, -1))
  adjusted = np.empty_like(values)
  adjusted[order] = np.minimum.accumulate(steps)
  return adjusted


def ranks(losses: np.ndarray) -> np.ndarray:
  """Ranks within each block, 1 for the lowest loss; equal ones share the mean.

  Args:
    losses: `[block, treatment]`; infinite ones come last.

  Returns:
    Ranks `[block, treatment]`.
  """
  from scipy import stats

  return stats.rankdata(losses, axis=1)


def friedman(losses: np.ndarray) -> Friedman:
  """Friedman's test of whether any treatment differs.

  As in Demsar (2006, JMLR 7, section 3.2.2), without a correction for ties,
  which makes it conservative where there are many. Where blocks agree that is
  no more surprising than chance allows: p is at least that of all blocks having
  one order of the treatments.

  Args:
    losses: `[block, treatment]`, at least two blocks of three treatments.
  """
  from scipy import stats

  n, k = losses.shape
  averages = ranks(losses).mean(0)
  chi2 = 12 * n / (k * (k + 1)) * float(((averages - (k + 1) / 2) ** 2).sum())
  left = n * (k - 1) - chi2
  f = (n - 1) * chi2 / left if left > 1e-9 else math.inf
  p = float(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))
  return Friedman(chi2, f, max(p, float(math.factorial(k)) ** (1 - n)))


def critical_difference(k: int, n: int, level: float = 0.05) -> float:
  """Nemenyi's: average ranks that are as far apart differ significantly.

  Args:
    k: treatments, all compared with each other.
    n: blocks.
    level: the probability of any false rejection (Demsar 2006, section 3.2.2).
  """
  from scipy import stats

  q = stats.studentized_range.ppf(1 - level, k, math.inf) / math.sqrt(2)
  return float(q) * math.sqrt(k * (k + 1) / (6 * n))


def cliques(averages: Sequence[float], difference: float) -> list[list[int]]:
  """The largest groups whose average ranks are all closer than a difference.

  Args:
    averages: average ranks.
    difference: the critical one.

  Returns:
    Indices of `averages`, in order of rank, of each group of two or more that
    is part of no other.
  """
  order = np.argsort(averages, kind='stable')
  ordered = np.asarray(averages, np.float64)[order]
  found, reached = [], 0
  for first, low in enumerate(ordered):
    end = int(np.searchsorted(ordered, low + difference, side='left'))
    if end > max(reached, first + 1):
      found.append(order[first:end].tolist())
      reached = end
  return found


def _finite(sample: Sequence[float]) -> np.ndarray:
  values = np.asarray(sample, np.float64)
  if values.size < 2 or not np.all(np.isfinite(values)):
    raise ValueError(
      f'the sample is {values.tolist()}; expected two finite numbers or more'
    )
  return values
