"""Tests of seats: which species are live, and what becomes of proposals."""

import dataclasses

import pytest

from evo import member, parameter, seats, space, species, trainee

OK, INFEASIBLE = member.OK, member.INFEASIBLE


class Blocks:
  """Costs its depth; there is none with a depth of 9."""

  def cost(self, structure):
    depth = dict(structure)['depth']
    if depth == 9:
      raise ValueError('depth 9; expected another')
    return trainee.Cost(float(depth), 1, {'search': depth / 10}, depth)


@pytest.fixture
def deep():
  """A space of a structural depth and a traced rate."""
  depth = {'kind': 'int', 'low': 1, 'high': 9, 'default': 2}
  rate = {'kind': 'float', 'low': 0.0, 'high': 1.0, 'default': 0.5}
  return space.Space.from_json(
    {
      'name': 'deep',
      'parameters': {
        'depth': depth | {'tier': 'architecture', 'structural': True},
        'rate': rate | {'tier': 'configuration'},
      },
    }
  )


@pytest.fixture
def catalogue(deep):
  baseline = deep.structure(deep.baseline)
  budget = species.Budget(90.0, 10)
  return species.Catalogue(Blocks(), budget, baseline, None)


@pytest.fixture
def made(deep, catalogue):
  return seats.Seats(deep, catalogue, size=4, devices=1)


def leg(i, depth, rate=0.5, **values):
  configuration = {'depth': depth, 'rate': rate}
  values = {'parent': None, 'source': None, 'start': 0, 'stop': 10} | values
  return member.Leg(i, configuration=configuration, seed=7, **values)


def begin(made, legs, limit=2, **options):
  admitted = made.admit(legs, limit=limit, **options)
  made.start(admitted)
  return admitted


def end(made, legs, status=OK):
  made.settle([member.Result(x, status, {}, stop=x.stop) for x in legs])


def depths(legs):
  return [x.configuration['depth'] for x in legs]


def live(made, catalogue):
  return [dict(catalogue.species[i].structure)['depth'] for i in made.tables]


def test_species_are_numbered_as_they_come(made, catalogue):
  begin(made, [leg(0, 5), leg(1, 3), leg(2, 5)])
  assert [made.species_of[i] for i in range(3)] == [0, 1, 0]
  assert live(made, catalogue) == [5, 3]


def test_a_proposal_without_a_seat_gets_the_nearest_structure(made):
  assert depths(begin(made, [leg(0, 1), leg(1, 5), leg(2, 4)])) == [1, 5, 5]


def test_what_is_repaired_keeps_all_the_rest(made):
  repaired = begin(made, [leg(0, 1), leg(1, 5), leg(2, 4, rate=0.9)])[2]
  assert repaired == leg(2, 5, rate=0.9)


def test_a_repair_that_leaves_the_parent_again_is_mutated(made):
  legs = [leg(0, 1, 0.3), leg(1, 5), leg(2, 2, 0.3, parent=0)]
  repaired = begin(made, legs)[2].configuration
  assert repaired['depth'] == 1 and repaired['rate'] != 0.3


def test_a_repaired_heir_keeps_what_its_lineage_began_with(deep, catalogue):
  spread = {'kind': 'float', 'low': 0.0, 'high': 1.0, 'default': 0.5}
  spread |= {'tier': 'configuration', 'initial': True}
  searched = space.Space(
    'begun',
    [
      *deep.parameters,
      parameter.Parameter.from_json('spread', spread),
      parameter.Parameter.from_json('tail', spread | {'when': {'depth': [1]}}),
    ],
  )
  made = seats.Seats(searched, catalogue, size=4, devices=1)

  def begun(i, depth, tail, **values):
    made = leg(i, depth, **values)
    configuration = made.configuration | {'spread': 0.1, 'tail': tail}
    return dataclasses.replace(made, configuration=configuration)

  heir = {'parent': 0, 'source': (0, 3), 'start': 3}
  begin(made, [begun(0, 1, 0.2), begun(1, 5, 0.5)])
  # Of depth 2, for which there is no seat, the tail is not active.
  repaired = begin(made, [begun(2, 2, 0.5, **heir)])[0].configuration
  assert (repaired['depth'], repaired['spread'], repaired['tail']) == (
    1,
    0.1,
    0.2,
  )
  # That left the parent, so something else was changed.
  assert repaired['rate'] != 0.5


def test_devices_share_the_members_of_all_species_evenly(deep, catalogue):
  made = seats.Seats(deep, catalogue, size=4, devices=2)
  begin(made, [leg(i, depth) for i, depth in enumerate((1, 3, 5, 7))], limit=4)
  loads = [table.load for table in made.tables.values()]
  assert [sum(load) for load in zip(*loads)] == [2, 2]


def test_an_idle_species_leaves_and_the_longest_idle_first(made, catalogue):
  first = begin(made, [leg(0, 1), leg(1, 5)], limit=2)
  end(made, first[1:])
  end(made, first[:1])
  for i in range(2, 18):  # Sixteen members pay for a species more.
    end(made, begin(made, [leg(i, 1)]))
  assert live(made, catalogue) == [1, 5]
  assert depths(begin(made, [leg(18, 7)])) == [7]
  assert live(made, catalogue) == [1, 7] and made.leaving == [1]


def test_a_species_at_work_keeps_its_seat(made):
  begin(made, [leg(0, 1), leg(1, 5)], limit=2)
  assert depths(begin(made, [leg(2, 8)])) == [5]


def test_a_new_species_has_to_be_paid_for_by_members(made):
  end(made, begin(made, [leg(0, 1), leg(1, 5)], limit=2))
  for i in range(2, 16):
    assert depths(begin(made, [leg(i, 8)])) == [5]
    end(made, [leg(i, 5)])
  assert depths(begin(made, [leg(16, 8)])) == [8]


def test_a_species_seen_before_costs_nothing_again(made, catalogue):
  end(made, begin(made, [leg(0, 1), leg(1, 5)], limit=2))
  for i in range(2, 18):
    end(made, begin(made, [leg(i, 5)]))
  end(made, begin(made, [leg(18, 8)]))
  assert live(made, catalogue) == [5, 8]
  assert depths(begin(made, [leg(19, 1)])) == [1]
  assert made.species_of[19] == made.species_of[0]


def test_a_member_that_goes_on_always_finds_its_species(made, catalogue):
  first = leg(0, 1, stop=3, keep=True)
  end(made, begin(made, [first], limit=1))
  begin(made, [leg(1, 1)], limit=1)
  on = leg(0, 1, source=(0, 3), start=3)
  assert begin(made, [on], limit=1) == [on]
  # Even where another structure took the only seat meanwhile.
  other = seats.Seats(made._space, catalogue, size=4, devices=1)
  end(other, begin(other, [first], limit=1))
  del other.tables[other.species_of[0]]
  begin(other, [leg(1, 6)], limit=1)
  assert begin(other, [on], limit=1) == [on] and len(other.tables) == 2


def test_species_that_a_leg_inherits_from_keep_their_seat(made, catalogue):
  end(made, begin(made, [leg(0, 1), leg(1, 5)], limit=2))
  heirs = [leg(2, 8), leg(3, 5, parent=0, source=(0, 10), start=3)]
  begin(made, heirs, limit=2)
  assert 1 in live(made, catalogue) and 5 in live(made, catalogue)


def test_a_confirmation_trains_what_it_confirms(made):
  legs = [leg(0, 1), leg(1, 5)]
  assert depths(begin(made, legs, limit=1, repair=False)) == [1, 5]


def test_an_impossible_structure_takes_no_seat_and_ends_at_once(made):
  legs = begin(made, [leg(0, 9), leg(1, 2)])
  assert [r.leg for r in made.infeasible()] == [legs[0]]
  assert made.free() == 2 and len(made.tables) == 1
  made.settle([member.Result(legs[0], INFEASIBLE, {})])
  assert made.free() == 3


def test_a_species_that_does_not_fit_loses_its_seat_for_good(made, catalogue):
  legs = begin(made, [leg(0, 5), leg(1, 2)])
  made.refuse(0, 'too large')
  assert [r.leg for r in made.infeasible()] == [legs[0]]
  made.settle([member.Result(legs[0], INFEASIBLE, {})])
  assert live(made, catalogue) == [2] and made.leaving == [0]
  again = begin(made, [leg(2, 5)])
  assert [r.leg for r in made.infeasible()] == again


def test_a_replay_knows_from_the_results_what_did_not_fit(made, catalogue):
  legs = begin(made, [leg(0, 5), leg(1, 2)])
  made.settle([member.Result(legs[0], INFEASIBLE, {})])
  assert live(made, catalogue) == [2] and catalogue.species[0].refusal


def test_a_structure_too_costly_for_a_step_is_refused(catalogue):
  deep = catalogue.add((('depth', 9000),))
  assert deep.steps == 0 and 'a step costs 9e+03 FLOPs' in deep.refusal


def test_a_structure_too_costly_to_score_is_refused(deep):
  class Costly(Blocks):
    def cost(self, structure):
      return (
        super()
        .cost(structure)
        ._replace(
          flops_per_evaluation={'search': 10.0 * dict(structure)['depth']}
        )
      )

  baseline = deep.structure(deep.baseline)
  made = species.Catalogue(Costly(), species.Budget(90.0, 10), baseline, None)
  assert made.evaluation_flops == 22.5
  assert made.add((('depth', 2),)).refusal is None
  assert 'an evaluation costs 30 FLOPs' in made.add((('depth', 3),)).refusal
