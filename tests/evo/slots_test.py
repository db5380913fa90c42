"""Tests of the table of slots."""

import pytest

from evo import member, slots


def leg(i, source=None, start=0, stop=2):
  return member.Leg(i, None, {}, source, start, stop, seed=0)


def done(leg, status=member.OK):
  return member.Result(leg, status, {}, stop=leg.stop)


def after(legs, size=4, devices=2, status=member.OK):
  """A table in which these legs have ended."""
  table = slots.Table(size, devices)
  table.start(legs)
  table.settle([])
  table.settle([done(leg, status) for leg in legs])
  return table


def test_members_are_spread_over_the_devices():
  table = slots.Table(8, 2)
  table.start([leg(i) for i in range(4)])
  busy = [leg is not None for leg in table.legs]
  assert sum(busy[:4]) == sum(busy[4:]) == 2


def test_a_member_that_goes_on_stays_where_it_is():
  table = after([leg(i) for i in range(4)])
  places = [table.held[i, 2] for i in range(4)]
  filling = table.start([leg(i, (i, 2), 2, 4) for i in (3, 1, 0)])
  assert not filling.any()
  for i in (0, 1, 3):
    assert table[places[i]].leg.member == i and table[places[i]].done == 2


def test_an_heir_copies_from_the_slot_of_its_donor():
  table = after([leg(i) for i in range(4)])
  donor = table.held[0, 2]
  filling = table.start([leg(0, (0, 2), 2, 4), leg(9, (0, 2), 2, 4)])
  (place,) = [i for i, x in enumerate(table.legs) if x and x.member == 9]
  assert filling.moves[place] == donor != place and filling.moved
  assert not filling.fresh and not filling.restored


def test_what_no_slot_holds_is_restored():
  table = after([leg(0)])
  table.start([leg(i) for i in range(1, 5)])
  table.settle([])
  table.settle([done(leg(i)) for i in range(1, 5)])
  filling = table.start([leg(9, (0, 2), 2, 4)])
  assert list(filling.restored.values()) == [(0, 2)]
  assert (0, 2) not in table.held


def test_a_diverged_state_is_not_held():
  table = after([leg(0)], status=member.DIVERGED)
  assert table.free() == 4
  assert not table.held


def test_legs_end_with_the_segment_that_completes_them():
  table = slots.Table(2, 1)
  table.start([leg(0, stop=1), leg(1, stop=2)])
  assert [x and x.member for x in table.ending()] == [0, None]
  table.settle([done(leg(0, stop=1))])
  assert [x and x.member for x in table.ending()] == [None, 1]


def test_states_are_found_again_in_a_table_for_other_devices():
  tables = [slots.Table(4, devices) for devices in (1, 2, 4)]
  for table in tables:
    table.start([leg(0), leg(1), leg(2)])
    table.settle([])
    table.settle([done(leg(1))])
  saved = tables[1].states
  assert set(saved) == {(0, 2), (1, 2), (2, 2), None}
  for table in tables:
    rows = table.reseat(saved)
    assert [saved[row] for row in rows if saved[row]] == [
      state for state in table.states if state
    ]


def test_held_states_that_were_not_saved_are_forgotten():
  table = after([leg(0), leg(1)])
  assert len(table.held) == 2
  table.reseat([(1, 2), None, None, None])
  assert set(table.held) == {(1, 2)}


def test_legs_at_work_have_to_be_among_those_saved():
  table = slots.Table(2, 1)
  table.start([leg(0)])
  with pytest.raises(ValueError, match='member 0 is not among those saved'):
    table.reseat([(1, 0), None])
