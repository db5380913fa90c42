"""Group-sequential tests of paired differences.

The data are looked at after set numbers of pairs, and a test may stop at any of
these looks. Each look is tested at one nominal level, so low that the
probability of an error at *any* look is the overall level (Pocock 1977,
Biometrika 64). P-values and intervals are the repeated ones of Jennison and
Turnbull ("Group Sequential Methods", 2000, chapter 9): valid whichever rule
stopped the test, since all looks planned are paid for, those not reached too.

Levels are those of normal means of known variance, but used for Student's t, as
Pocock does. Few pairs make that a little liberal: with `LOOKS` and normal
differences, p is at or below .05 with probability .0531, .005 with .0055 and
.0005 with .00056 (20 million simulated experiments).
"""

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from evo import statistics

LOOKS = (6, 9, 12, 16)  # Pairs after which the data are looked at.

_NODES, _WEIGHTS = special.roots_legendre(10)


def reached(n: int, looks: tuple[int, ...]) -> int | None:
  """The last of the looks that `n` pairs reach; None before the first."""
  return max((look for look in looks if look <= n), default=None)


def next_look(n: int, looks: tuple[int, ...]) -> int | None:
  """The number of pairs at the first look after `n`; None after the last."""
  return min((look for look in looks if look > n), default=None)


@functools.lru_cache
def crossing(level: float, looks: tuple[int, ...]) -> float:
  """The probability of a nominal p at or below a level at any of the looks.

  Without an effect, for the one-sided p of a normal mean of known variance:
  its z after m and n >= m pairs correlate by sqrt(m / n). The density of z
  while below the bound is integrated from look to look (Armitage, McPherson
  and Rowe 1969, JRSS A 132) by Gauss-Legendre rules on panels of two standard
  deviations of the narrowest step. The relative error is below 1e-8.

  Args:
    level: the nominal one-sided level, in [0, 1].
    looks: pairs at each look, increasing.

  Returns:
    The overall one-sided level: between `level`, which it is with one look,
    and `level` times the number of looks.

  Raises:
    ValueError: a level that is no probability, or looks that do not increase.
  """
  _check(looks)
  if not 0 <= level <= 1:
    raise ValueError(f'level is {level}; expected a number in [0, 1]')
  if level in (0, 1) or len(looks) == 1:
    return float(level)
  bound = -float(special.ndtri(level))
  ratios = np.array(looks[:-1]) / looks[1:]
  lowest = -abs(bound) - 6  # Whoever is below has no part in the crossing.
  narrowest = math.sqrt(1 - ratios.max())
  panels = math.ceil((bound - lowest) / (2 * narrowest))
  half = (bound - lowest) / (2 * panels)
  centres = lowest + half * np.arange(1, 2 * panels, 2)
  z = (centres[:, None] + half * _NODES).ravel()
  weights = np.tile(half * _WEIGHTS, panels)
  below = _density(z)  # Of z at a look, and below the bound at all until then.
  total = level
  for i, ratio in enumerate(ratios):
    slope, width = math.sqrt(ratio), math.sqrt(1 - ratio)
    mass = weights * below
    total += float(mass @ special.ndtr((slope * z - bound) / width))
    if i < ratios.size - 1:
      steps = (z[:, None] - slope * z) / width  # [to, from]
      below = _density(steps) @ mass / width
  return min(total, 1.0)


@functools.lru_cache
def nominal(level: float, looks: tuple[int, ...]) -> float:
  """The inverse of `crossing`: the level of each look for one of all looks.

  Args:
    level: the overall one-sided level, in (0, 1).
    looks: pairs at each look, increasing.

  Returns:
    The nominal one-sided level, with a relative error below 1e-8.

  Raises:
    ValueError: a level not in (0, 1), or looks that do not increase.
  """
  from scipy import optimize  # Slow to import.

  _check(looks)
  if not 0 < level < 1:
    raise ValueError(f'level is {level}; expected a number in (0, 1)')
  if len(looks) == 1:
    return float(level)
  return math.exp(
    optimize.brentq(
      lambda log: math.log(crossing(math.exp(log), looks) / level),
      math.log(level / len(looks)) - 1,  # Below what Bonferroni would say.
      0.0,
    )
  )


def p_value(differences: Sequence[float], looks: tuple[int, ...]) -> float:
  """The repeated p-value of "the mean difference is above 0", one-sided.

  The lowest overall level at which a look has rejected so far, from Student's
  test of the pairs until each look. It never rises as further looks are
  reached. Differences after the last look reached do not count.

  Args:
    differences: of the pairs so far, in order; finite, assumed independent and
      about normal.
    looks: pairs at each look planned, increasing, at least two at the first.

  Returns:
    p; 1 before the first look. Differences that all equal each other give a
    nominal p of 0 if positive, else 1.

  Raises:
    ValueError: a difference that is not finite, or looks that cannot be.
  """
  values = _finite(differences)
  _check(looks, first=2)
  p = [_student(values[:look]) for look in looks if look <= values.size]
  return crossing(min(p, default=1.0), looks)


def interval(
  differences: Sequence[float], looks: tuple[int, ...], level: float = 0.95
) -> statistics.Interval:
  """The repeated confidence interval of the mean difference, two-sided.

  The intervals of all looks hold the truth at once about as often as `level`
  says, so that of the look that stopped does, too. One of those so far is all
  above 0 just where `p_value` is below (1 - level) / 2.

  Args:
    differences: of the pairs so far, as in `p_value`.
    looks: pairs at each look planned, increasing, at least two at the first.
    level: two-sided coverage, in (0, 1).

  Returns:
    The mean of the pairs until the last look reached, its interval, and that
    look as `n`.

  Raises:
    ValueError: no look is reached, a difference that is not finite, or a level
      or looks that cannot be.
  """
  values = _finite(differences)
  _check(looks, first=2)
  n = reached(values.size, looks)
  if n is None:
    raise ValueError(f'{values.size} differences; expected {looks[0]} or more')
  at_each = 1 - 2 * nominal((1 - level) / 2, looks)
  return statistics.t_interval(values[:n], at_each)


def _student(values: np.ndarray) -> float:
  """One-sided p of Student's test of a mean above 0."""
  if (values == values[0]).all():
    return float(values[0] <= 0)
  # By a power of two, which rounds nothing: squares neither over- nor underflow.
  values = np.ldexp(values, -np.frexp(np.abs(values).max())[1])
  t = values.mean() / values.std(ddof=1) * math.sqrt(values.size)
  return float(special.stdtr(values.size - 1, -t))


def _density(z: np.ndarray) -> np.ndarray:
  return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def _check(looks: tuple[int, ...], first: int = 1) -> None:
  rising = all(a < b for a, b in itertools.pairwise(looks))
  if not looks or looks[0] < first or not rising:
    raise ValueError(
      f'looks are {looks}; expected increasing numbers from {first}'
    )


def _finite(differences: Sequence[float]) -> np.ndarray:
  values = np.asarray(differences, np.float64)
  if not np.all(np.isfinite(values)):
    raise ValueError(
      f'differences are {values.tolist()}; expected finite numbers'
    )
  return values
