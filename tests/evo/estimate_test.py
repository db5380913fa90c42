import pytest

from evo import chips, collectives, estimate, hlo, program, trainee

CHIP = chips.Chip(
  name='one',
  peak=100.0,
  clock=10.0,
  usable=1000.0,
  bandwidth=1.0,
  link=4.0,
)
COST = trainee.Cost(
  flops_per_step=50.0,
  tokens_per_step=8,
  flops_per_evaluation={'search': 1.0},
  weights=2,
)

_PROGRAM = """HloModule m

%body (p: s32[]) -> s32[] {
  %p = s32[] parameter(0)
  %k = f32[4] custom-call(%p), custom_call_target="tpu_custom_call"
  ROOT %n = s32[] add(%p, %p), backend_config={"estimated_cycles":"20"}
}

%until (p: s32[]) -> pred[] {
  %p = s32[] parameter(0)
  %c = s32[] constant(3)
  ROOT %l = pred[] compare(%p, %c), direction=LT
}

ENTRY %main (x: s32[]) -> s32[] {
  %x = s32[] parameter(0)
  ROOT %w = s32[] while(%x), condition=%until, body=%body
}
"""


def _time():
  found = [
    collectives.Collective('all-reduce', ('data',), 2.0, 6),
    collectives.Collective('send', (collectives.BETWEEN_SLICES,), 9e9, 1),
  ]
  return estimate.of_program(
    hlo.Module(_PROGRAM), CHIP, found, lambda text: 25.0
  )


def test_cycles_kernels_and_links_take_their_time():
  time = _time()
  assert time.scheduled == 3 * 20 / 10
  assert time.kernels == 3 * 25 / (100 / 2)
  assert time.sending == 2 * 6 / 4
  assert time.seconds == 6 + 1.5 + 3


def test_a_ring_carries_both_ways_but_a_permutation_goes_one():
  def sending(kind, axes, rings):
    found = [collectives.Collective(kind, axes, 8.0, 1)]
    module = hlo.Module(_PROGRAM)
    return estimate.of_program(
      module, CHIP, found, lambda text: 0.0, rings
    ).sending

  assert sending('all-reduce', ('data',), ()) == 2
  assert sending('all-reduce', ('data',), {'data', 'fsdp'}) == 1
  assert sending('all-reduce', ('data', 'tensor'), {'data'}) == 2
  assert sending('collective-permute', ('member',), {'member'}) == 2


def test_utilisation_counts_the_flops_of_the_model_only():
  # 10.5 seconds for 7 steps of 4 members on 2 chips.
  made = estimate.Estimate(
    chip=CHIP, chips=2, slots=4, steps=7, cost=COST, segment=_time()
  )
  assert made.step_seconds == 1.5
  assert made.utilisation == pytest.approx(4 * 50 / 1.5 / (2 * 100))
  assert made.tokens_per_second == pytest.approx(4 * 8 / 1.5)


def _footprint():
  return estimate.footprint(
    [program.Memory(60, 5, 30), program.Memory(60, 0, 50)],
    state=40.0,
    data=100.0,
    others=20.0,
  )


def test_a_chip_holds_all_live_species_twice_while_they_are_saved():
  taken = _footprint()
  assert taken.copies == 60
  assert taken.temporaries == 50
  assert taken.total == 100 + 40 + 20 + 60 + 50


def test_as_many_slots_fit_as_leave_room_for_the_data():
  # Two slots take 85 bytes each; of 1000 bytes the data leaves 900.
  assert _footprint().rows(CHIP, 2, mapped=False) == 10


def test_slots_that_take_turns_share_the_temporaries():
  # Two slots take 60 bytes each; 850 bytes are left.
  assert _footprint().rows(CHIP, 2, mapped=True) == 14


def test_no_slot_fits_beside_data_that_does_not():
  taken = estimate.footprint(
    [program.Memory(60, 5, 30)], state=40.0, data=2000.0, others=0.0
  )
  assert taken.rows(CHIP, 1, mapped=False) == 0


def test_a_run_goes_in_waves_of_all_slots():
  seconds = estimate.run_seconds(9, slots=4, segments=10, segment=2.0, turn=1.0)
  assert seconds == 3 * (10 * 2 + 1)
