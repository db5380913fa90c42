"""An experiment: what the flags say, built."""

import dataclasses
import functools
import importlib.metadata
import math
import os
import pathlib
import sys
from typing import Any

import jax

from evo import engine as engine_lib
from evo import hosts as hosts_lib
from evo import populations as populations_lib
from evo import space as space_lib
from evo import strategies
from evo import strategy as strategy_lib
from evo import trainee as trainee_lib
from launch import cli, parameters
from launch import devices as devices_lib
from launch import topology as topology_lib
from models import compute, language_model
from models import data as data_lib
from models import structure as structure_lib

# A child of `evolution` whose lineage could give it less than this share of its
# weights trains from scratch instead.
_LEAST_SHARE = 0.5
# Of a device's memory, for what blocks keep until the way back. Beside it there
# have to be two copies of the population, while a checkpoint is written.
_KEPT_SHARE = 1 / 3
# Strategies whose children may go on from what a lineage holds at --inherit_at.
EVOLVING = ('evolution', 'hybrid')


@dataclasses.dataclass
class Experiment:
  """What a campaign needs.

  Attributes:
    why: the mesh is the one it is; searches tell it.
  """

  trainee: language_model.LanguageModel
  space: space_lib.Space
  strategy: strategy_lib.Strategy
  engine: engine_lib.Engine
  why: str = ''


def prepare_backend(given: dict[str, Any], hosts: int = 1) -> None:
  """Configures JAX before it starts: one CPU device per core, the cache.

  Args:
    given: the flags.
    hosts: that share the mesh and the population.
  """
  sizes = devices_lib.parse(given['mesh'])
  if sizes:
    devices = math.prod(sizes.values()) // hosts
  else:
    devices = _cores(given['population'] // hosts)
  jax.config.update('jax_num_cpu_devices', max(1, devices))
  if not os.environ.get('JAX_PLATFORMS') and not _accelerators():
    # Else an installed TPU library looks for its chips, at length and aloud.
    jax.config.update('jax_platforms', 'cpu')
  if not os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    jax.config.update('jax_compilation_cache_dir', str(cli.cache() / 'jax'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


def load_space(given: dict[str, Any]) -> space_lib.Space:
  """The space of the flags, free in the tiers that may change."""
  return parameters.load(given['space']).restrict(given['tiers'])


def load_trainee(
  given: dict[str, Any],
  space: space_lib.Space,
  topology: topology_lib.Topology | None = None,
) -> language_model.LanguageModel:
  """The transformer on the text of the flags.

  Args:
    given: the flags.
    space: of its configurations.
    topology: of TPUs that it is computed on; by default what is at hand.
  """
  corpus = data_lib.load(
    given['data'] or None,
    given['tokenizer'],
    tuple(given['splits']),
    context=_longest_context(space),
    evaluation_tokens=given['evaluation_tokens'],
  )
  if topology:
    platform, memory, chips = 'tpu', topology.chip.usable, topology.chips
  else:
    platform, chips = jax.default_backend(), jax.device_count()
    memory = populations_lib.device_memory()
  # Several members on a device may be vectorised.
  room = _KEPT_SHARE * memory / max(1, given['population'] // chips)
  return language_model.LanguageModel(corpus, compute.on(platform, room))


def check_text(
  trainee: language_model.LanguageModel, run: dict[str, Any]
) -> None:
  """Raises ValueError unless the text is what a search was made of.

  Args:
    trainee: on the text of its flags.
    run: content of its run.json.
  """
  if trainee.digest != run['data_digest']:
    raise ValueError(
      f'--data={run["flags"]["data"]} is not what it was when the search began;'
      ' expected the same text'
    )


def mapped(
  given: dict[str, Any], mesh: jax.sharding.Mesh, platform: str
) -> bool:
  """Whether the members of a device run one after another."""
  # A vectorised member alone would only have another axis.
  alone = mesh.shape['member'] == given['population']
  by_itself = alone or platform == 'cpu'
  return given['mapping'] == 'map' or (given['mapping'] == 'auto' and by_itself)


def build(
  given: dict[str, Any],
  *,
  trainee: language_model.LanguageModel | None = None,
  library: populations_lib.Library | None = None,
  hosts: hosts_lib.Hosts | None = None,
  **options: Any,
) -> Experiment:
  """Builds all; writes nothing.

  Args:
    given: the flags.
    trainee: made before from the same flags.
    library: of programs compiled for the same members.
    hosts: of the run.
    **options: of the strategy.

  Raises:
    ValueError: one line, what is wrong and what is expected.
    OSError: a file cannot be read.
  """
  space = load_space(given)
  trainee = trainee or load_trainee(given, space)
  strategy = make_strategy(given, trainee, space, **options)
  hosts = hosts or hosts_lib.Hosts()
  mesh, why = devices_lib.of_run(given, trainee, space, hosts)
  made = engine(given, space, trainee, library, hosts, mesh)
  return Experiment(trainee, space, strategy, made, why)


def engine(
  given: dict[str, Any],
  space: space_lib.Space,
  trainee: language_model.LanguageModel,
  library: populations_lib.Library | None = None,
  hosts: hosts_lib.Hosts | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> engine_lib.Engine:
  """The engine of the flags; see `build`."""
  hosts = hosts or hosts_lib.Hosts()
  mesh = mesh or devices_lib.of_run(given, trainee, space, hosts)[0]
  return engine_lib.Engine(
    trainee,
    space,
    budget(given, trainee, space),
    given['workdir'],
    slots=given['population'],
    mesh=mesh,
    mapped=mapped(given, mesh, jax.default_backend()),
    crossing=trainee,
    max_species=given['max_species'],
    library=library,
    hosts=hosts,
  )


def describe(
  given: dict[str, Any], experiment: Experiment, command: str
) -> dict[str, Any]:
  """The content of run.json: what the run is, its constants and its command."""
  engine, space = experiment.engine, experiment.space
  return {
    'flags': given,
    'strategy': given['strategy'],
    'finds_schedules': experiment.strategy.finds_schedules,
    'metric': experiment.trainee.metric,
    'segments': given['segments'],
    'steps_per_segment': engine.steps,
    'tokens_per_step': engine.cost.tokens_per_step,
    'flops_per_member': engine.member_flops,
    'slots': given['population'],
    'mesh': {name: engine.mesh.shape[name] for name in engine.mesh.axis_names},
    'mesh_reason': experiment.why,
    'space': space.to_json(),
    'baseline': space.baseline,
    'weights': engine.cost.weights,
    'data_digest': experiment.trainee.digest,
    'command': command,
    'versions': versions(),
  }


def versions() -> dict[str, str]:
  """Of the libraries on which results depend."""
  return {
    name: importlib.metadata.version(name)
    for name in ('jax', 'jaxlib', 'flax', 'orbax-checkpoint', 'numpy')
  }


def make_strategy(
  given: dict[str, Any],
  trainee: language_model.LanguageModel,
  space: space_lib.Space,
  **options: Any,
) -> strategy_lib.Strategy:
  """The strategy of the flags.

  Args:
    given: the flags.
    trainee: knows what members of two structures have in common.
    space: what may change.
    **options: of the strategy, before those of the flags.
  """
  if given['strategy'] in EVOLVING:
    options['inherit_at'] = given['inherit_at']
    options['inherits'] = functools.partial(_inherits, trainee)
  return strategies.make(
    given['strategy'],
    space,
    **{name: given[name] for name in ('seed', 'population', 'segments')}
    | options,
  )


def _inherits(
  trainee: language_model.LanguageModel,
  old: trainee_lib.Structure,
  new: trainee_lib.Structure,
) -> bool:
  """Whether a child of such a structure takes over enough to go on from."""
  try:
    return trainee.share(old, new) >= _LEAST_SHARE
  except ValueError:
    return False  # There is no such structure: it will be infeasible.


def budget(
  given: dict[str, Any],
  trainee: language_model.LanguageModel,
  space: space_lib.Space,
) -> engine_lib.Budget:
  """Of one member: the flags count in tokens of the space's baseline."""
  cost = trainee.cost(space.structure(space.baseline))
  flops = given['member_flops']
  if flops is None:
    flops = given['member_tokens'] * cost.flops_per_step / cost.tokens_per_step
  return engine_lib.Budget(flops, given['segments'])


def _longest_context(space: space_lib.Space) -> int:
  """Of all members: evaluation has to score the same targets for each."""
  p = space.by_name.get('context')
  if p is None:
    return structure_lib.Structure.context
  return max(p.values) if 'context' in space.free else p.default


def _accelerators() -> bool:
  """Whether there may be a TPU or GPU; only Linux tells by its devices."""
  names = ('accel*', 'vfio/*', 'nvidia*', 'kfd')
  found = any(any(pathlib.Path('/dev').glob(name)) for name in names)
  return found or sys.platform != 'linux'


def cores() -> int:
  """That this process may use, where the system can tell."""
  linux = sys.platform == 'linux'
  return len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1


def _cores(population_size: int) -> int:
  """CPU devices: as many cores as divide the population."""
  return max(d for d in range(1, cores() + 1) if population_size % d == 0)
