"""Tests of real campaigns where there is nothing to find."""

import json
import os
import pathlib

import numpy as np
import pytest

from evo import space as space_lib

ROOT = pathlib.Path(__file__).parents[2]
# Of a value: some ten numbers of float32 lie within. Nobody expects another
# loss of them, but any of them rounds differently, and training is chaotic.
SHARE = 1e-6
FLOATS = ('float', 'log_float')

CAMPAIGNS = 5


def narrowed(p):
  """A parameter's entry with hardly any room about its default."""
  near = SHARE * (abs(p['default']) or p['high'])
  return p | {
    'low': max(p['low'], p['default'] - near),
    'high': min(p['high'], p['default'] + near),
  }


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
    '--phases=calibrate,search,confirm,ablate,locked',
    '--confirm_seeds=16',
    '--inherit_at=0',
  ]


def test_the_space_leaves_room_for_nothing_but_rounding():
  space = json.loads((ROOT / 'launch/spaces/nanogpt.json').read_text())
  numbers = [p for p in space['parameters'].values() if p['kind'] in FLOATS]
  assert len(numbers) > 20
  for before in numbers:
    after = narrowed(before)
    p = space_lib.Parameter.from_json('x', after)
    assert np.float32(p.low) != np.float32(p.high)
    if p.default:
      assert p.high - p.low <= 2.1 * SHARE * abs(p.default)


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
      f' measured {summary["cycles"][-1]["measured"]}; paired sd'
      f' {noise["sd_paired"]:.4f}; {minutes:.1f} min'
    )
    # Training is chaotic: what differs is noise, and noise is all there is.
    assert noise['sd_paired'] > 0.1 * noise['sd']
    assert minutes <= 10
    confirmed.append(summary['confirmed'])
    greedy.append(kept)
  # At most six in a hundred in the long run: two of five once in thirty times.
  assert sum(n > 0 for n in confirmed) <= 1
  assert min(greedy) >= 1
