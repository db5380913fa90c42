"""Tests of how devices become a mesh."""

import math

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo import mesh


def of(member=1, data=1, fsdp=1, tensor=1):
  return dict(zip(mesh.AXES, (member, data, fsdp, tensor)))


def divides(slots, batch):
  return lambda s: (
    not slots % s['member'] and not batch % (s['data'] * s['fsdp'])
  )


def test_all_axes_are_there_and_members_are_explicit():
  made = mesh.make({'member': 4})
  assert dict(made.shape) == of(4)
  assert set(made.axis_types) == {jax.sharding.AxisType.Explicit}
  assert not mesh.splits_members(made)


@pytest.mark.parametrize(('slots', 'devices'), [(8, 4), (6, 3), (5, 1)])
def test_by_itself_a_population_takes_the_devices_that_divide_it(
  slots, devices
):
  assert mesh.of_members(slots) == of(devices)


def test_within_a_member_the_compiler_decides():
  made = mesh.make({'member': 2, 'tensor': 2})
  explicit, auto = jax.sharding.AxisType.Explicit, jax.sharding.AxisType.Auto
  assert made.axis_types == (explicit, auto, auto, auto)
  assert mesh.splits_members(made)


def test_a_mesh_reads_as_its_flag():
  assert mesh.describe(of(8, 2)) == 'member:8,data:2'
  assert mesh.describe(of()) == 'member:1'


@pytest.mark.parametrize('devices', [1, 8, 12, 256])
def test_factorisations_are_all_and_each_once(devices):
  found = [tuple(s.values()) for s in mesh.factorisations(devices)]
  assert len(set(found)) == len(found)
  assert {math.prod(sizes) for sizes in found} == {devices}
  # Ways to write n as an ordered product of four: stars and bars by prime.
  expected = 1
  for prime in (2, 3):
    power = 0
    while devices % prime ** (power + 1) == 0:
      power += 1
    expected *= math.comb(power + 3, 3)
  assert len(found) == expected


@pytest.mark.parametrize(
  ('asked', 'devices', 'best'),
  [
    (of(16), 256, of(16, 16)),
    (of(3, 2), 8, of(4, 2)),
    (of(4, 4), 8, of(4, 2)),
    (of(2, 3), 7, of(2, 2)),  # Neither 7 nor 6 nor 5 of them divide anything.
  ],
)
def test_the_nearest_mesh_uses_the_devices_and_divides(asked, devices, best):
  def fits(s):
    return divides(16, 16)(s) and s['fsdp'] == s['tensor'] == 1

  assert mesh.nearest(asked, devices, fits) == best


@pytest.mark.parametrize(
  ('devices', 'slots', 'memory', 'sizes'),
  [
    (8, 8, 16e9, of(8)),
    (8, 16, 16e9, of(8)),
    (8, 4, 16e9, of(4, 2)),
    (256, 16, 16e9, of(16, 16)),
    (8, 1, 4e9, of(1, 2, 4)),  # 5.3 GB in the 2 GB that each has for it.
    (7, 3, 16e9, of(3)),  # Six devices would need a batch that divides by 2.
  ],
)
def test_members_go_side_by_side_and_what_is_left_splits_them(
  devices, slots, memory, sizes
):
  batch = 16 if devices != 7 else 1
  found, why = mesh.choose(devices, slots, 4e9, memory, divides(slots, batch))
  assert found == sizes
  assert f'for {slots} members' in why


@given(
  devices=st.integers(1, 64),
  slots=st.integers(1, 64),
  batch=st.integers(1, 64),
  state=st.floats(1e3, 1e12),
)
def test_what_is_chosen_can_be(devices, slots, batch, state):
  fits = divides(slots, batch)
  sizes, _ = mesh.choose(devices, slots, state, 16e9, fits)
  assert fits(sizes) and math.prod(sizes.values()) <= devices
  # A mesh on one device always fits: nothing that fits leaves all but it idle.
  assert math.prod(sizes.values()) == max(
    math.prod(s.values())
    for used in range(1, devices + 1)
    for s in mesh.factorisations(used)
    if fits(s) and s['tensor'] == 1
  )


def test_a_member_may_span_hosts_but_every_host_takes_part():
  def fits(s):
    return divides(2, 8)(s) and math.prod(s.values()) % 4 == 0

  assert mesh.choose(16, 2, 1e3, 16e9, fits)[0] == of(2, 8)
  with pytest.raises(ValueError, match='expected a population and a batch'):
    mesh.choose(3, 2, 1e3, 16e9, fits)
