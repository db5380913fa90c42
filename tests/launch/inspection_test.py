import jax
import pytest

from evo import program
from launch import inspection, topology

_TEXT = """HloModule m

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8] parameter(0)
  ROOT %r = f32[8] all-reduce(%x), replica_groups={{0,1}}, \
use_global_device_ids=true, backend_config={"estimated_cycles":"1500"}
}
"""


class _Program:
  def text(self):
    return _TEXT

  def memory(self):
    return program.Memory(arguments=10, results=2, temporaries=3)


class _Population:
  """Of which programs for more than `room` slots cannot be compiled."""

  def __init__(self, slots, room, message):
    self._slots, self._room, self._message = slots, room, message

  def program(self, name):
    if self._slots > self._room:
      raise jax.errors.JaxRuntimeError(self._message)
    return _Program()


def _inspect(room, slots=8, message='RESOURCE_EXHAUSTED: no room\nat length'):
  pytest.importorskip('libtpu')
  made, told = topology.parse('v5e:2x2'), []
  topology.prepare_backend(made)
  found = inspection.inspect(
    None,
    lambda slots: _Population(slots, room, message),
    slots,
    made,
    made.mesh({'member': 4}),
    lambda name, seconds: told.append(name),
  )
  return found, told


def test_each_program_is_looked_at_and_reported():
  found, told = _inspect(room=8)
  assert (found.slots, found.refusal) == (8, None)
  assert set(found.programs) == set(inspection.PROGRAMS) == set(told)
  segment = found.programs['segment']
  assert segment.time.scheduled == 1500 / 1.5e9
  assert segment.memory.temporaries == 3
  assert [c.axes for c in segment.collectives] == [('member',)]
  assert found.state == 10


def test_where_there_is_no_room_for_all_one_slot_for_each_place_is_tried():
  found, _ = _inspect(room=4)
  assert (found.slots, found.refusal) == (4, 'segment: no room')
  assert set(found.programs) == set(inspection.PROGRAMS)


def test_where_there_is_no_room_at_all_nothing_is_known():
  found, _ = _inspect(room=0)
  assert (found.slots, found.refusal, found.programs) == (
    0,
    'segment: no room',
    {},
  )


def test_other_answers_of_the_compiler_are_errors():
  with pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'):
    _inspect(room=0, message='INTERNAL: a bug')
