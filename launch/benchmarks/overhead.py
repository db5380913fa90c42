"""What of a search is neither training nor evaluation, and where it goes."""

import json
import pathlib
import statistics
import time

import jax
import numpy as np

from evo import bounds, campaign, engine, strategies
from evo import mesh as mesh_lib
from launch.benchmarks import commands, recipe
from launch.benchmarks.figure import Figure, Observe
from launch.benchmarks.options import Options
from models import language_model, quadratic

MINUTES = 9
_SEARCHES = 2
# Members behind a search, and rounds there whose median counts.
_GROWTH, _ROUNDS = (10, 100, 1_000, 10_000), 20
_POPULATION = 8
# Pairs of members that differ in their learning rate, trained for as long as
# those of the quick preset.
_PAIRS, _STEPS, _FASTER = 8, 120, 1.5


def measure(options: Options, observe: Observe) -> list[Figure]:
  """Shares of a default search, seconds of its parts, and how it grows."""
  searches = []
  for number in range(_SEARCHES):
    observe('a default search', 0.4 * number)
    searches.append(_search(options.folder / f'search-{number}'))
  observe('rounds of a long search', 0.8)
  rounds = _rounds(options.folder / 'long')
  observe('evaluation', 0.9)
  return [
    *_shares(searches),
    *_growth(rounds, searches),
    *_evaluation(options.folder),
  ]


def _search(workdir: pathlib.Path) -> dict:
  """result.json of a default search, and seconds of its host by part."""
  path = workdir.with_suffix('.parts')
  commands.run(
    'launch.benchmarks.host_time', [str(path), f'--workdir={workdir}']
  )
  return commands.result(workdir) | {'parts': json.loads(path.read_text())}


def _shares(searches: list[dict]) -> list[Figure]:
  def share(of: str) -> tuple[float, ...]:
    return tuple(
      100 * s[f'seconds_{of}'] / s['seconds_searching'] for s in searches
    )

  training, evaluating = share('training'), share('evaluating')
  waste = tuple(100 - t - e for t, e in zip(training, evaluating))
  parts = sorted({part for s in searches for part in s['parts']})
  return [
    Figure('training', '%', training),
    Figure('evaluating', '%', evaluating),
    Figure('neither, once it runs', '%', waste, 'at most 2'),
    Figure(
      'evaluating / training and evaluating',
      '%',
      tuple(100 * e / (t + e) for t, e in zip(training, evaluating)),
      'at most 15',
    ),
    *(
      Figure(
        f'host: {part}', 's', tuple(s['parts'].get(part, 0) for s in searches)
      )
      for part in parts
    ),
    Figure('all of it', 's', tuple(s['seconds'] for s in searches)),
  ]


def _rounds(workdir: pathlib.Path) -> dict[int, list[float]]:
  """Seconds of rounds in which nothing takes time but the host, by members.

  8 members end in each of them; in a default search it is one in ten.
  """
  space = recipe.toy_space()
  run = engine.Engine(
    quadratic.Quadratic(),
    space,
    engine.Budget(6.0, 1),
    workdir,
    slots=_POPULATION,
    mesh=mesh_lib.make({'member': 1}, jax.devices()[:1]),
  )
  found = {count: [] for count in _GROWTH}
  last = [time.monotonic()]

  def observe(seen: campaign.Campaign) -> None:
    now = time.monotonic()
    for count, seconds in found.items():
      near = count <= seen.finished < count + _ROUNDS * _POPULATION
      if near and seen.finished > _POPULATION:
        seconds.append(now - last[0])
    last[0] = now

  strategy = strategies.make(
    'evolution', space, seed=0, population=_POPULATION, segments=1
  )
  most = _GROWTH[-1] + (_ROUNDS + 1) * _POPULATION
  phases = campaign.phases_lib.Phases(pairs=0)
  campaign.Campaign(
    run,
    strategy,
    workdir,
    bounds=bounds.Bounds(most, None, None, None),
    phases=phases,
    observe=observe,
  ).run()
  return found


def _growth(
  rounds: dict[int, list[float]], searches: list[dict]
) -> list[Figure]:
  # Ten segments train each of these members.
  round_seconds = statistics.mean(
    (s['seconds_training'] + s['seconds_evaluating'])
    / s['members']
    * _POPULATION
    / 10
    for s in searches
  )
  return [
    Figure(
      f'a round behind {count:,} members / one of training',
      '%',
      tuple(100 * each / round_seconds for each in seconds),
      'at most 3' if count == _GROWTH[-1] else '',
    )
    for count, seconds in rounds.items()
  ]


def _evaluation(folder: pathlib.Path) -> list[Figure]:
  """What scoring some of a split adds to the noise of paired differences."""
  scores = {}
  for name, tokens in (('part', 16384), ('whole', 0)):
    corpus = recipe.library(64, tokens)
    made = recipe.Recipe(
      language_model.LanguageModel(corpus), recipe.load_space()
    )
    members = recipe.Members(made, 2 * _PAIRS, _STEPS, warm=False)
    faster = np.arange(2 * _PAIRS) % 2
    rates = members.slots.hyperparameters['learning_rate']
    members.slots.hyperparameters['learning_rate'] = rates * np.where(
      faster, _FASTER, 1
    ).astype(np.float32)
    members.slots.seed = np.arange(2 * _PAIRS, dtype=np.int32) // 2
    members.begin()
    members.train()
    scores[name] = members.scores().reshape(_PAIRS, 2)
  part, whole = (each[:, 1] - each[:, 0] for each in scores.values())
  seeds = float(np.std(whole, ddof=1))
  added = float(np.std(part - whole, ddof=1))
  return [
    Figure('sd of paired differences', 'bpb', (seeds,), 'whole split, 8 seeds'),
    Figure('sd of part minus whole', 'bpb', (added,), '16,384 tokens'),
    Figure('part minus whole / seeds', '', (added / seeds,), 'below .5'),
  ]
