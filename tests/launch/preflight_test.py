"""What the TPU's own compiler makes of a search's programs."""

import json
import re
import time

import pytest

# Few and narrow blocks: how long the compiler takes depends on sizes too.
_SPACE = {
  'name': 'short',
  'extends': 'gpt_100m',
  'parameters': {
    'depth': {'default': 2, 'low': 2},
    'width': {'default': 256, 'choices': [256, 512]},
    'heads': {'default': 2, 'choices': [2, 4]},
    'batch': {'default': 32},
    'context': {'default': 512},
  },
}


@pytest.fixture(scope='module')
def preflight(launch, tmp_path_factory):
  """Runs a preflight of small members; returns it and what it wrote."""
  folder = tmp_path_factory.mktemp('preflight')
  (folder / 'space.json').write_text(json.dumps(_SPACE))

  def run(workdir, *flags, **options):
    process = launch(
      'preflight',
      f'--workdir={workdir}',
      f'--space={folder}/space.json',
      '--member_tokens=409600',
      *flags,
      timeout=900,
      **options,
    )
    path = workdir / 'preflight.json'
    return process, json.loads(path.read_text()) if path.exists() else None

  return run


@pytest.mark.parametrize(
  ('topology', 'mesh', 'axis'),
  [
    ('v5e:16x16', 'member:16,data:16', 'data'),
    ('v5p:4x4x4', 'member:16,fsdp:4', 'fsdp'),
  ],
)
def test_members_do_not_talk_but_to_inherit(
  preflight, tmp_path, topology, mesh, axis
):
  pytest.importorskip('libtpu')
  process, value = preflight(
    tmp_path,
    f'--topology={topology}',
    f'--mesh={mesh}',
    '--population=16',
    '--price=1.2',
  )
  assert process.returncode == 0, process.err
  _check_numbers(process, value)
  programs = value['species'][0]['programs']
  for name in ('segment', 'search', 'refill'):
    used = {a for c in programs[name]['collectives'] for a in c['axes']}
    assert used <= {axis}, name
  sent = {
    c['kind']: c['bytes_sent'] for c in programs['segment']['collectives']
  }
  # The gradients of a member are added up over its devices.
  assert {'all-reduce', 'reduce-scatter'} & set(sent)
  if axis == 'fsdp':
    # Each weight is brought together once in a step, in two bytes.
    (one,) = value['species']
    steps = programs['segment']['seconds'] / one['step_seconds']
    others = 3 / 4
    expected = 2 * one['weights'] * others * steps
    assert sent['all-gather'] == pytest.approx(expected, rel=0.02)
  inherited = programs['inherit']['collectives']
  assert [(c['kind'], c['axes']) for c in inherited] == [
    ('collective-permute', ['member'])
  ]
  taken = programs['inherit']['bytes']
  assert taken['temporaries'] <= 2.2 * taken['arguments']


def _check_numbers(process, value):
  (one,) = value['species']
  split = value['chips'] / 16 if 'fsdp' in value['mesh'] else 1
  # Weights and their two moments in float32.
  state = 12 * one['weights'] / split
  assert one['bytes']['state'] == pytest.approx(state, rel=0.02)
  assert value['fits']
  assert one['bytes']['total'] < one['memory']
  run = value['run']
  assert run['money'] == pytest.approx(1.2 * run['chip_hours'])
  assert 'segment compiled in' in process.err
  assert 0 < value['utilisation'] < 1
  line = f'utilisation {value["utilisation"]:.0%} (estimate)'
  assert line in process.out.splitlines()


@pytest.mark.slow
def test_a_pod_of_large_members_is_looked_at_in_minutes(launch, tmp_path):
  pytest.importorskip('libtpu')
  begin = time.monotonic()
  process = launch(
    'preflight',
    '--flagfile=v5e_256',
    '--topology=v5e:16x16',
    f'--workdir={tmp_path}',
    '--evaluation_tokens=65536',
    timeout=900,
  )
  assert process.returncode == 0, process.err
  assert time.monotonic() - begin < 180
  value = json.loads((tmp_path / 'preflight.json').read_text())
  programs = value['species'][0]['programs']
  for name in ('segment', 'search', 'refill'):
    used = {a for c in programs[name]['collectives'] for a in c['axes']}
    assert used <= {'data'}, name
  inherited = programs['inherit']['bytes']
  assert inherited['temporaries'] <= 2.2 * inherited['arguments']


@pytest.mark.slow
def test_what_does_not_fit_is_told_and_how_many_would(preflight, tmp_path):
  pytest.importorskip('libtpu')
  # Weights and moments are 20 MB each: of 2000 members a chip holds some 800.
  process, value = preflight(
    tmp_path, '--topology=v5e:2x2', '--population=8000', '--mapping=map'
  )
  assert process.returncode == 2, process.err
  assert not value['fits']
  assert 4 <= value['species'][0]['members_that_fit'] < 8000
  assert 'no room' in process.out
  line = process.err.splitlines()[-1]
  assert line.startswith(
    'error: v5e:2x2 has no room for 8000 members; expected'
  )


@pytest.mark.parametrize(
  ('flags', 'told'),
  [
    (['--topology=v5e:3x3'], r'of 9 chips; expected v5e:2x4, of 8'),
    (
      ['--topology=v5e:4x4', '--mesh=member:8'],
      r'has 8 devices; expected 16, such as member:8,data:2',
    ),
    (
      ['--topology=v5e:2x4', '--mesh=member:8', '--population=12'],
      r'population is 12; expected a multiple of member, which is 8',
    ),
    (
      ['--topology=2xv5e:2x2', '--mesh=data:8'],
      r'member is 1; expected a multiple of the 2 slices',
    ),
    (['--topology=v5e:2x4', '--species=0'], r'species'),
    (['--topology=v5e:2x4', '--price=-1'], r'price'),
    (['--topology=v5e:2x4', '--price=nan'], r'price'),
  ],
)
def test_bad_input_is_answered_in_a_line(preflight, tmp_path, flags, told):
  pytest.importorskip('libtpu')
  workdir = tmp_path / 'new'
  process, _ = preflight(workdir, *flags)
  assert process.returncode == 2
  lines = process.err.splitlines()
  assert lines[-1].startswith('error: ') and '; expected ' in lines[-1]
  assert re.search(told, lines[-1])
  assert len(lines) == 1
  assert not workdir.exists()


def test_without_the_compiler_it_says_what_to_install(preflight, tmp_path):
  process, _ = preflight(
    tmp_path / 'new',
    '--topology=v5e:2x4',
    prelude="import sys; sys.modules['libtpu'] = None",
  )
  assert process.returncode == 2
  assert process.err.startswith('error: ')
  assert "expected pip install '.[tpu]'" in process.err
  assert not (tmp_path / 'new').exists()
