"""What a preflight found, as JSON and as a table."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from evo import collectives, estimate, wording
from evo import mesh as mesh_lib
from launch import experiment, inspection, plan
from launch import topology as topology_lib

_GIB = 1 << 30
_UNITS = {'GB': 1e9, 'MB': 1e6, 'kB': 1e3, 'B': 1}


@dataclasses.dataclass(frozen=True)
class Setting:
  """For what a search is forecast.

  Attributes:
    given: its flags.
    topology: its chips.
    sizes: of its mesh.
    mapped: whether the members of a chip take turns.
    live: species whose slots are on the chips at the same time.
    member_flops: budget of a member.
    price: of a chip for an hour, or None.
  """

  given: dict[str, Any]
  topology: topology_lib.Topology
  sizes: mesh_lib.Sizes
  mapped: bool
  live: int
  member_flops: float
  price: float | None


def forecast(
  setting: Setting, inspections: Sequence[inspection.Inspection]
) -> dict[str, Any]:
  """The content of preflight.json.

  Args:
    setting: of the search.
    inspections: of species, the baseline's first.
  """
  largest = max((i.state / i.slots for i in inspections if i.slots), default=0)
  species = [_species(setting, each, largest) for each in inspections]
  return {
    'topology': setting.topology.name,
    'chips': setting.topology.chips,
    'mesh': mesh_lib.describe(setting.sizes),
    'population': setting.given['population'],
    'flags': setting.given,
    'versions': experiment.versions(),
    'fits': all(each['fits'] for each in species),
    'utilisation': species[0]['utilisation'],
    'run': _run(setting, inspections[0]) if species[0]['fits'] else None,
    'species': species,
  }


def table(value: dict[str, Any]) -> str:
  """The same for people: a line for each species, and what a run takes."""
  first = value['species'][0]
  lines = [
    f'{value["population"]} members on {value["topology"]},'
    f' {wording.count(value["chips"], "chip")} as {value["mesh"]}',
    '',
    'weights  ms/step  utilisation  tokens/s   GiB of'
    f' {first["memory"] / _GIB:.2f}  members that fit  compiled in',
    *map(_line, value['species']),
    '',
  ]
  lines += [
    f'no room: {s["refusal"]}' for s in value['species'] if s['refusal']
  ]
  for name, program in first['programs'].items():
    lines += [
      f'{name}: {c["kind"]} over {", ".join(c["axes"])}, {c["times"]} times,'
      f' {_size(c["bytes_sent"])} sent by each chip'
      for c in program['collectives']
    ]
  if run := value['run']:
    lines.append(_run_line(run))
  if value['utilisation'] is not None:
    lines.append(f'utilisation {value["utilisation"]:.0%} (estimate)')
  return '\n'.join(lines)


def _species(
  setting: Setting, found: inspection.Inspection, largest: float
) -> dict[str, Any]:
  """Of one species; `largest` is the state of any slot on a chip, bytes."""
  known = {
    'structure': dict(found.species.structure),
    'weights': found.species.cost.weights,
    'memory': setting.topology.chip.usable,
    'refusal': found.refusal,
    'fits': False,
    'members_that_fit': 0,
    'programs': {name: _program(p) for name, p in found.programs.items()},
    'seconds_compiling': found.seconds,
    'step_seconds': None,
    'utilisation': None,
    'tokens_per_second': None,
    'bytes': None,
  }
  if not found.programs:
    return known
  members, slots = setting.sizes.get('member', 1), found.slots
  taken = estimate.footprint(
    [program.memory for program in found.programs.values()],
    state=found.state,
    data=found.programs['segment'].memory.arguments - found.state,
    others=(setting.live - 1) * largest * slots,
  )
  fit = taken.rows(setting.topology.chip, slots // members, setting.mapped)
  speed = _speed(setting, found)
  return known | {
    'fits': not found.refusal and taken.total <= setting.topology.chip.usable,
    'members_that_fit': fit * members,
    'step_seconds': speed.step_seconds,
    'utilisation': speed.utilisation,
    'tokens_per_second': speed.tokens_per_second,
    'bytes': dataclasses.asdict(taken) | {'total': taken.total},
  }


def _program(found: inspection.Compiled) -> dict[str, Any]:
  return {
    'bytes': found.memory._asdict(),
    'seconds': found.time.seconds,
    'seconds_by_cause': dataclasses.asdict(found.time),
    'collectives': collectives.summary(found.collectives),
    'seconds_compiling': found.seconds,
  }


def _speed(setting: Setting, found: inspection.Inspection) -> estimate.Estimate:
  return estimate.Estimate(
    chip=setting.topology.chip,
    chips=setting.topology.chips,
    slots=found.slots,
    steps=found.species.steps,
    cost=found.species.cost,
    segment=found.programs['segment'].time,
  )


def _run(
  setting: Setting, found: inspection.Inspection
) -> dict[str, Any] | None:
  """Of members like the baseline, up to the first bound; None without one."""
  given = setting.given
  times = {name: p.time.seconds for name, p in found.programs.items()}
  turn = times['search'] + times['refill'] + times['inherit']
  per_turn = given['segments'] * times['segment'] + turn
  members = [
    given['max_members'] + 2 * plan.pairs(given)
    if given['max_members']
    else math.inf,
    (given['max_flops'] or math.inf) / setting.member_flops,
  ]
  seconds = [
    estimate.run_seconds(
      min(members), found.slots, given['segments'], times['segment'], turn
    )
    if min(members) < math.inf
    else math.inf,
    60 * (given['max_minutes'] or math.inf),
  ]
  if min(seconds) == math.inf:
    return None
  hours = min(seconds) / 3600 * setting.topology.chips
  return {
    'members': int(min(*members, min(seconds) / per_turn * found.slots)),
    'seconds': min(seconds),
    'chip_hours': hours,
    'money': None if setting.price is None else hours * setting.price,
  }


def _line(species: dict[str, Any]) -> str:
  weights = f'{species["weights"] / 1e6:6.4g}M'
  if not species['programs']:
    return f'{weights}  no room for one member'
  total = f'{species["bytes"]["total"] / _GIB:13.2f}'
  return '  '.join(
    (
      weights,
      f'{species["step_seconds"] * 1e3:7.4g}',
      f'{species["utilisation"]:11.0%}',
      f'{species["tokens_per_second"]:8,.0f}',
      total,
      f'{species["members_that_fit"]:16}',
      f'{wording.duration(species["seconds_compiling"]):>11}',
    )
  )


def _size(size: float) -> str:
  """Bytes, for people."""
  unit = next((u for u in ('GB', 'MB', 'kB') if size >= _UNITS[u]), 'B')
  return f'{size / _UNITS[unit]:.3g} {unit}'


def _run_line(run: dict[str, Any]) -> str:
  text = (
    f'a run: {wording.count(run["members"], "member")},'
    f' {wording.duration(run["seconds"])},'
    f' {run["chip_hours"]:,.4g} chip-hours'
  )
  if run['money'] is not None:
    text += f', {run["money"]:,.2f} at that price'
  return text + ' (estimate)'
