"""End-to-end tests of `launch.compare`: real processes on real files."""

import json
import shutil

import pytest


@pytest.fixture(scope='module')
def flags(small):
  kept = [flag for flag in small if not flag.startswith('--max_members')]
  kept = [flag for flag in kept if not flag.startswith('--confirm_seeds')]
  return [*kept, '--strategies=random,pbt', '--max_members=5', '--seeds=2']


@pytest.fixture(scope='module')
def compared(launch, flags, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('compare') / 'run'
  process = launch('compare', *flags, f'--workdir={workdir}')
  assert process.returncode == 0, process.err
  return workdir, process


def test_a_comparison_leaves_its_files(compared):
  workdir, process = compared
  for name in ('comparison.json', 'comparison.md', 'comparison.png'):
    assert (workdir / name).stat().st_size > 100
  assert '6 searches' in process.err
  assert 'comparison.png' in process.out


def test_every_strategy_ran_on_every_seed_for_the_same_charge(compared):
  workdir, _ = compared
  runs = [json.loads(path.read_text()) for path in workdir.glob('runs/*.json')]
  assert {(run['strategy'], run['seed']) for run in runs} == {
    (strategy, seed)
    for strategy in ('random', 'pbt', 'pbt without mutation')
    for seed in range(2)
  }
  assert all(3.5 < run['charge'] <= 5 for run in runs)
  rows = [run['rows'] for run in runs if run['strategy'] == 'pbt']
  assert all(len(row) == 3 for row in rows)


def test_each_search_can_be_looked_at_and_replayed(compared, launch):
  workdir, _ = compared
  process = launch('status', f'--workdir={workdir}/runs/pbt-0')
  assert process.returncode == 0 and 'pbt' in process.out, process.err
  process = launch('replay', f'--workdir={workdir}/runs/pbt-0', '--seeds=1')
  assert process.returncode == 0, process.err
  assert 'schedule replayed' in process.out


@pytest.mark.parametrize('command', ['status', 'replay', 'sample'])
def test_a_comparison_is_told_from_a_search(compared, launch, command):
  workdir, _ = compared
  process = launch(command, f'--workdir={workdir}')
  assert process.returncode == 2
  assert process.err.startswith('error: ') and 'expected a' in process.err


def test_a_comparison_goes_on_where_it_stopped(compared, launch, flags):
  workdir, _ = compared
  again = workdir.with_name('again')
  shutil.copytree(workdir, again)
  before = json.loads((again / 'comparison.json').read_text())
  lost = again / 'runs' / 'pbt-1'
  lost.with_suffix('.json').unlink()
  # Its last rounds too: they have to be trained again.
  for path in sorted((lost / 'ledger').iterdir())[-8:]:
    path.unlink()
  process = launch('compare', *flags, f'--workdir={again}')
  assert process.returncode == 0, process.err
  after = json.loads((again / 'comparison.json').read_text())

  def losses(value):
    return {name: found['final'] for name, found in value['strategies'].items()}

  assert losses(after) == losses(before)


def test_a_comparison_of_functions_is_over_in_seconds_without_a_chip(
  launch, tmp_path
):
  process = launch(
    'compare',
    '--strategies=random,evolution,gp',
    '--task=conditional',
    '--seeds=4',
    '--max_members=10',
    f'--workdir={tmp_path}/run',
    env={'JAX_PLATFORMS': ''},
  )
  assert process.returncode == 0, process.err
  value = json.loads((tmp_path / 'run/comparison.json').read_text())
  assert set(value['strategies']) == {'random', 'evolution', 'gp'}
  # An installed TPU library would look for its chips, at length and aloud.
  assert 'TPU' not in process.err


@pytest.mark.parametrize(
  'flag,complaint',
  [
    ('--strategies=random,luck', 'expected some of asha, cmaes'),
    ('--strategies=random', 'expected two or more'),
    ('--seeds=1', 'expected at least 2'),
    ('--task=chess', 'expected'),
    ('--reference=gp', 'expected one of --strategies'),
    ('--max_members=0', 'expected'),
    ('--max_members=inf', 'expected a positive number'),
  ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
  launch, flags, tmp_path, flag, complaint
):
  process = launch('compare', *flags, flag, f'--workdir={tmp_path}/run')
  assert process.returncode == 2
  assert process.err.startswith('error: ') and complaint in process.err
  assert process.err.count('\n') == 1 and not (tmp_path / 'run').exists()


def test_another_comparison_is_refused(compared, launch, flags):
  workdir, _ = compared
  process = launch('compare', *flags, '--max_members=6', f'--workdir={workdir}')
  assert process.returncode == 2 and '--max_members=5' in process.err


def test_another_text_is_refused(compared, launch, flags, tmp_path):
  workdir, _ = compared
  again = tmp_path / 'again'
  shutil.copytree(workdir, again)
  run = json.loads((again / 'run.json').read_text())
  run['data_digest'] = run['data_digest'][::-1]
  (again / 'run.json').write_text(json.dumps(run))
  process = launch('compare', *flags, f'--workdir={again}')
  assert process.returncode == 2 and 'data digest' in process.err
