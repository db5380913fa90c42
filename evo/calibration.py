"""Calibration: how noisy the loss is, and what noise alone would look like."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from evo import parameter as parameter_lib
from evo import space as space_lib

PHASE = 'calibrate'
SEEDS = 8
ARMS = BASELINE, NUDGED = 'baseline', 'nudged'
RUNS = SEEDS * len(ARMS)  # At most.

# Of a parameter's range: so little that only chaos in training tells two runs
# of a seed apart.
_NUDGE = 1e-3

_DRAWS = 20_000


def arms(space: space_lib.Space) -> dict[str, space_lib.Configuration]:
  """What is trained on each seed: the baseline, and as good as the baseline.

  Without a free continuous parameter there is nothing to nudge.
  """
  found = {BASELINE: space.canonical(space.baseline)}
  nudged = dict(space.baseline)
  for name in space.active(space.baseline):
    p = space.by_name[name]
    if name in space.free and p.has_scale and not (p.structural or p.values):
      nudged[name] = _nudged(p, nudged[name])
  nudged = space.canonical(nudged)
  if nudged != found[BASELINE]:
    found[NUDGED] = nudged
  return found


@dataclasses.dataclass(frozen=True)
class Noise:
  """How much the loss of the baseline varies.

  Attributes:
    n: seeds.
    mean: loss of the baseline.
    sd: between seeds.
    sd_paired: of the difference between two runs of one seed that differ by as
      good as nothing; None where nothing can be nudged. What sharing
      initialisation and batches leaves of the noise.
  """

  n: int
  mean: float
  sd: float
  sd_paired: float | None

  @property
  def worth(self) -> float:
    """The smallest gain worth having: one that noise alone would not hide.

    As large as the sd between seeds: whoever trains once does not see less.
    """
    return self.sd

  def null(self, searches: Sequence[int]) -> tuple[float, float | None]:
    """What a greedy keep rule finds where nothing is better than anything.

    Args:
      searches: of each search, the members tried, its baseline included.

    Returns:
      How many it is expected to keep as improvements in all, and the total gain
      that it is expected to report; None where the noise of pairs is not known.
    """
    keeps = sum(1 / i for n in searches for i in range(2, n + 1))
    if self.sd_paired is None:
      return keeps, None
    largest = sum(_expected_largest(n) for n in searches)
    return keeps, _own(self.sd_paired) * largest


class Null:
  """What a greedy keep rule claims in pure noise, member after member.

  Members of a search share their seed, so that they differ by the noise that
  pairing leaves. The next search starts from what was claimed and claims more.
  Quantiles of the sum are simulated; those of the parts do not add up.
  """

  def __init__(self, sd_paired: float, n: int = SEEDS):
    """Begins before the first search.

    Args:
      sd_paired: see `Noise`.
      n: seeds that it was measured on. The sd of all may be larger, by a factor
        that is drawn for each campaign.
    """
    self._own = _own(sd_paired)
    self._rng = np.random.default_rng(0)
    chi2 = np.random.default_rng(1).chisquare(n - 1, _DRAWS)
    self._factor = np.sqrt((n - 1) / chi2)
    self._expected, self._count = 0.0, 0
    self._claimed = np.zeros(_DRAWS)  # In the searches that have ended.
    self._first = self._best = self._claimed

  def search(self) -> None:
    """Begins another search, from what the one before it found."""
    self._expected += _expected_largest(self._count)
    self._claimed = self._claimed + self._best - self._first
    self._first = self._best = self._rng.standard_normal(_DRAWS)
    self._count = 0

  def member(self) -> tuple[float, float]:
    """Tries a further member; the first one of a search is its baseline.

    Returns:
      The gain claimed in all searches so far: its expectation, and what it does
      not exceed in 95 of 100 campaigns.
    """
    if self._count:
      tried = self._rng.standard_normal(_DRAWS)
      self._best = np.maximum(self._best, tried)
    self._count += 1
    expected = self._expected + _expected_largest(self._count)
    claims = self._factor * (self._claimed + self._best - self._first)
    return self._own * expected, self._own * float(np.quantile(claims, 0.95))


def worth(known: Noise | None) -> float:
  """The smallest gain worth having; 0 where the noise was not measured."""
  return known.worth if known else 0.0


def noise(
  baseline: Sequence[float], nudged: Sequence[float] | None
) -> Noise | None:
  """What the runs of a calibration say; None where one of the baseline failed.

  Args:
    baseline: losses by seed, at least two; infinite for a failure.
    nudged: likewise, or None.
  """
  losses = np.asarray(baseline, float)
  if losses.size < 2 or not np.isfinite(losses).all():
    return None
  paired = None
  # Of a calibration that goes on one run may be missing.
  whole = nudged is not None and len(nudged) == losses.size
  if whole and np.isfinite(nudged).all():
    paired = float(np.std(np.asarray(nudged) - losses, ddof=1))
  return Noise(
    losses.size, float(losses.mean()), float(losses.std(ddof=1)), paired
  )


def _nudged(p: parameter_lib.Parameter, value: float) -> float:
  """A value as good as this one, but another one in training's precision."""
  place = p.unit(value)
  up = place < 0.5
  near = p.at(place + _NUDGE if up else place - _NUDGE)
  if np.float32(near) != np.float32(value):
    return near
  return p.high if up else p.low


def _own(sd_paired: float) -> float:
  """The sd of one run's own noise; a difference has that of two."""
  return sd_paired / math.sqrt(2)


@functools.cache
def _expected_largest(n: int) -> float:
  """Expected largest of n standard normal numbers above the first of them.

  That is the expectation of the largest itself, since the first has mean 0; by
  numerical integration of x n phi(x) Phi(x)^(n - 1). 0 of none.
  """
  from scipy import special

  x = np.linspace(-9, 9, 4001)
  density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
  values = x * n * density * special.ndtr(x) ** (n - 1)
  return float(np.trapezoid(values, x))
