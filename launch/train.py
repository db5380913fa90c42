"""Trains one configuration from scratch, if asked beside another one.

  python -m launch.train --configuration=runs/quick/champion/configuration.json
  python -m launch.train --configuration=mine.json --against=baseline --seeds=4 \
      --member_tokens=1000000 --data=input.txt

For what a search found, at any budget and on any text. The two share their
seeds, so initialisation and batches. The same command again goes on where it
stopped, or prints what came out.
"""

from launch import early

if early.is_command(__name__):
  early.hold()

import dataclasses
import math
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from absl import flags
from etils import epath

from evo import document, form, statistics, verification
from evo import engine as engine_lib
from evo import hosts as hosts_lib
from evo import loop as loop_lib
from evo import member as member_lib
from evo import space as space_lib
from launch import cli, export, files, owner, parameters, scratch, settings
from launch import cluster as cluster_lib
from launch import experiment as experiment_lib
from launch import stop as stop_lib

_OWN = ('workdir', 'configuration', 'against', 'seeds', 'seed')
_ARMS = _CONFIGURATION, _AGAINST = 'configuration', 'against'
_BASELINE = 'baseline'
# The first one decides; locked is left to the campaign that may read it once.
_SPLITS = ('confirm', 'search')
# The first run, whose weights are wanted: `Confirmation` counts seed by seed.
_FIRST = 0


class _Runs(verification.Confirmation):
  """A confirmation that keeps the weights of its first run."""

  def ask(self, n: int, fresh: int | None = None) -> list[member_lib.Leg]:
    legs = super().ask(n, fresh)
    return [dataclasses.replace(leg, keep=leg.member == _FIRST) for leg in legs]


def main(argv: list[str]) -> int:
  """Trains, or goes on with it; returns the exit code."""
  del argv
  with cli.input_errors():
    given = _values()
    workdir = cli.workdir(given['workdir'])
    files.check_workdir(workdir, settings.identity(given), 'training')
    space, arms = _arms(given)
    run = _describe(given, space, arms)
    files.check_unchanged(workdir, {k: run[k] for k in ('space', *_ARMS)})
    if (workdir / 'STOP').exists():
      print(f'{workdir}/STOP is there from before: delete it to go on.')
      return 0
    if (workdir / 'train.json').exists():
      value = _read_value(workdir / 'train.json', given)
      print(_summary(value, given))
      return 0
    owner.look(workdir)
  stop = stop_lib.StopSignals(workdir)
  with cluster_lib.join(False, stop) as cluster:
    with cli.input_errors():
      experiment_lib.prepare_backend(given)
      experiment = _experiment(given, space, arms, cluster.hosts)
      run['data_digest'] = experiment.trainee.digest
      files.check_unchanged(workdir, {'data_digest': run['data_digest']})
    with owner.hold(workdir, cluster.hosts):
      return _train(given, run, experiment, arms, cluster.reason)


def _train(
  given: dict[str, Any],
  run: dict[str, Any],
  experiment: experiment_lib.Experiment,
  arms: dict[str, space_lib.Configuration],
  stop: Callable[[], str | None],
) -> int:
  """The training in a workdir that is held; returns the exit code."""
  workdir, kept = cli.workdir(given['workdir']), (_FIRST, given['segments'])
  runs = _runs(experiment, arms, run['seeds'])
  with cli.input_errors():
    # Who held it before may have gone on with it after the first look.
    files.check_workdir(workdir, settings.identity(given), 'training')
    loop = scratch.make_loop(experiment, workdir, stop, frozenset({kept}))
  files.write_json(workdir / 'run.json', run)
  print(_plan(experiment, arms, given['seeds']), file=sys.stderr)
  stopped = scratch.train(loop, runs)
  if stopped is not None:
    return stopped
  experiment.engine.hosts.fence()
  value = _value(experiment, runs, run, loop)
  if runs.results[_FIRST].ok:
    export.write(workdir, experiment, arms[_CONFIGURATION], kept)
  files.write_json(workdir / 'train.json', value)
  print(_summary(value, given))
  return 0


def _values() -> dict[str, Any]:
  """The flags, checked one by one.

  Raises:
    ValueError: a value is out of its range.
  """
  # Its own first, so that they are named where a workdir holds another run.
  own = {name: flags.FLAGS[name].value for name in _OWN}
  given = own | settings.members()
  if not given['configuration']:
    raise ValueError(
      '--configuration is missing; expected a JSON file such as'
      ' runs/quick/champion/configuration.json'
    )
  if flags.FLAGS['population'].using_default_value:
    # Where members are vectorised, slots that idle cost as much as others.
    runs = given['seeds'] * (2 if given['against'] else 1)
    given['population'] = min(given['population'], runs)
  return given


def _arms(
  given: dict[str, Any],
) -> tuple[space_lib.Space, dict[str, space_lib.Configuration]]:
  """The space, all of it free whatever --tiers, and what is trained.

  Raises:
    ValueError: one line, what is wrong and what is expected.
    OSError: a file cannot be read.
  """
  space = parameters.load(given['space'])
  space = dataclasses.replace(space, free=None)
  arms = {_CONFIGURATION: _read(_CONFIGURATION, given, space)}
  if given['against'] == _BASELINE:
    arms[_AGAINST] = space.canonical(space.baseline)
  elif given['against']:
    arms[_AGAINST] = _read(_AGAINST, given, space)
  return space, arms


def _read(
  flag: str, given: dict[str, Any], space: space_lib.Space
) -> space_lib.Configuration:
  """The configuration in the file of a flag."""
  path = pathlib.Path(given[flag])
  settings.require(given, flag, path.is_file(), 'a file with a configuration')
  try:
    words = 'a configuration'
    value = document.parse(document.content(path, words), words)
    space.validate(value)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  return space.canonical(value)


def _describe(
  given: dict[str, Any],
  space: space_lib.Space,
  arms: dict[str, space_lib.Configuration],
) -> dict[str, Any]:
  """The content of run.json but for the digest of the data."""
  return {
    'flags': given,
    'configuration': arms[_CONFIGURATION],
    'against': arms.get(_AGAINST),
    'seeds': [
      member_lib.fold(given['seed'], 'train', i) for i in range(given['seeds'])
    ],
    'space': space.to_json(),
    'command': settings.command(given, 'train'),
    'versions': experiment_lib.versions(),
  }


def _experiment(
  given: dict[str, Any],
  space: space_lib.Space,
  arms: dict[str, space_lib.Configuration],
  hosts: hosts_lib.Hosts,
) -> experiment_lib.Experiment:
  """What trains the arms; writes nothing.

  Raises:
    ValueError: a structure is impossible, or too large for the budget.
  """
  trainee = experiment_lib.load_trainee(given, space)

  def evaluation(configuration: space_lib.Configuration) -> float:
    cost = trainee.cost(space.structure(configuration))
    return max(cost.flops_per_evaluation.values())

  # An engine refuses what costs far more to evaluate than its baseline does,
  # so that a search keeps its bounds. Here nothing is to be refused for that,
  # and the budget still counts in tokens of the space's own baseline.
  costliest = max(arms.values(), key=evaluation)
  budget = experiment_lib.budget(given, trainee, space)
  engine = experiment_lib.engine(
    given | {'member_flops': budget.flops},
    space.rebase(costliest),
    trainee,
    hosts=hosts,
  )
  for configuration in arms.values():
    species = engine.catalogue.add(space.structure(configuration))
    if species.refusal:
      raise ValueError(species.refusal)
  # Nothing is asked of it: it says what a member of a search would cost.
  strategy = experiment_lib.make_strategy(
    given | {'strategy': 'random'}, trainee, space
  )
  return experiment_lib.Experiment(trainee, space, strategy, engine)


def _runs(
  experiment: experiment_lib.Experiment,
  arms: dict[str, space_lib.Configuration],
  seeds: list[int],
) -> _Runs:
  """The runs, asked and told like a strategy."""
  engine = experiment.engine
  return _Runs(
    verification.constants(arms, engine.budget.segments),
    seeds=seeds,
    first_member=_FIRST,
    splits=_splits(engine),
  )


def _splits(engine: engine_lib.Engine) -> tuple[str, ...]:
  return tuple(split for split in _SPLITS if split in engine.splits)


def _plan(
  experiment: experiment_lib.Experiment,
  arms: dict[str, space_lib.Configuration],
  seeds: int,
) -> str:
  """What is going to be done and what it costs."""
  engine, space, flops = experiment.engine, experiment.space, 0.0
  for configuration in arms.values():
    species = engine.catalogue.add(space.structure(configuration))
    evaluation = species.cost.flops_per_evaluation
    flops += engine.budget.segments * species.segment_flops
    flops += sum(evaluation[split] for split in _splits(engine))
  runs = len(arms) * seeds
  noun = 'run' if runs == 1 else 'runs'
  return f'{runs} {noun}, {flops * seeds:.2g} FLOPs'


def _value(
  experiment: experiment_lib.Experiment,
  runs: _Runs,
  run: dict[str, Any],
  loop: loop_lib.Loop,
) -> dict[str, Any]:
  """The content of train.json; a loss is null where its run failed."""
  arms = [arm for arm in _ARMS if run[arm]]
  by_split = {
    split: {arm: scratch.losses(runs, arm, split) for arm in arms}
    for split in _splits(experiment.engine)
  }
  decides, losses = next(iter(by_split.items()))
  own, nats = losses[_CONFIGURATION], None
  if None not in own:
    nats = experiment.trainee.nats_per_token(sum(own) / len(own), decides)
  compared = _compared(losses) if _AGAINST in arms else {}
  return {
    'metric': experiment.trainee.metric,
    'configuration': run['configuration'],
    'against': run['against'],
    'seeds': run['seeds'],
    'split': decides,
    'losses': losses,
    'splits': by_split,
    'nats_per_token': nats,
    'gain': compared.get('gain'),
    'wins': compared.get('wins'),
    'tokens': loop.tokens,
    'flops': loop.flops,
  }


def _compared(losses: dict[str, scratch.Losses]) -> dict[str, Any]:
  """The gain over the other arm, and the seeds in which it is no worse."""
  own, other = (
    [math.inf if loss is None else loss for loss in losses[arm]]
    for arm in _ARMS
  )
  pairs = list(zip(own, other, strict=True))
  gains = [after - before for before, after in pairs]
  gain = None
  if len(gains) > 1 and all(map(math.isfinite, gains)):
    gain = dataclasses.asdict(statistics.t_interval(gains))
  # Of two runs that failed neither is any good.
  wins = sum(a <= b and math.isfinite(a) for a, b in pairs)
  return {'gain': gain, 'wins': wins}


def _read_value(path: epath.Path, given: dict[str, Any]) -> dict[str, Any]:
  """A train.json that stands, as far as its summary goes.

  Raises:
    ValueError: it is not what these flags come to.
  """
  compared = bool(given['against'])
  loss, seeds = form.optional(form.number()), given['seeds']
  arms = _ARMS if compared else [_CONFIGURATION]
  losses = {arm: form.listed(loss, size=seeds) for arm in arms}
  ends = form.fields(mean=form.number(), low=form.number(), high=form.number())
  check = form.fields(
    metric=form.text,
    seeds=form.listed(form.whole(), size=seeds),
    losses=form.exactly(**losses),
    nats_per_token=loss,
    against=form.mapping(form.scalar) if compared else form.nothing,
    gain=form.optional(ends),
    wins=form.whole() if compared else form.nothing,
  )
  return document.read(path, 'a result', check)


def _summary(value: dict[str, Any], given: dict[str, Any]) -> str:
  """A table for people, and what it says in words."""
  names = {_CONFIGURATION: _CONFIGURATION, _AGAINST: given['against']}
  losses = {names[arm]: found for arm, found in value['losses'].items()}
  lines = scratch.table(value['metric'], losses)
  if value['nats_per_token'] is not None:
    nats = value['nats_per_token']
    lines += ['', f'validation {nats:.4f} nats per token']
  if value['against']:
    lines += ['', _sentence(value, given['against'])]
  return '\n'.join(lines)


def _sentence(value: dict[str, Any], other: str) -> str:
  """The gain, and in how many seeds the configuration is no worse."""
  gain, metric, seeds = value['gain'], value['metric'], len(value['seeds'])
  own, others = (value['losses'][arm] for arm in _ARMS)
  if gain:
    ends = f'[{gain["low"]:+.4f}, {gain["high"]:+.4f}]'
    text = f'gains {gain["mean"]:+.4f} {metric}, 95% interval {ends},'
  elif None in own + others:
    text = 'has no gain to tell, for a run failed,'
  else:
    text = f'gains {others[0] - own[0]:+.4f} {metric}'
  noun = 'seed' if seeds == 1 else 'seeds'
  return (
    f'Against {other} the configuration {text} and is no worse in'
    f' {value["wins"]} of {seeds} {noun}.'
  )


def run() -> None:
  """Entry point of the console script."""
  cli.run(main)


flags.DEFINE_string('workdir', 'runs/train', 'Holds one training.')
flags.DEFINE_string(
  'configuration', None, 'A JSON file with a value for every parameter.'
)
flags.DEFINE_string(
  'against', None, f'What to train beside it: {_BASELINE}, or a JSON file.'
)
flags.DEFINE_integer('seeds', 1, 'Fresh seeds of each.', lower_bound=1)
flags.DEFINE_integer('seed', 0, 'From which those are folded.')
settings.define_members()
flags.adopt_module_key_flags(settings)

if __name__ == '__main__':
  run()
