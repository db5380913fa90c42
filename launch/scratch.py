"""Runs from scratch on paired seeds, for commands that do nothing else."""

import math
from collections.abc import Callable

from etils import epath

from evo import allowance as allowance_lib
from evo import bounds as bounds_lib
from evo import gate, statistics, verification
from evo import loop as loop_lib
from evo import member as member_lib
from launch import cli
from launch import experiment as experiment_lib

# By seed; None where the run failed.
Losses = list[float | None]


def make_loop(
  experiment: experiment_lib.Experiment,
  folder: epath.Path,
  stop: Callable[[], str | None],
  kept: frozenset[member_lib.Weights] = frozenset(),
) -> loop_lib.Loop:
  """A loop without bounds.

  Args:
    experiment: whose engine runs the legs.
    folder: holds, or will hold, the ledger.
    stop: asked now and then for a reason to stop.
    kept: states that must still be there at the end.

  Raises:
    ValueError: the ledger is damaged.
  """
  allowance = allowance_lib.Allowance(
    bounds_lib.Bounds(), experiment.engine, experiment.strategy
  )
  return loop_lib.Loop(
    experiment.engine,
    folder,
    allowance,
    stop=stop,
    pinned=lambda: set(kept),
  )


def train(
  loop: loop_lib.Loop, confirmation: verification.Confirmation
) -> int | None:
  """Trains what is asked for, or goes on with it.

  Returns:
    The exit code where it was stopped before the end; None where all is done.
  """
  loop.run(gate.PHASE, confirmation, lambda legs, results: None)
  loop.finish()
  if not loop.stop_reason:
    return None
  print(f'stopped ({loop.stop_reason}); the same command goes on')
  return cli.AGAIN if loop.stop_reason == 'sigterm' else 0


def losses(
  confirmation: verification.Confirmation, arm: str, split: str | None = None
) -> Losses:
  """Losses of an arm by seed, JSON-able; see `Confirmation.losses`."""
  found = confirmation.losses(arm, split)
  return [loss if math.isfinite(loss) else None for loss in found]


def table(metric: str, by_arm: dict[str, Losses]) -> list[str]:
  """Lines for people: the mean of each arm and its interval."""
  seeds = len(next(iter(by_arm.values())))
  noun = 'seed' if seeds == 1 else 'seeds'
  width = max(20, *map(len, by_arm))
  head = f'{"from scratch":{width}} {metric:>8}'
  return [f'{head}  95% interval, {seeds} {noun}'] + [
    f'{arm:{width}} {_mean(found)}' for arm, found in by_arm.items()
  ]


def _mean(found: Losses) -> str:
  finite = [loss for loss in found if loss is not None]
  if len(finite) < len(found):
    return '  failed on a seed'
  if len(finite) < 2:
    return f'{finite[0]:8.4f}'
  mean = statistics.t_interval(finite)
  return f'{mean.mean:8.4f}  [{mean.low:.4f}, {mean.high:.4f}]'
