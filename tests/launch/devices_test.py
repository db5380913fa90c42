"""Tests of meshes that split members, by whole searches on eight devices."""

import json
import re

import numpy as np
import pytest

from evo import ledger as ledger_lib
from launch import devices

SHAPES = (
  pytest.param('member:4,data:2', marks=pytest.mark.slow),
  'member:2,data:2,tensor:2',
  pytest.param('member:1,fsdp:4,tensor:2', marks=pytest.mark.slow),
)


@pytest.fixture(scope='module')
def flags(small, tmp_path_factory):
  """Of a search whose members have two heads, and 40 steps."""
  path = tmp_path_factory.mktemp('split') / 'space.json'
  name = next(f for f in small if '--space' in f).split('=')[1]
  with open(name) as file:
    space = json.load(file)
  space['parameters']['heads']['default'] = 2
  path.write_text(json.dumps(space))
  own = ('--strategy=random', '--max_members=4', '--confirm_seeds=0')
  return [*small, f'--space={path}', *own]


@pytest.fixture(scope='module')
def alone(flags, launch, tmp_path_factory):
  """Records of the search on one device."""
  folder = tmp_path_factory.mktemp('alone')
  process = launch('search', *flags, f'--workdir={folder}', '--mesh=member:1')
  assert process.returncode == 0, process.err
  return ledger_lib.Ledger(folder / 'ledger').records


def losses(records):
  return {
    (result['member'], result['stop'], split): loss
    for record in records
    for result in record['results']
    for split, loss in result['metrics'].items()
  }


def assert_alike(records, others):
  mine, theirs = losses(records), losses(others)
  assert mine.keys() == theirs.keys() and len(mine) >= 4
  np.testing.assert_allclose(
    list(mine.values()), [theirs[key] for key in mine], atol=1e-4
  )


@pytest.mark.parametrize('shape', SHAPES)
def test_split_members_train_as_they_do_on_one_device(
  flags, launch, alone, tmp_path, shape
):
  process = launch(
    'search', *flags, f'--workdir={tmp_path}/run', f'--mesh={shape}'
  )
  assert process.returncode == 0, process.err
  assert f'mesh {shape}'.replace('member:1,', '') in process.err
  records = ledger_lib.Ledger(tmp_path / 'run/ledger').records
  assert_alike(records, alone)


@pytest.mark.slow
def test_a_search_goes_on_over_meshes_of_other_shapes(
  flags, launch, alone, tmp_path
):
  shapes = ('member:4,data:2', 'member:2,fsdp:2,tensor:2', 'member:1')
  for members, shape in zip((4, 8, 12), shapes):
    own = (f'--mesh={shape}', f'--max_members={members}')
    process = launch('search', *flags, f'--workdir={tmp_path}/run', *own)
    assert process.returncode == 0, process.err
  process = launch(
    'search', *flags, f'--workdir={tmp_path}/whole', '--max_members=12'
  )
  assert process.returncode == 0, process.err
  whole = ledger_lib.Ledger(tmp_path / 'whole/ledger').records
  records = ledger_lib.Ledger(tmp_path / 'run/ledger').records
  assert_alike(records, whole)
  assert records[0]['split'] == {'data': 2} and records[-1]['split'] == {}


BAD = (
  ('member:3,data:2', 'population is 4; .* such as member:2,data:2'),
  (
    'member:2,data:3',
    'batch is 4; .* data x fsdp, which is 3, such as member:2,data:2',
  ),
  ('member:2,tensor:4', 'heads is 2; .* such as member:4,tensor:2'),
  ('member:2,member:2', 'AXIS:SIZE'),
  ('member:2,pipe:2', 'of the axes member, data, fsdp, tensor'),
  ('data:0', 'AXIS:SIZE'),
)


@pytest.mark.parametrize(('text', 'said'), BAD)
def test_a_mesh_that_cannot_be_is_told_with_one_that_could(
  flags, launch, tmp_path, text, said
):
  process = launch(
    'search', *flags, f'--workdir={tmp_path}/run', f'--mesh={text}'
  )
  assert process.returncode == 2, process.err
  (line,) = process.err.splitlines()
  assert re.search(said, line), line
  assert not (tmp_path / 'run').exists()


def test_auto_needs_no_sizes():
  assert devices.parse('auto') is None
  assert devices.parse('member:16,data:16') == {'member': 16, 'data': 16}
