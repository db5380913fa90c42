"""Bayesian search with tree-structured Parzen estimators, by Optuna."""

import contextlib
import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from evo import member as member_lib
from evo import parameter, strategy
from evo import space as space_lib

Configuration = member_lib.Configuration


class TPE(strategy.Strategy):
  """Tree-structured Parzen estimators: Optuna's `TPESampler`.

  Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011;
  Watanabe, "Tree-Structured Parzen Estimator", arXiv 2304.11127. Densities of
  the configurations of the best tenth and of the others are estimated; the
  next one is that of 24 drawn from the first with the largest ratio of the
  two. Optuna 5 joins all parameters that every configuration has in one
  density, and counts members at work among the others, so that those asked
  side by side differ.

  Every member trains from scratch for the whole budget. The first ones, and
  all until one has finished well, are the initial configurations.

  A failure is a trial with an infinite loss: only the order of losses counts
  here, so it is one of the worst and nothing else. Optuna leaves out trials
  that it calls failed, and then proposes nothing but failures where the best
  lies at their edge: all of 25 in 12 searches of a bowl, against 4 in 10.

  Optuna's storage does not keep the state of its sampler. Each ask builds a
  study in memory of all members so far, in order of id, and a sampler with a
  seed of this ask. Only parameters that are free and active are in a trial.
  """

  def __init__(
    self, space: space_lib.Space, *, startup: int = 10, **shared: Any
  ):
    """Sets up.

    Args:
      space: what may change.
      startup: members that have to be told before densities are estimated;
        until then configurations are drawn uniformly.
      **shared: of `Strategy`. As many members as the population start first.

    Raises:
      ValueError: an option is out of its range, or Optuna is not installed.
    """
    super().__init__(space, **shared)
    strategy.require('startup', startup, startup >= 0, 'at least 0')
    self.startup = startup
    self._optuna = _optuna()
    self._trials: dict[int, Any] = {}  # `optuna.trial.FrozenTrial`s.
    self._sound = False  # Whether a member has finished well.

  def _ask(
    self, n: int, fresh: int | None, rng: np.random.Generator
  ) -> list[strategy.Leg]:
    members = [self._new_id() for _ in range(strategy.startable(n, fresh))]
    drawn = [m for m in members if self.early(m) or not self._sound]
    legs = [self._start(m, self.initial_configuration(m)) for m in drawn]
    if proposed := members[len(drawn) :]:
      study, baseline = self._study(rng), self.space.baseline
      for member in proposed:
        configuration = self._suggested(study.ask(), baseline)
        legs.append(self._start(member, configuration))
    return legs

  def tell(self, results: list[strategy.Result]) -> None:
    for result in results:
      loss = strategy.selection_loss(result)
      # As it was run: a proposal without a seat gets another structure.
      trial = self._trial(result.leg.configuration, loss)
      self._trials[result.leg.member] = trial
      self._sound |= math.isfinite(loss)

  def _start(self, member: int, configuration: Configuration) -> strategy.Leg:
    """The leg of a new member, which is at work from now on."""
    self._trials[member] = self._trial(configuration)
    return self._from_scratch(member, configuration)

  def _study(self, rng: np.random.Generator) -> Any:
    """An `optuna.Study` of all members that were told or are at work."""
    optuna = self._optuna
    sampler = optuna.samplers.TPESampler(
      seed=int(rng.integers(2**31)), n_startup_trials=self.startup
    )
    with _quiet(optuna):
      study = optuna.create_study(sampler=sampler)
    study.add_trials([self._trials[member] for member in sorted(self._trials)])
    return study

  def _trial(
    self, configuration: Configuration, loss: float | None = None
  ) -> Any:
    """An `optuna.trial.FrozenTrial`, running while there is no loss."""
    optuna = self._optuna
    fixed = optuna.trial.FixedTrial(configuration)
    self._suggested(fixed, configuration)
    states = optuna.trial.TrialState
    return optuna.trial.create_trial(
      state=states.RUNNING if loss is None else states.COMPLETE,
      value=loss,
      params=fixed.params,
      distributions=fixed.distributions,
    )

  def _suggested(
    self, trial: Any, configuration: Configuration
  ) -> Configuration:
    """The configuration with all that is free and active from a trial.

    A parameter's condition is settled before its own turn comes, so what the
    trial says first decides about what it is asked next (define by run).
    """
    for name in self.space.conditional_order:
      if name in self.space.free and name in self.space.active(configuration):
        value = _suggest(trial, self.space.by_name[name])
        configuration = configuration | {name: value}
    return self.space.canonical(configuration)


def _suggest(trial: Any, p: parameter.Parameter) -> parameter.Value:
  """A parameter's value from a trial."""
  if p.kind == 'choice':
    return trial.suggest_categorical(p.name, p.choices)
  if p.kind == 'int':
    return trial.suggest_int(p.name, p.low, p.high)
  return trial.suggest_float(p.name, p.low, p.high, log=p.kind == 'log_float')


def _optuna() -> ModuleType:
  """Optuna, which is an extra.

  Raises:
    ValueError: it is not installed.
  """
  try:
    import optuna
  except ImportError as error:
    raise ValueError(
      "strategy tpe needs Optuna; expected pip install 'datapoint[bayes]'"
    ) from error
  return optuna


@contextlib.contextmanager
def _quiet(optuna: ModuleType) -> Iterator[None]:
  """Keeps Optuna from logging each study that is made in here as news."""
  level = optuna.logging.get_verbosity()
  optuna.logging.set_verbosity(max(level, optuna.logging.WARNING))
  try:
    yield
  finally:
    optuna.logging.set_verbosity(level)
