"""End-to-end tests of `launch.replay`: a lineage trained again."""

import json
import shutil

import pytest


@pytest.fixture(scope='module')
def searched(launch, small, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('replay') / 'run'
  flags = [*small, '--strategy=pbt', '--confirm_seeds=0']
  process = launch('search', *flags, f'--workdir={workdir}')
  assert process.returncode == 0, process.err
  return workdir


def test_a_lineage_is_replayed_from_scratch_on_new_seeds(searched, launch):
  process = launch('replay', f'--workdir={searched}', '--seeds=2')
  assert process.returncode == 0, process.err
  assert 'schedule replayed' in process.out
  (path,) = searched.glob('replays/*/replay.json')
  value = json.loads(path.read_text())
  result = json.loads((searched / 'result.json').read_text())
  assert value['member'] == result['champion']['member']
  assert len(value['schedule']) == len(result['champion']['schedule'])
  assert all(len(losses) == 2 for losses in value['losses'].values())
  # Fresh seeds: none of the search's.
  lines = (searched / 'ledger.jsonl').read_text().splitlines()
  assert not {json.loads(line)['seed'] for line in lines} & set(value['seeds'])


def test_the_same_command_again_trains_nothing(searched, launch):
  launch('replay', f'--workdir={searched}', '--seeds=1')
  (folder,) = searched.glob('replays/*-1')
  before = sorted((folder / 'ledger').iterdir())
  times = [path.stat().st_mtime for path in before]
  process = launch('replay', f'--workdir={searched}', '--seeds=1')
  assert process.returncode == 0 and 'schedule replayed' in process.out
  assert [path.stat().st_mtime for path in before] == times


@pytest.mark.parametrize('member', ['999', '0'])
def test_a_member_that_did_not_finish_is_refused(searched, launch, member):
  rows = [
    json.loads(line)
    for line in (searched / 'ledger.jsonl').read_text().splitlines()
  ]
  ended = {
    row['member'] for row in rows if row['lineage_step'] == row['budget']
  }
  if int(member) in ended:
    pytest.skip('it finished')
  process = launch('replay', f'--workdir={searched}', f'--member={member}')
  assert process.returncode == 2 and 'expected one of' in process.err


def test_a_file_stop_from_before_is_told(searched, launch, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(searched, run)
  best = json.loads((run / 'result.json').read_text())['champion']['member']
  folder = run / 'replays' / f'{best}-3'
  folder.mkdir(parents=True)
  (folder / 'STOP').touch()
  process = launch('replay', f'--workdir={run}', '--seeds=3')
  assert process.returncode == 0 and 'delete it' in process.out
  assert [path.name for path in folder.iterdir()] == ['STOP']


@pytest.mark.parametrize('name', ['replay', 'sample'])
def test_on_another_text_than_the_searchs_it_is_refused(
  searched, launch, tmp_path, name
):
  run = tmp_path / 'run'
  shutil.copytree(searched, run)
  content = json.loads((run / 'run.json').read_text())
  content['data_digest'] = content['data_digest'][::-1]
  (run / 'run.json').write_text(json.dumps(content))
  process = launch(name, f'--workdir={run}')
  assert process.returncode == 2
  assert 'expected the same text' in process.err


def test_a_folder_without_a_search_is_refused(launch, tmp_path):
  process = launch('replay', f'--workdir={tmp_path}')
  assert process.returncode == 2 and 'expected a search' in process.err
