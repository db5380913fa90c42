import json

import pytest

from evo import collectives, estimate, program, species, trainee
from launch import forecast, inspection, topology

_MB = 1e6
_GIVEN = {
  'population': 16,
  'segments': 10,
  'max_members': 32,
  'max_minutes': None,
  'max_flops': None,
  'confirm_seeds': 4,
  'phases': ['search', 'confirm'],
}
_COST = trainee.Cost(
  flops_per_step=197e12,
  tokens_per_step=1000,
  flops_per_evaluation={'search': 1.0},
  weights=2_000_000,
)


def _program(seconds, state=100 * _MB, temporaries=50 * _MB, found=()):
  return inspection.Compiled(
    memory=program.Memory(int(state), 0, int(temporaries)),
    time=estimate.Time(seconds, 0.0, 0.0),
    collectives=list(found),
    seconds=30.0,
  )


def _inspection(slots=16, refusal=None, **changes):
  programs = {
    'segment': _program(20.0, **changes),
    'search': _program(1.0),
    'refill': _program(1.0),
    'inherit': _program(
      2.0, found=[collectives.Collective('all-gather', ('data',), 5e6, 3)]
    ),
  }
  made = species.Species(0, (('depth', 1),), _COST, steps=10)
  return inspection.Inspection(made, slots, programs, refusal)


def _forecast(*inspections, price=None, live=1, **changes):
  setting = forecast.Setting(
    given=_GIVEN | changes,
    topology=topology.parse('v5e:2x4'),
    sizes={'member': 8},
    mapped=False,
    live=live,
    member_flops=1e15,
    price=price,
  )
  value = forecast.forecast(setting, inspections or [_inspection()])
  json.dumps(value, allow_nan=False)
  return value


def test_speed_follows_from_the_segment():
  value = _forecast()
  # 16 members on 8 chips: what one chip does in a second, twice, in 2 seconds.
  assert value['utilisation'] == pytest.approx(1.0)
  (one,) = value['species']
  assert one['step_seconds'] == 2.0
  assert one['tokens_per_second'] == 8000


def test_a_run_is_all_members_and_pairs_in_waves():
  run = _forecast(price=2.0)['run']
  # 32 members and 4 pairs in waves of 16: 3 of 10 segments and what is between.
  assert run['members'] == 40
  assert run['seconds'] == 3 * (10 * 20 + 4)
  assert run['chip_hours'] == pytest.approx(8 * run['seconds'] / 3600)
  assert run['money'] == pytest.approx(2 * run['chip_hours'])


def test_the_bound_that_is_reached_first_ends_a_run():
  value = _forecast(max_minutes=3.4)
  assert value['run']['seconds'] == pytest.approx(204)
  assert value['run']['members'] == 16
  assert _forecast(max_members=0, max_flops=16e15)['run']['seconds'] == 204
  assert _forecast(max_members=0)['run'] is None


def test_a_population_fits_if_all_live_species_do_and_their_copies():
  one = _forecast()['species'][0]
  # Data: the segment has as many arguments as its state.
  assert one['bytes']['data'] == 0
  assert one['bytes']['total'] == (100 + 100 + 50) * _MB
  assert one['fits']
  four = _forecast(live=4)['species'][0]
  assert four['bytes']['total'] == (4 * 200 + 50) * _MB
  # Two slots of a chip take 250 MB of 15.75 GiB.
  assert one['members_that_fit'] == 8 * int(15.75 * 2**30 / (125 * _MB))


def test_one_that_is_too_large_does_not_fit():
  value = _forecast(_inspection(temporaries=20e9))
  assert not value['fits']
  assert value['run'] is None
  assert value['species'][0]['members_that_fit'] == 8


def test_of_one_that_the_compiler_refuses_the_reason_is_told():
  value = _forecast(_inspection(slots=8, refusal='no room'))
  assert not value['fits']
  assert 'no room' in forecast.table(value)
  none = inspection.Inspection(_inspection().species, 0, {}, 'no room')
  value = _forecast(none)
  assert value['utilisation'] is None
  assert 'no room' in forecast.table(value)


def test_the_table_ends_with_the_utilisation():
  lines = forecast.table(_forecast(price=1.2)).splitlines()
  assert lines[-1] == 'utilisation 100% (estimate)'
  assert '32 members' not in lines[-2] and '40 members' in lines[-2]
  assert any(
    'inherit: all-gather over data, 3 times, 15 MB' in s for s in lines
  )
  header = next(i for i, s in enumerate(lines) if s.startswith('weights'))
  assert len(lines[header]) == len(lines[header + 1])
