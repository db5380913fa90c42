"""Tests of what a search says before it starts."""

import pytest

from launch import plan

RUN = {
  'segments': 10,
  'steps_per_segment': 12,
  'weights': 830_000,
  'tokens_per_step': 768,
  'flops_per_member': 1e12,
  'mesh': {'member': 8, 'data': 2, 'fsdp': 1, 'tensor': 1},
  'mesh_reason': 'for a reason',
}
WHOLE = ['calibrate', 'search', 'confirm', 'ablate', 'transfer', 'locked']


@pytest.fixture
def said():
  """Makes the plan of flags, in lines."""
  quick = {
    'strategy': 'evolution',
    'space': 'nanogpt',
    'population': 8,
    'max_members': 24,
    'max_flops': None,
    'max_minutes': None,
    'confirm_seeds': 4,
    'cycles': 3,
    'phases': ['search', 'confirm'],
  }

  def make(rounds=0, **flags):
    return plan.plan(quick | flags, RUN, rounds).splitlines()

  return make


def test_the_quick_search_says_what_it_costs_and_leaves_out(said):
  members, mesh, cost, phases, missing = said()
  assert members.endswith('120 steps of 768 tokens, 1e+12 FLOPs each')
  assert mesh == 'mesh member:8,data:2: for a reason'
  assert cost == 'at most 24 members and 8 runs to confirm: 3.2e+13 FLOPs'
  assert phases == 'phases: search, confirm'
  assert missing.startswith('left out: the noise of the loss, which of the ch')
  assert 'larger scale' in missing and 'locked split' in missing


def test_a_whole_campaign_leaves_nothing_out(said):
  flags = {'max_members': 0, 'max_minutes': 90.0, 'confirm_seeds': 16}
  lines = said(phases=WHOLE, **flags)
  assert 'at most 1 h 30 min, which become FLOPs' in lines[2]
  assert lines[3].endswith(
    'locked; 3 cycles, or more where the bounds have room'
  )
  assert len(lines) == 4


def test_a_bound_too_small_for_the_phases_is_told_before_it_starts(said):
  flags = {'max_members': 0, 'phases': WHOLE, 'confirm_seeds': 6}
  # 16 to calibrate, 32 to search, 12 for the gate, 30 to ablate, 16 locked.
  assert 'less than the 106' in said(max_flops=1.05e14, **flags)[-1]
  assert 'undecided' in said(max_flops=1.05e14, **flags)[-1]
  assert not any(
    'less than' in line for line in said(max_flops=1.07e14, **flags)
  )


def test_one_member_alone_is_only_trained(said):
  assert said(max_members=1)[2].startswith('at most 1 members and 0 runs')
  assert len(said(max_members=1)) == 3
  flags = {'phases': WHOLE, 'cycles': 3, 'search_share': 0.5}
  alone = plan.phases(flags | {'max_members': 1, 'confirm_seeds': 16})
  assert (alone.pairs, alone.calibrates) == (0, False)


def test_a_resumed_search_says_where_it_goes_on(said):
  assert said(rounds=7)[-1] == 'resuming after round 6'
