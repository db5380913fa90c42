"""Population-based training beside Ray Tune's with PyTorch.

Both train 8 of nanoGPT's recipe on the same text, score the same number of
tokens after each interval, and replace the worst quarter by copies of the best
with other learning rates, decays and betas. Counted is the time from the first
step to the last; starting Ray and compiling are told beside it. An exploit of
Ray is the time between two steps of a process of which it restored; of ours it
is measured alone.
"""

import pathlib
import time

import numpy as np

from evo import bounds, campaign, engine, phases, strategies
from evo import mesh as mesh_lib
from launch.benchmarks import peer, recipe
from launch.benchmarks.figure import Figure, Observe
from launch.benchmarks.options import Options

MINUTES = 25
POPULATION = 8
VARIED = ('learning_rate', 'weight_decay', 'beta2')
_INTERVALS = (20, 50, 100, 200)
_STEPS, _TURNS, _EXPLOITS = 200, 2, 9


def measure(options: Options, observe: Observe) -> list[Figure]:
  """Seconds for the same member-steps, and of an exploit."""
  made = recipe.Recipe.make(options.folder)
  absent = _absent(options)
  if not absent:
    np.save(options.folder / 'batches.npy', made.batches(_STEPS))
  exploits = _exploits(made)
  figures = []
  for i, interval in enumerate(_INTERVALS):
    # One exploit at least has to be in it.
    steps = max(_STEPS, 2 * interval)
    ours, theirs = [], []
    for turn in range(_TURNS):
      share = (i + turn / _TURNS) / len(_INTERVALS)
      observe(f'interval {interval}', share)
      ours.append(_ours(made, options.folder, interval, steps))
      if not absent:
        observe(f'interval {interval}, Ray Tune', share)
        theirs.append(_theirs(options, interval, steps))
    figures += _figures(interval, steps, ours, theirs, absent, exploits)
  return [exploits, *figures]


def _exploits(made: recipe.Recipe) -> Figure:
  """Seconds of one of two that the worst quarter does at once, waited for."""
  members = recipe.Members(made, POPULATION, 1)
  parents = np.arange(POPULATION)
  parents[[3, 4]] = 7, 0  # Across devices, where there are two or more.
  members.inherit(parents)  # Compiles.
  turns = [members.inherit(parents) / 2 for _ in range(_EXPLOITS)]
  return Figure('an exploit of ours', 's', tuple(turns))


def _ours(
  made: recipe.Recipe, folder: pathlib.Path, interval: int, steps: int
) -> dict[str, float]:
  """Seconds of training, of exploits and of compiling, one after another."""
  workdir = folder / f'ours-{time.monotonic_ns()}'
  segments = steps // interval
  space = recipe.load_space(VARIED)
  run = engine.Engine(
    made.trainee,
    space,
    engine.Budget(made.flops * steps, segments),
    workdir,
    slots=POPULATION,
    mesh=mesh_lib.make(mesh_lib.of_members(POPULATION)),
  )
  strategy = strategies.make(
    'pbt',
    space,
    seed=0,
    population=POPULATION,
    segments=segments,
    interval=1,
  )
  search = campaign.Campaign(
    run,
    strategy,
    workdir,
    bounds=bounds.Bounds(members=POPULATION),
    phases=phases.Phases(pairs=0),
  )
  begin = time.monotonic()
  search.run()
  seconds, compiling = time.monotonic() - begin, run.meter.compiling
  exploits = sum(
    leg.source is not None and leg.source[0] != leg.member
    for leg in search.legs
  )
  return {
    'seconds': seconds - compiling,
    'starting': compiling,
    'exploits': exploits,
  }


def _theirs(
  options: Options, interval: int, steps: int
) -> dict[str, float | None]:
  """The same by Ray Tune, in a process of its own."""
  with peer.Peer(
    'launch.benchmarks.ray_pbt',
    str(options.nanogpt),
    str(options.folder / 'batches.npy'),
    *map(str, (interval, steps)),
  ) as process:
    return process.ask()


def _figures(
  interval: int,
  steps: int,
  ours: list[dict[str, float]],
  theirs: list[dict[str, float | None]],
  absent: str,
  exploits: Figure,
) -> list[Figure]:
  def column(
    runs: list[dict[str, float | None]], key: str, name: str, unit: str = 's'
  ) -> Figure:
    values = tuple(run[key] for run in runs if run[key] is not None)
    note = absent if values or absent else 'there was none'
    return Figure(f'{interval} steps: {name}', unit, values, note)

  bound = {20: 'at least 4', 100: 'at least 2'}.get(interval, '')
  mine, other = (
    column(runs, 'seconds', name)
    for runs, name in ((ours, f'ours, {steps} steps'), (theirs, 'Ray Tune'))
  )
  exploit = column(theirs, 'exploit_seconds', 'an exploit of Ray Tune')
  return [
    Figure(mine.name, mine.unit, mine.values),
    other,
    other.over(mine, f'{interval} steps: Ray Tune / ours', bound),
    Figure(
      f'{interval} steps: exploits of ours',
      '',
      tuple(run['exploits'] for run in ours),
    ),
    column(theirs, 'exploits', 'exploits of Ray Tune', ''),
    exploit,
    # Not turn by turn: of Ray there may be turns without one.
    Figure(
      f'{interval} steps: an exploit, Ray Tune / ours',
      '',
      tuple(seconds / exploits.median for seconds in exploit.values),
      'at least 100' if exploit.values else exploit.note,
    ),
    Figure(
      f'{interval} steps: ours, compiling',
      's',
      tuple(run['starting'] for run in ours),
    ),
    column(theirs, 'starting', 'Ray Tune, starting'),
  ]


def _absent(options: Options) -> str:
  if options.nanogpt is None:
    return '--nanogpt=DIR: a checkout of github.com/karpathy/nanoGPT'
  return peer.missing('torch', 'ray')
