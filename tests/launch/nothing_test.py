"""Tests of real campaigns where there is nothing to find."""

import json
import pathlib

import pytest

from evo import space as space_lib


@pytest.fixture(scope='module')
def nothing(small, tmp_path_factory):
  """Flags of a campaign whose parameters have no room to do anything."""
  given = dict(flag.removeprefix('--').split('=') for flag in small)
  space = json.loads(pathlib.Path(given['space']).read_text())
  numbers = (n for n, p in space['parameters'].items() if p['kind'] != 'choice')
  space['free'] = [name for name in numbers if name in space['free']]
  for name in space['free']:
    p = space['parameters'][name]
    # A ten-thousandth of the range: what differs is chaos in training.
    parameter = space_lib.Parameter.from_json(name, p)
    place = parameter.unit(p['default'])
    ends = (max(0.0, place - 5e-5), min(1.0, place + 5e-5))
    p['low'], p['high'] = map(parameter.at, ends)
  path = tmp_path_factory.mktemp('nothing') / 'space.json'
  path.write_text(json.dumps(space))
  return [
    f'--data={given["data"]}',
    f'--space={path}',
    '--member_tokens=15360',
    '--evaluation_tokens=8192',
    '--population=8',
    '--max_members=64',
    '--phases=calibrate,search,confirm,ablate,locked',
    '--confirm_seeds=16',
    '--inherit_at=0',
  ]


# Members this small train without chaos, so that pairs differ by some .0001 bpb:
# ten-thousandths of a range are real changes, of about .0002 bpb each, and are
# confirmed though none is worth having.
@pytest.mark.xfail(reason='five of five confirm gains of .0002 bpb')
@pytest.mark.slow
def test_campaigns_confirm_nothing_where_a_greedy_rule_keeps_members(
  launch, nothing, tmp_path
):
  confirmed, greedy = [], []
  for seed in range(5):
    workdir = tmp_path / str(seed)
    process = launch(
      'search', *nothing, f'--seed={seed}', f'--workdir={workdir}'
    )
    assert process.returncode == 0, process.err
    summary = json.loads((workdir / 'improvements.json').read_text())['summary']
    result = json.loads((workdir / 'result.json').read_text())
    kept = sum(cycle['greedy_kept'] for cycle in summary['cycles'])
    print(
      f'seed {seed}: {summary["confirmed"]} confirmed; greedy keeps {kept} of'
      f' {result["finished"]}; gain {result["gain"]}; {result["seconds"]:.0f} s'
    )
    confirmed.append(summary['confirmed'])
    greedy.append(kept)
  assert (
    sum(n > 0 for n in confirmed) <= 1
  )  # Six in a hundred, in the long run.
  assert min(greedy) >= 1
