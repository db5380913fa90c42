"""A model of the loss that judges configurations before they are trained."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from evo import acquisition, encoding, strategy
from evo import gaussian_process as gp
from evo import space as space_lib

Configuration = space_lib.Configuration


def targets(losses: Sequence[float]) -> np.ndarray:
  """Losses as a Gaussian process can take them: float64 [loss].

  Centred by the median, divided by the sd, and clipped at 2 above: how bad the
  bad ones are must not flatten the differences between the good ones. For the
  same reason the sd is that of the better half, mirrored. A failure (infinite)
  is 2: as bad as can be told and no worse, since a huge value would bend the
  model everywhere.

  Args:
    losses: the lower the better; at least one is finite, none is NaN.
  """
  losses = np.asarray(losses, float)
  finite = losses[np.isfinite(losses)]
  middle = np.median(finite)
  below = finite[finite <= middle]
  scale = math.sqrt(np.mean(np.square(below - middle))) or 1.0
  return np.minimum((losses - middle) / scale, 2.0)


def key(configuration: Configuration) -> tuple:
  """What is equal for equal configurations, and hashable."""
  return tuple(sorted(configuration.items()))


class Surrogate:
  """A Gaussian process over the configurations of a space.

  A function of what it is given, in order: each fit starts where the last one
  ended. Batches are by kriging believer (`acquisition.log_improvement`).

  The number of rows is fixed, so that its programs compile once. Beyond it the
  model forgets: half of the rows go to the best targets, the others to those
  that came last. Configurations yet to be told have up to half of the rows.
  """

  CHUNK = 256  # Configurations that are judged at a time.

  def __init__(
    self,
    space: space_lib.Space,
    rows: int = 256,
    judge: Callable[..., Any] = acquisition.log_improvement,
  ):
    """Sets up a model that has seen nothing.

    Args:
      space: of the configurations.
      rows: that it has; at least 2. Time grows with the cube.
      judge: gives the scores: a function of `acquisition`.
    """
    strategy.require('rows', rows, rows >= 2, 'at least 2')
    self.rows = rows
    self._judge = judge
    self._encoding = encoding.Encoding(space)
    self._parameters = gp.prior(len(space.free))[0]

  def fit(
    self,
    configurations: Sequence[Configuration],
    targets: Sequence[float],
    times: Sequence[float] | None = None,
    now: float = 0.0,
  ) -> None:
    """Learns from what was told, and forgets what was pending.

    Args:
      configurations: that were told, the latest last; at least one.
      targets: of each, about standardised; the lower the better. Finite.
      times: of each; all 0 where losses do not depend on it.
      now: time of what is believed and judged from here on.

    Raises:
      FloatingPointError: the model came out as no number.
    """
    self._features = self._encoding.features(configurations)
    self._targets = np.asarray(targets, float)
    self._times = np.zeros(len(targets)) if times is None else np.array(times)
    self._now = now
    self._pending: list[np.ndarray] = []
    self._parameters = gp.fit(self._data()[0], self._parameters)

  def believe(self, configurations: Sequence[Configuration]) -> None:
    """Counts configurations as tried, with losses as the model expects."""
    self._pending += list(self._encoding.features(configurations))

  def scores(self, configurations: Sequence[Configuration]) -> np.ndarray:
    """Scores: float64 [configuration], the higher the better.

    Raises:
      FloatingPointError: a score is NaN. A search that went on would be at
        random, and nobody would notice.
    """
    features = self._encoding.features(configurations)
    data, pending = self._data()
    chunks = [
      self._judged(data, pending, features[i : i + self.CHUNK])
      for i in range(0, len(features), self.CHUNK)
    ]
    scores = np.concatenate([np.empty(0), *chunks])
    if np.isnan(scores).any():
      raise FloatingPointError(f'a score is NaN; parameters {self._parameters}')
    return scores

  def search(
    self,
    candidates: Sequence[Configuration],
    vary: Callable[[Configuration, float], Configuration],
    tried: Collection[tuple] = (),
  ) -> Configuration:
    """The best candidate, after rounds of local search from the best four.

    Args:
      candidates: to start from; at least one.
      vary: (configuration, step) -> another one nearby, where a step is
        relative to the range of a parameter.
      tried: keys of configurations that come last, whatever their score.
    """
    best: list[tuple[tuple, Configuration]] = []
    for step in (0.1, 0.03, 0.01, None):
      # By key: a small space has few different ones.
      fresh = {key(c): c for c in candidates}
      scores = self.scores(list(fresh.values()))
      ranks = zip((k in tried for k in fresh), -scores)
      best += zip(ranks, fresh.values())
      best = sorted(best, key=lambda ranked: ranked[0])[:4]
      if step is not None:
        candidates = [vary(c, step) for _, c in best for _ in range(16)]
    return best[0][1]

  def _judged(
    self, data: gp.Data, pending: np.ndarray, features: np.ndarray
  ) -> np.ndarray:
    """Scores of at most a chunk, padded to a whole one."""
    points = gp.Points(
      _padded(features, self.CHUNK), np.full(self.CHUNK, float(self._now))
    )
    with gp.on_host():
      # Read before leaving: what is dispatched may not have run yet.
      scores = np.asarray(self._judge(self._parameters, data, pending, points))
    return scores[: len(features)]

  def _data(self) -> tuple[gp.Data, np.ndarray]:
    """The rows, and which of them are pending."""
    pending = self._pending[-(self.rows // 2) :]
    kept = _kept(self._targets, self.rows - len(pending))
    features = np.array([*self._features[kept], *pending])
    times = [*self._times[kept], *[self._now] * len(pending)]
    real = [1.0] * len(kept)
    awaited = [0.0] * len(kept) + [1.0] * len(pending)
    data = gp.Data(
      gp.Points(*(_padded(part, self.rows) for part in (features, times))),
      *(_padded(part, self.rows) for part in (self._targets[kept], real)),
      self._encoding.groups,
    )
    return data, _padded(awaited, self.rows)


def _kept(targets: np.ndarray, room: int) -> np.ndarray:
  """Indices, in order, of the best and the latest that there is room for."""
  best = np.argsort(targets, kind='stable')[: room // 2]
  rest = np.setdiff1d(np.arange(len(targets)), best)
  return np.sort(np.concatenate([best, rest[len(best) - room :]]))


def _padded(rows: Sequence, size: int) -> np.ndarray:
  """Rows [row, ...] followed by zeros up to a size."""
  rows = np.asarray(rows, float)
  return np.concatenate([rows, np.zeros((size - len(rows), *rows.shape[1:]))])
