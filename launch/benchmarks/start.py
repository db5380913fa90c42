"""From the command to the first training step of the quick preset."""

import itertools
import pathlib
import time

from launch.benchmarks import commands
from launch.benchmarks.figure import Figure, Observe, in_turn
from launch.benchmarks.options import Options

MINUTES = 4
_TURNS = 5


def measure(options: Options, observe: Observe) -> list[Figure]:
  """Seconds, with an empty compilation cache and with one from before."""
  numbers = itertools.count()

  def seconds(cache: pathlib.Path) -> float:
    workdir = options.folder / f'run-{next(numbers)}'
    begin = time.time()
    with commands.started(
      'launch.search',
      [f'--workdir={workdir}'],
      {'JAX_COMPILATION_CACHE_DIR': str(cache)},
    ):
      return commands.wait_for(workdir, 'compiled') - begin

  warm = options.folder / 'warm'
  observe('filling the cache', 0.0)
  seconds(warm)
  found = in_turn(
    {
      'cold': lambda: seconds(options.folder / f'cold-{next(numbers)}'),
      'cached': lambda: seconds(warm),
    },
    _TURNS,
    observe,
  )
  return [
    Figure('cold', 's', found['cold'], 'at most 12'),
    Figure('with the compilation cache', 's', found['cached'], 'at most 6'),
  ]
