"""Contests of a comparison: on text, or on a function that costs nothing."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
from etils import epath

from evo import bounds as bounds_lib
from evo import campaign as campaign_lib
from evo import comparison, contest, phases, simulation, strategies
from evo import hosts as hosts_lib
from evo import strategy as strategy_lib
from evo import task as task_lib
from launch import cli, files, settings
from launch import experiment as experiment_lib
from models import language_model

TEXT = 'text'
# Flags of a comparison that mean nothing to one search.
COMPARISON = ('strategies', 'seeds', 'reference', 'task')

Stop = Callable[[], str | None]
Observe = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class Arm:
  """What takes part in a comparison.

  Attributes:
    name: distinct.
    strategy: its name.
    options: of the strategy.
  """

  name: str
  strategy: str
  options: dict[str, Any] = dataclasses.field(default_factory=dict)


class Contests(Protocol):
  """Runs arms.

  Attributes:
    metric: name of the loss.
    digest: of the text, if there is any.
    slots: legs at work at once.
  """

  metric: str
  digest: str | None
  slots: int

  def check(self, arm: Arm) -> None:
    """Raises ValueError where an arm cannot take part."""
    ...

  def run(
    self,
    arm: Arm,
    seed: int,
    workdir: epath.Path,
    stop: Stop,
    observe: Observe,
  ) -> comparison.Run | None:
    """Runs a contest, or goes on with it; None where it was stopped.

    Args:
      arm: that takes part.
      seed: of the search.
      workdir: of this contest alone.
      stop: asked now and then for a reason to stop.
      observe: told the share that is done, in [0, 1].
    """
    ...


class OnText:
  """Contests in which members are transformers on text."""

  def __init__(self, given: dict[str, Any], hosts: hosts_lib.Hosts):
    """Reads the text and the space; builds nothing else.

    Args:
      given: the flags.
      hosts: whose fence is asked before anything is written.

    Raises:
      ValueError: one line, what is wrong and what is expected.
    """
    self._given, self._hosts = given, hosts
    self._trainee: language_model.LanguageModel = experiment_lib.load_trainee(
      given, experiment_lib.load_space(given)
    )
    self._library = {}
    self.metric, self.digest = self._trainee.metric, self._trainee.digest
    self.slots = given['population']

  def check(self, arm: Arm) -> None:
    self._build(arm, 0, cli.workdir(self._given['workdir']))

  def run(
    self,
    arm: Arm,
    seed: int,
    workdir: epath.Path,
    stop: Stop,
    observe: Observe,
  ) -> comparison.Run | None:
    experiment, given = self._build(arm, seed, workdir)
    engine = experiment.engine
    workdir.mkdir(parents=True, exist_ok=True)
    # So that it can be looked at and replayed like any search.
    command = settings.command(self._given, 'compare')
    run = experiment_lib.describe(given, experiment, command)
    files.write_json(workdir / 'run.json', run)
    charge = self._given['max_members'] * engine.member_flops

    def show(campaign: campaign_lib.Campaign) -> None:
      observe(min(1.0, campaign.loop.flops / charge))

    campaign = campaign_lib.Campaign(
      engine,
      experiment.strategy,
      workdir,
      bounds=bounds_lib.Bounds(flops=charge),
      seed=seed,
      phases=phases.Phases(self._given['confirm_seeds']),
      arms=contest.arms,
      stop=stop,
      observe=show,
    )
    campaign.run()
    engine.release()
    if campaign.loop.stop_reason:
      return None
    return contest.run(campaign, arm.name, seed)

  def _build(
    self, arm: Arm, seed: int, workdir: epath.Path
  ) -> tuple[experiment_lib.Experiment, dict[str, Any]]:
    """What an arm searches with, and the flags that say so."""
    own = {'strategy': arm.strategy, 'seed': seed, 'workdir': str(workdir)}
    given = {k: v for k, v in self._given.items() if k not in COMPARISON} | own
    experiment = experiment_lib.build(
      given,
      trainee=self._trainee,
      library=self._library,
      hosts=self._hosts,
      **arm.options,
    )
    return experiment, given


class OnTask:
  """Contests on a task of `evo.task`, where a member is a function's value."""

  def __init__(self, given: dict[str, Any]):
    """Makes the task.

    Raises:
      ValueError: it is unknown, or an extra is missing.
    """
    self._task = task_lib.make(given['task'])
    # Only surrogates use JAX here, and they do on the CPU: an accelerator would be
    # held for nothing, and a TPU library without one complains aloud.
    jax.config.update('jax_platforms', 'cpu')
    self._charge = given['max_members']
    self.metric, self.slots = self._task.metric, self._task.slots
    self.digest = None

  def check(self, arm: Arm) -> None:
    self._strategy(arm, 0)

  def run(
    self,
    arm: Arm,
    seed: int,
    workdir: epath.Path,
    stop: Stop,
    observe: Observe,
  ) -> comparison.Run | None:
    del workdir, observe  # Over in seconds, with nothing to keep.
    if stop():
      return None
    found = simulation.simulate(
      self._strategy(arm, seed),
      self._task,
      slots=self.slots,
      charge=self._charge,
      seed=seed,
    )
    return contest.simulated(found, arm.name, seed, self._task.segments)

  def _strategy(self, arm: Arm, seed: int) -> strategy_lib.Strategy:
    return strategies.make(
      arm.strategy,
      self._task.space,
      seed=seed,
      population=self._task.population,
      segments=self._task.segments,
      initial=self._task.initial(seed) if self._task.initial else [],
      **arm.options,
    )
