"""Calibration: how noisy the loss is, and what noise alone would look like."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from evo import space as space_lib

PHASE = 'calibrate'
SEEDS = 8
BASELINE, NUDGED = 'baseline', 'nudged'

# Of a parameter's range: so little that only chaos in training tells two runs
# of a seed apart.
_NUDGE = 1e-3


def arms(space: space_lib.Space) -> dict[str, space_lib.Configuration]:
  """What is trained on each seed: the baseline, and as good as the baseline.

  Without a free continuous parameter there is nothing to nudge.
  """
  found = {BASELINE: space.canonical(space.baseline)}
  nudged = dict(space.baseline)
  for name in space.active(space.baseline):
    p = space.by_name[name]
    if name in space.free and p.has_scale and not (p.structural or p.values):
      place = p.unit(nudged[name])
      nudged[name] = p.at(place + _NUDGE if place < 0.5 else place - _NUDGE)
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

  def null(self, members: int) -> tuple[float, float]:
    """What a greedy keep rule finds where nothing is better than anything.

    Members of a search share their seed, so that they differ by the noise that
    pairing leaves.

    Args:
      members: tried, the baseline included.

    Returns:
      How many it is expected to keep as improvements, and the total gain that
      it is expected to report.
    """
    if members < 2:
      return 0.0, 0.0
    keeps = sum(1 / i for i in range(2, members + 1))
    own = (self.sd_paired or 0.0) / math.sqrt(2)
    return keeps, own * _expected_largest(members)

  def claims(self, members: int) -> tuple[float, float]:
    """The gain that the greedy rule reports in pure noise.

    Returns:
      Its expectation, and what it does not exceed in 95 of 100 searches.
    """
    if members < 2:
      return 0.0, 0.0
    own = (self.sd_paired or 0.0) / math.sqrt(2)
    return self.null(members)[1], own * _high_largest(members)


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
  if nudged is not None and np.isfinite(nudged).all():
    paired = float(np.std(np.asarray(nudged) - losses, ddof=1))
  return Noise(
    losses.size, float(losses.mean()), float(losses.std(ddof=1)), paired
  )


def _high_largest(n: int) -> float:
  """95% quantile of the largest of n standard normals above the first of them.

  Given the first is z, all of n - 1 others stay below z + x with probability
  Phi(z + x)^(n - 1); averaged over z by numerical integration, and solved.
  """
  from scipy import optimize, special

  z = np.linspace(-9, 9, 2001)
  density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)

  def excess(x: float) -> float:
    below = special.ndtr(z + x) ** (n - 1)
    return float(np.trapezoid(density * below, z)) - 0.95

  return float(optimize.brentq(excess, 0.0, 20.0))


def _expected_largest(n: int) -> float:
  """Expected largest of n standard normal numbers above the first of them.

  That is the expectation of the largest itself, since the first has mean 0; by
  numerical integration of x n phi(x) Phi(x)^(n - 1).
  """
  from scipy import special

  x = np.linspace(-9, 9, 4001)
  density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
  values = x * n * density * special.ndtr(x) ** (n - 1)
  return float(np.trapezoid(values, x))
