"""The presets of accelerators fit the machines that they are named after."""

import dataclasses
import json
import math
import subprocess
import sys

import pytest

from launch import cli, devices, parameters
from models import shardings, structure

# Devices of the machine: a v5p-128 of Cloud TPU counts two cores of a chip.
CHIPS = {'v5e_8': 8, 'v5e_256': 256, 'v5p_128': 64, 'gpu_8': 8}
READ = (
  'import json, sys\n'
  'from absl import flags\n'
  'from launch import cli, settings\n'
  'settings.define()\n'
  'cli.run(lambda argv: print(json.dumps(settings.values())))\n'
)


@dataclasses.dataclass
class Preset:
  """What the flags of a preset come to."""

  flags: dict
  mesh: dict
  space: object

  @property
  def shards(self):
    """Devices over which the batch of one member is spread."""
    return math.prod(self.mesh.values()) // self.mesh['member']


@pytest.fixture(scope='module', params=CHIPS)
def preset(request):
  """A preset, read by the command line in a process of its own."""
  ended = subprocess.run(
    [sys.executable, '-c', READ, f'--flagfile={request.param}'],
    capture_output=True,
    text=True,
    check=True,
  )
  flags = json.loads(ended.stdout)
  assert flags['workdir'] == f'runs/{request.param}'
  mesh = devices.parse(flags['mesh'])
  assert math.prod(mesh.values()) == CHIPS[request.param]
  return Preset(flags, mesh, parameters.load(flags['space']))


def test_members_divide_over_the_mesh_and_the_strategy_gets_all_slots(preset):
  assert preset.flags['population'] % preset.mesh['member'] == 0
  assert preset.flags['strategy'] == 'evolution'


def test_no_structure_near_the_baseline_is_refused_by_the_mesh(preset):
  space = preset.space
  for p in space.parameters:
    for value in p.values if p.structural else ():
      pairs = space.structure(space.baseline | {p.name: value})
      made = structure.Structure(vocabulary=256, **dict(pairs))
      refusal = shardings.refusal(made, preset.mesh)
      assert refusal is None, (p.name, value, refusal)


def test_a_chip_takes_16384_tokens_of_the_baseline_in_a_step(preset):
  baseline = preset.space.baseline
  per_member = baseline['batch'] * baseline['context']
  members = preset.flags['population'] // preset.mesh['member']
  assert members * per_member // preset.shards == 16384


def test_a_member_trains_for_whole_segments_of_many_steps(preset):
  baseline = preset.space.baseline
  tokens = baseline['batch'] * baseline['context']
  steps = preset.flags['member_tokens'] / tokens
  assert steps / preset.flags['segments'] > 100
  inherited = preset.flags['inherit_at'] * preset.flags['segments']
  assert inherited == pytest.approx(round(inherited))


def test_it_is_a_whole_campaign_on_data_that_the_user_gives(preset):
  assert preset.flags['data'] == ''
  assert 'locked' in preset.flags['phases']
  assert preset.flags['max_members'] == 0


def test_every_preset_of_the_contract_says_how_to_start_it():
  files = {path.stem: path.read_text() for path in cli.PRESETS.glob('*.flags')}
  assert set(files) == {'quick', 'nanogpt_cpu', *CHIPS}
  for name in CHIPS:
    assert f'launch.search --flagfile={name} --data=' in files[name]
