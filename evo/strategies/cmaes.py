"""CMA-ES: a normal distribution that follows the better candidates."""

import dataclasses
import math
from typing import Any

import numpy as np

from evo import member as member_lib
from evo import space as space_lib
from evo import strategy
from evo.strategies import covariance_adaptation as adaptation

_DIGITS = 8  # Of candidates, in the unit cube.


@dataclasses.dataclass(frozen=True)
class _Candidate:
  """A candidate in flight, or told and not yet used.

  Attributes:
    member: its id.
    configuration: as it was asked.
    point: [number], where it was drawn; may lie outside the unit cube.
    update: of the distribution that it was drawn from; -1 for none.
    loss: infinite until told, and for a failure.
  """

  member: int
  configuration: member_lib.Configuration
  point: np.ndarray
  update: int
  loss: float = math.inf


class CMAES(strategy.Strategy):
  """Covariance matrix adaptation, asynchronous; members start from scratch.

  Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772. Optuna
  advises it for 1,000 to 10,000 evaluations; with less it can do little in
  dozens of dimensions.

  Numbers. Floats, ints and numeric choices are coordinates of the unit cube
  of `Space.encode`; an int or a choice is the one that its coordinate falls
  on. Once the distribution is narrower than one of their values they stay.
  The cube is continued by reflection: a candidate outside stands for its
  mirror image within, so bounds neither bend the distribution nor hold it.

  Other choices, of text or true and false, have no scale. They are taken from
  the best member so far, and in a share `mutation` of the candidates one of
  them is drawn anew; if that makes a new best, it is kept.

  Start. The first members are those of every strategy, and more of the same
  until as many results are in. The distribution then starts at the best.

  No slot ever waits: candidates are drawn from the distribution as it is. A
  generation is complete when `generation` results are in, whichever
  distribution they were drawn from, half of them at least no failure; until
  then failures are replaced. They have the last ranks, ties go by id, and only
  ranks count. A candidate drawn from an earlier distribution, an initial
  member, and one run with another configuration than was asked count as
  injected: see `covariance_adaptation.update`.
  """

  def __init__(
    self,
    space: space_lib.Space,
    *,
    generation: int | None = None,
    step: float = 1 / 6,
    mutation: float = 0.2,
    **shared: Any,
  ):
    """Sets up.

    Args:
      space: what may change; at least one number.
      generation: results per update (lambda), at least 4. By default the
        tutorial's 4 + floor(3 ln d) for d numbers, and at least the
        population.
      step: first standard deviation, as a share of each range. Optuna's.
      mutation: probability that one of the choices without a scale is drawn
        anew in a candidate.
      **shared: of `Strategy`. As many members as the population start first.
    """
    super().__init__(space, **shared)
    free = [space.by_name[name] for name in space.free_names]
    self._numbers = [p for p in free if p.has_scale]
    self._others = {p.name for p in free} - {p.name for p in self._numbers}
    d = len(self._numbers)
    self.require_free(self._numbers, 'a number')
    if generation is None:
      generation = max(self.population, adaptation.default_size(d))
    strategy.require('generation', generation, generation >= 4, 'at least 4')
    strategy.require('step', step, step > 0, 'more than 0')
    ok = 0 <= mutation <= 1
    strategy.require('mutation', mutation, ok, 'a share in [0, 1]')
    self.generation = generation
    self.step = step
    self.mutation = mutation
    self._first = max(self.population, len(self.initial))
    self._distribution: adaptation.Distribution | None = None
    self._best: _Candidate | None = None  # Of all told; never a failure.
    self._flying: dict[int, _Candidate] = {}
    self._told: list[_Candidate] = []  # Since the last update.

  def _ask(
    self, n: int, fresh: int | None, rng: np.random.Generator
  ) -> list[strategy.Leg]:
    return [self._launch(rng) for _ in range(strategy.startable(n, fresh))]

  def tell(self, results: list[strategy.Result]) -> None:
    # By id: what came in one batch must not depend on the slots it ran in.
    for result in sorted(results, key=lambda r: r.leg.member):
      self._take(self._stood(result))

  def _take(self, told: _Candidate) -> None:
    """Learns from one more result."""
    if math.isfinite(told.loss):
      best = self._best
      if best is None or (told.loss, told.member) < (best.loss, best.member):
        self._best = told
    self._told.append(told)
    if self._distribution is not None:
      self._end_generation()
    elif self._best and len(self._told) >= self._first:
      mean = self._point(self._best.configuration)
      self._distribution = adaptation.start(mean, self.step)
      self._told = []

  def _end_generation(self) -> None:
    """Updates the distribution, if enough results are in."""
    ranked = sorted(self._told, key=lambda c: (c.loss, c.member))
    sound = sum(math.isfinite(c.loss) for c in ranked)
    if len(ranked) < self.generation or sound < self.generation // 2:
      return
    ranked = ranked[: self.generation]
    now = self._distribution.updates
    self._distribution = adaptation.update(
      self._distribution,
      np.stack([c.point for c in ranked]),
      np.array([c.update != now for c in ranked]),
    )
    self._told = []

  def _launch(self, rng: np.random.Generator) -> strategy.Leg:
    """A new member: an initial one, or a candidate of the distribution."""
    member, update = self._new_id(), -1
    if self.early(member) or self._distribution is None:
      configuration = self.initial_configuration(member)
      point = self._point(configuration)
    else:
      update = self._distribution.updates
      # Rounded, so that a replay does not hang on the last bits of another
      # machine's linear algebra.
      point = adaptation.sample(self._distribution, rng).round(_DIGITS)
      configuration = self._configuration(point, rng)
    self._flying[member] = _Candidate(member, configuration, point, update)
    return self._from_scratch(member, configuration)

  def _point(self, configuration: member_lib.Configuration) -> np.ndarray:
    """The numbers of a configuration, in the unit cube."""
    return np.array([p.unit(configuration[p.name]) for p in self._numbers])

  def _configuration(
    self, point: np.ndarray, rng: np.random.Generator
  ) -> member_lib.Configuration:
    """Numbers from a point, the rest from the best member."""
    configuration = dict(self._best.configuration)
    names = [n for n in self.space.active(configuration) if n in self._others]
    if names and rng.random() < self.mutation:
      name = names[rng.integers(len(names))]
      choice = self.space.by_name[name]
      configuration[name] = choice.mutated(configuration[name], rng, 0.0, 1.0)
    for number, u in zip(self._numbers, _reflected(point).tolist()):
      configuration[number.name] = number.at(u)
    return self.space.canonical(configuration)

  def _stood(self, result: strategy.Result) -> _Candidate:
    """The candidate of a result, as it was run."""
    asked = self._flying.pop(result.leg.member)
    # A proposal without a seat gets another structure.
    ran = result.leg.configuration
    point = asked.point.copy()
    for i, number in enumerate(self._numbers):
      if ran[number.name] != asked.configuration[number.name]:
        # As far as the image moved, and back where that is a mirror image.
        sign = 1 if point[i] % 2 < 1 else -1
        image = number.unit(ran[number.name])
        point[i] += sign * (image - _reflected(point[i]))
    same = np.array_equal(point, asked.point)
    return dataclasses.replace(
      asked,
      configuration=ran,
      point=point,
      update=asked.update if same else -1,
      loss=strategy.selection_loss(result),
    )


def _reflected(point: np.ndarray) -> np.ndarray:
  """The image in the unit cube of a point anywhere."""
  return 1 - np.abs(1 - point % 2)
