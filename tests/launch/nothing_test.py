"""Tests of real campaigns where there is nothing to find."""

import json
import os
import pathlib

import numpy as np
import pytest

from evo import space as space_lib

ROOT = pathlib.Path(__file__).parents[2]
# Of a range, on its scale: no change within is worth anything, but training of
# 150 steps is chaotic enough to tell it. Two runs of a seed whose 28 parameters
# all differ by as much have a mean difference of .0003 bpb with an sd of .0019
# (8 seeds); a tenth of it has -.000003 and .00006, a hundredth nothing at all in
# most seeds. What remains of an effect, some .00004, no gate can see.
SHARE = 1e-4
FLOATS = ('float', 'log_float')

CAMPAIGNS = 5


def narrowed(p):
  """A parameter's entry with hardly any room about its default."""
  whole = space_lib.Parameter.from_json('p', p)
  place = whole.unit(p['default'])
  low, high = (whole.at(place + sign * SHARE / 2) for sign in (-1, 1))
  return p | {'low': low, 'high': high}


def paired_sd(workdir):
  """Of the differences of the last gate."""
  losses = {}
  for line in (workdir / 'ledger.jsonl').read_text().splitlines():
    row = json.loads(line)
    if row['phase'] == 'confirm' and 'confirm' in row['metrics']:
      losses[row['arm'], row['seed']] = row['metrics']['confirm']
  seeds = [seed for arm, seed in losses if arm == 'champion']
  gains = [losses['baseline', s] - losses['champion', s] for s in seeds]
  return float(np.std(gains, ddof=1))


@pytest.fixture(scope='module')
def nothing(tmp_path_factory):
  """Flags of a campaign whose parameters have no room to do anything."""
  if 'DATAPOINT_TEXT' not in os.environ:
    pytest.skip('DATAPOINT_TEXT names no text')
  space = json.loads((ROOT / 'launch/spaces/nanogpt.json').read_text())
  space['free'] = [
    name
    for name, p in space['parameters'].items()
    if p['kind'] in FLOATS
    and p['tier'] == 'configuration'
    and not p.get('structural')
  ]
  for name in space['free']:
    space['parameters'][name] = narrowed(space['parameters'][name])
  path = tmp_path_factory.mktemp('nothing') / 'space.json'
  path.write_text(json.dumps(space))
  return [
    f'--data={os.environ["DATAPOINT_TEXT"]}',
    f'--space={path}',
    '--member_tokens=115200',
    '--max_members=32',
    '--max_minutes=9',
    '--phases=calibrate,search,confirm,ablate',
    '--confirm_seeds=16',
    '--inherit_at=0',
  ]


def test_the_space_has_no_room_but_float32_sees_it():
  space = json.loads((ROOT / 'launch/spaces/nanogpt.json').read_text())
  numbers = [p for p in space['parameters'].values() if p['kind'] in FLOATS]
  assert len(numbers) > 20
  for before in numbers:
    whole = space_lib.Parameter.from_json('p', before)
    p = space_lib.Parameter.from_json('p', narrowed(before))
    assert np.float32(p.low) != np.float32(p.high)
    assert whole.distance(p.low, p.high) <= 1.001 * SHARE


@pytest.mark.slow
def test_campaigns_confirm_nothing_where_a_greedy_rule_keeps_members(
  launch, nothing, tmp_path
):
  """Takes some half an hour, and no campaign more than ten minutes."""
  confirmed, greedy = [], []
  for seed in range(CAMPAIGNS):
    workdir = tmp_path / str(seed)
    process = launch(
      'search', *nothing, f'--seed={seed}', f'--workdir={workdir}', timeout=900
    )
    assert process.returncode == 0, process.err
    summary = json.loads((workdir / 'improvements.json').read_text())['summary']
    result = json.loads((workdir / 'result.json').read_text())
    noise, minutes = result['noise'], result['seconds'] / 60
    kept = sum(cycle['greedy_kept'] for cycle in summary['cycles'])
    print(
      f'seed {seed}: {summary["confirmed"]} confirmed; greedy keeps {kept} of'
      f' {result["finished"]}, by chance {noise["null"]["kept"]:.1f}; the gate'
      f' measured {summary["cycles"][-1]["measured"]}; its paired sd is'
      f' {paired_sd(workdir):.5f}, that of seeds {noise["sd"]:.4f};'
      f' {minutes:.1f} min'
    )
    assert minutes <= 10
    confirmed.append(summary['confirmed'])
    greedy.append(kept)
  # At most six in a hundred in the long run: two of five once in thirty times.
  assert sum(n > 0 for n in confirmed) <= 1
  assert min(greedy) >= 1
