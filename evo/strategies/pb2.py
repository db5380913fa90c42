"""Population-based bandits: PBT whose explore step is a model's choice."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evo import acquisition, surrogate
from evo import member as member_lib
from evo import space as space_lib
from evo.strategies import pbt

Configuration = member_lib.Configuration


class PB2(pbt.PBT):
  """PBT that explores by a Gaussian process with a kernel of time.

  Parker-Holder, Nguyen and Roberts, "Provably Efficient Online Hyperparameter
  Optimization with Population-Based Bandits", arXiv 2002.02518. Selection is
  PBT's. A child's traced numbers are what the model expects to bring the loss
  down most in the coming interval, anywhere in the space; its choices are
  perturbed as PBT's (a bandit for those is arXiv 2106.15883, not built).

  The model sees every interval of every member, in all cohorts: its
  configuration, when it began (the budget done, in intervals) and by how much
  the loss fell. Losses fall ever more slowly and are only compared at equal
  segments, so that falls are standardised among the members of an interval,
  clipped at two sd; the fall from a fresh initialisation is known up to what
  they share. The kernel is Matern-5/2 times the paper's (1 - e)^(dt/2), with e
  learned. What is chosen has, as in the paper, the highest upper confidence
  bound, here of one sd; the expected improvement did a little worse on a
  moving optimum. Members that go on, and children already chosen, count as
  observed.

  A failure is a fall of two sd less than the mean's, so that no model breaks.
  """

  def __init__(self, space: space_lib.Space, *, rows: int = 256, **shared: Any):
    """Sets up.

    Args:
      space: what may change.
      rows: of the model; it forgets beyond.
      **shared: of `PBT`; `factors`, `step` and `resample` move choices only.
    """
    super().__init__(space, **shared)
    free, by_name = self._explorable.free, self.space.by_name
    numbers = {name for name in free if by_name[name].kind != 'choice'}
    self._numbers = dataclasses.replace(space, free=frozenset(numbers))
    self._surrogate = surrogate.Surrogate(
      space, rows, acquisition.confidence_bound
    )
    self._seen: list[tuple[Configuration, float, float]] = []  # Target, time.
    self._before: dict[int, float] = {}  # Losses where the interval began.
    self._staying: list[Configuration] = []  # Of members that just go on.
    self._fitted = False  # For the selection at hand.

  def _advance(self, rng: np.random.Generator) -> None:
    """Remembers what the interval brought before selecting."""
    falls = []
    for m, member in self._cohort.items():
      before = self._before[member.source[0]] if member.source else 0.0
      falls.append(before - self._losses[m])
    configurations = [m.configuration for m in self._cohort.values()]
    time = self._start / self.interval
    self._seen += [
      (configuration, target, time)
      for configuration, target in zip(configurations, _targets(falls))
    ]
    self._before = self._losses
    self._staying = []
    self._fitted = False
    super()._advance(rng)

  def _exploit(
    self, donors: dict[int, int | None], rng: np.random.Generator
  ) -> None:
    self._staying = [
      self._cohort[m].configuration
      for m, donor in donors.items()
      if donor is None
    ]
    super()._exploit(donors, rng)

  def _explored(
    self, member: pbt._Member, rng: np.random.Generator
  ) -> Configuration:
    explored = super()._explored(member, rng)
    names = self._numbers.free.intersection(self.space.active(explored))
    if not self.explore or not names:
      return explored
    if not self._fitted:
      self._fit()
    donors = {name: member.configuration[name] for name in names}
    near = self.space.canonical(explored | donors)
    candidates = [self._drawn(near, rng) for _ in range(256)]
    candidates += [self._vary(near, 0.15, rng) for _ in range(256)]
    chosen = self._surrogate.search(
      candidates, lambda c, step: self._vary(c, step, rng)
    )
    self._surrogate.believe([chosen])
    return chosen

  def _fit(self) -> None:
    configurations, targets, times = zip(*self._seen)
    now = self._stop / self.interval
    self._surrogate.fit(configurations, targets, times, now)
    self._surrogate.believe(self._staying)
    self._fitted = True

  def _drawn(
    self, configuration: Configuration, rng: np.random.Generator
  ) -> Configuration:
    """The configuration with other numbers, drawn uniformly."""
    numbers = {
      name: self.space.by_name[name].at(rng.random())
      for name in self._numbers.free_names
    }
    return self.space.canonical(configuration | numbers)

  def _vary(
    self, configuration: Configuration, step: float, rng: np.random.Generator
  ) -> Configuration:
    """The configuration with one or two numbers changed."""
    return self._numbers.mutate(configuration, rng, step=step)


def _targets(falls: Sequence[float]) -> np.ndarray:
  """Standardised falls, negated; failures (minus infinity) become 2."""
  falls = np.array(falls)
  sound = falls[np.isfinite(falls)]
  if not len(sound):
    return np.full(len(falls), 2.0)
  sd = math.sqrt(np.var(sound)) or 1.0
  return np.clip((sound.mean() - falls) / sd, -2, 2)
