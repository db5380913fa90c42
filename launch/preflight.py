"""Finds out, without a TPU, what a search would take of one.

  python -m launch.preflight --topology=v5e:16x16 --flagfile=v5e_256
  python -m launch.preflight --topology=2xv5p:4x4x4 --price=4.2 --species=6 \
      --space=nanochat --tiers=configuration,architecture --population=64

Takes the flags of a search. The TPU's own compiler, of `pip install '.[tpu]'`,
compiles the very programs that the search would run: do they fit, which chips
talk to each other, and an estimate of the speed, see `evo/estimate.py`.
"""

import math
import sys
from typing import Any

import jax
import numpy as np
from absl import flags

from evo import mesh as mesh_lib
from evo import population as population_lib
from evo import program, wording
from evo import space as space_lib
from evo import species as species_lib
from launch import cli, devices, files, forecast, inspection, settings
from launch import experiment as experiment_lib
from launch import topology as topology_lib
from models import language_model

# Structures of a space of many that --species is taken from.
_SAMPLED = 64


def main(argv: list[str]) -> int:
  """Compiles, prints and writes preflight.json; 2 where there is no room."""
  del argv
  with cli.input_errors():
    given = settings.values()
    price = flags.FLAGS['price'].value
    settings.require_size({'price': price}, 'price')
    topology = topology_lib.parse(flags.FLAGS['topology'].value)
    workdir = cli.workdir(given['workdir'])
    files.check_workdir(workdir, {}, 'search')
    topology_lib.prepare_backend(topology)
    space = experiment_lib.load_space(given)
    trainee = experiment_lib.load_trainee(given, space, topology)
    sizes, why = devices.choose(
      given, trainee, space, topology.chips, topology.chip.usable
    )
    if math.prod(sizes.values()) < topology.chips:
      raise ValueError(
        f'population {given["population"]} on {topology.chips} chips leaves some'
        f' idle with {mesh_lib.describe(sizes)}; expected a --mesh or a'
        ' population for all of them'
      )
    mesh = topology.mesh(sizes)
    species = _species(given, space, trainee, sizes)
  mapped = experiment_lib.mapped(given, mesh, 'tpu')
  structures = wording.count(len(species), 'structure')
  _say(
    f'{topology.name} ({topology.accelerator}) as'
    f' {mesh_lib.describe(sizes)}: {why}'
  )
  _say(f'{len(inspection.PROGRAMS)} programs to compile of {structures}')
  found = []
  for each in species:

    def make(slots: int, each=each) -> population_lib.Population:
      return _population(given, space, trainee, mesh, mapped, each, slots)

    slots = given['population']
    found.append(
      inspection.inspect(each, make, slots, topology, mesh, _compiled)
    )
  setting = forecast.Setting(
    given=given,
    topology=topology,
    sizes=sizes,
    mapped=mapped,
    live=_live(given, space),
    member_flops=experiment_lib.budget(given, trainee, space).flops,
    price=price,
  )
  value = forecast.forecast(setting, found)
  workdir.mkdir(parents=True, exist_ok=True)
  files.write_json(workdir / 'preflight.json', value)
  print(forecast.table(value))
  if value['fits']:
    return 0
  most = min(each['members_that_fit'] for each in value['species'])
  cli.complain(
    f'{topology.name} has no room for {given["population"]} members; expected'
    f' at most {most}, another --mesh, or more chips'
  )
  return cli.BAD_INPUT


def _species(
  given: dict[str, Any],
  space: space_lib.Space,
  trainee: language_model.LanguageModel,
  sizes: mesh_lib.Sizes,
) -> list[species_lib.Species]:
  """The baseline's, and --species - 1 others from the cheapest to the dearest.

  Of all structures of the space, or of random ones where there are too many.
  """
  baseline = space.structure(space.baseline)
  few = space.structures(most=_SAMPLED)
  catalogue = species_lib.Catalogue(
    trainee, experiment_lib.budget(given, trainee, space), baseline, few
  )
  rng = np.random.default_rng(given['seed'])
  drawn = few or [space.structure(space.sample(rng)) for _ in range(_SAMPLED)]
  first, *others = (catalogue.add(s) for s in dict.fromkeys((baseline, *drawn)))
  others = [
    each
    for each in others
    if each.steps and not trainee.refusal(each.structure, sizes)
  ]
  others.sort(key=lambda s: s.cost.flops_per_step / s.cost.tokens_per_step)
  count = min(flags.FLAGS['species'].value - 1, len(others))
  places = np.linspace(0, len(others) - 1, count).round().astype(int)
  return [first, *(others[place] for place in places)]


def _population(
  given: dict[str, Any],
  space: space_lib.Space,
  trainee: language_model.LanguageModel,
  mesh: jax.sharding.Mesh,
  mapped: bool,
  species: species_lib.Species,
  slots: int,
) -> population_lib.Population:
  """As the search would make it, but over shapes of data."""
  shared = jax.NamedSharding(mesh, mesh_lib.SHARED)
  data = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=shared),
    trainee.data,
  )
  return population_lib.Population(
    trainee,
    species.structure,
    tuple(space.hyperparameters(space.baseline)),
    slots=slots,
    steps=species.steps,
    total_steps=species.steps * given['segments'],
    mesh=mesh,
    data=data,
    mapped=mapped,
    meter=program.Meter(),
  )


def _live(given: dict[str, Any], space: space_lib.Space) -> int:
  """Species that have slots at the same time."""
  varied = any(space.by_name[name].structural for name in space.free)
  return given['max_species'] if varied else 1


def _compiled(name: str, seconds: float) -> None:
  _say(f'{name} compiled in {wording.duration(seconds)}')


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)


def run() -> None:
  """Entry point of the console script."""
  cli.run(main)


settings.define()
flags.adopt_module_key_flags(settings)
flags.DEFINE_string('topology', 'v5e:2x4', 'Chips and their arrangement.')
flags.DEFINE_float('price', None, 'Of a chip for an hour.')
flags.DEFINE_integer(
  'species', 1, 'Structures of the space to compile.', lower_bound=1
)

if __name__ == '__main__':
  run()
