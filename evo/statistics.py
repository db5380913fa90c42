"""Statistics of paired runs."""

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
  values = np.asarray(sample, np.float64)
  if values.size < 2 or not np.all(np.isfinite(values)):
    raise ValueError(
      f'the sample is {values.tolist()}; expected two finite numbers or more'
    )
  mean = float(values.mean())
  spread = float(values.std(ddof=1)) / math.sqrt(values.size)
  half = float(special.stdtrit(values.size - 1, (1 + level) / 2)) * spread
  return Interval(mean, mean - half, mean + half, int(values.size))
