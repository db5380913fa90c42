"""Tests of searches on storage that is full, small or damaged."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from evo import ledger as ledger_lib

# Every round has a checkpoint.
OFTEN = 'from evo import retention; retention._MOST_ROUNDS = 1'


def records(workdir):
  return ledger_lib.Ledger(workdir / 'ledger').records


def one_line(text):
  lines = [line for line in text.splitlines() if line.startswith('error: ')]
  assert len(lines) == 1 and 'Traceback' not in text
  return lines[0]


def flip(path, rng):
  content = bytearray(path.read_bytes())
  content[rng.integers(len(content))] ^= 1 << rng.integers(8)
  path.write_bytes(content)


@pytest.fixture(scope='module')
def whole(launch, small, tmp_path_factory):
  """The workdir of an unbroken search."""
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  process = launch('search', *small, f'--workdir={workdir}', prelude=OFTEN)
  assert process.returncode == 0, process.err
  return workdir


@pytest.fixture(scope='module')
def broken(launch, small, tmp_path_factory):
  """The workdir of one that was killed."""
  workdir = tmp_path_factory.mktemp('broken') / 'run'
  deadly = 'import os; from evo import ledger; a = ledger.Ledger.append'
  kill = 'len(self.records) == 14 and os.kill(os.getpid(), 9) or a(self, r)'
  deadly += f'; ledger.Ledger.append = lambda self, r: {kill}'
  process = launch(
    'search', *small, f'--workdir={workdir}', prelude=f'{OFTEN}; {deadly}'
  )
  assert process.returncode == -9 and len(records(workdir)) == 14
  return workdir


@pytest.fixture
def resume(launch, small, broken, tmp_path):
  """Damages a copy of the killed search and goes on with it."""

  def make(damage):
    workdir = tmp_path / 'run'
    shutil.rmtree(workdir, ignore_errors=True)
    shutil.copytree(broken, workdir)
    damage(workdir)
    flags = [*small, f'--workdir={workdir}']
    return launch('search', *flags, prelude=OFTEN), workdir

  return make


# Instants at which the disk fills up: how often one was passed before.
POINTS = [
  ('run.json.before_replace', 0),
  ('ledger.before_append', 0),
  ('checkpoint.before_write', 6),
  ('checkpoint.before_seal', 9),
  ('ledger.after_append', 11),
  ('checkpoint.before_remove', 12),
  ('finish.before_write', 0),
  ('export.after_weights', 0),
  ('report.before_write', 0),
  ('summary.before_write', 0),
]


def full_then_not(launch, small, whole, folder, point, nth):
  workdir, filler = folder / 'run', folder / 'filler'
  flags = [*small, f'--workdir={workdir}']
  fill = f'os.system("dd if=/dev/zero of={filler} bs=4k 2> /dev/null")'
  hook = f'name == {point!r} and next(count) == {nth} and {fill}'
  hook = f'faults.hook = lambda name: {hook}'
  fills = f'import itertools, os; from evo import faults; {hook}'
  fills += '; count = itertools.count()'
  process = launch('search', *flags, prelude=f'{OFTEN}; {fills}')
  assert process.returncode == 42, process.err
  assert 'no space is left' in one_line(process.err)
  filler.unlink()
  process = launch('search', *flags, prelude=OFTEN)
  assert process.returncode == 0, process.err
  assert records(workdir) == records(whole)
  shutil.rmtree(workdir)


def test_a_full_disk_is_said_in_one_line_and_the_run_goes_on(
  launch, small, whole, tmpfs
):
  full_then_not(launch, small, whole, tmpfs(1 << 25), *POINTS[2])


@pytest.mark.slow
@pytest.mark.parametrize('point,nth', POINTS)
def test_a_disk_full_at_any_point_loses_nothing(
  launch, small, whole, tmpfs, point, nth
):
  full_then_not(launch, small, whole, tmpfs(1 << 25), point, nth)


def test_damaged_checkpoints_cost_time_only_and_are_reported(resume, whole):
  rng = np.random.default_rng(0)

  def damage(workdir):
    for path in (workdir / 'checkpoints').glob('round-00000013.*/**/*'):
      if path.is_file() and path.stat().st_size:
        flip(path, rng)

  process, workdir = resume(damage)
  assert process.returncode == 0, process.err
  assert records(workdir) == records(whole)
  assert json.loads((workdir / 'result.json').read_text())['damaged'] == 1
  assert '1 damaged checkpoint' in (workdir / 'report.md').read_text()


def test_a_damaged_record_is_bad_input_that_is_named(resume):
  def damage(workdir):
    path = workdir / 'ledger' / '00000005.json'
    path.write_bytes(path.read_bytes().replace(b'"search"', b'"seerch"'))

  process, workdir = resume(damage)
  assert process.returncode == 2
  line = one_line(process.err)
  assert f'{workdir}/ledger/00000005.json is damaged; expected' in line
  assert 'move it and the later ones away' in line


@pytest.mark.slow
def test_no_damage_of_any_file_passes_unseen(resume, whole):
  rng = np.random.default_rng(0)

  def damage(workdir):
    folders = (workdir / 'checkpoints', workdir / 'ledger')
    paths = [p for f in folders for p in sorted(f.rglob('*')) if p.is_file()]
    flip(rng.choice([p for p in paths if p.stat().st_size]), rng)

  for _ in range(20):
    process, workdir = resume(damage)
    if process.returncode == 2:
      assert '/ledger/' in one_line(process.err)
      continue
    assert process.returncode == 0, process.err
    assert records(workdir) == records(whole)


def test_a_bound_on_disk_too_small_for_checkpoints_is_bad_input(
  launch, small, tmp_path
):
  flags = [*small, f'--workdir={tmp_path}/run', '--max_disk_gb=0.000001']
  process = launch('search', *flags)
  assert process.returncode == 2
  assert 'max_disk_gb=1e-06; expected more than' in one_line(process.err)
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_a_bound_on_disk_stops_a_search_which_a_larger_one_goes_on_with(
  launch, small, whole, tmp_path
):
  flags = [*small, f'--workdir={tmp_path}/run', '--keep=3']
  used = int(subprocess.check_output(['du', '-sb', whole]).split()[0])
  process = launch(
    'search', *flags, f'--max_disk_gb={0.8 * used / 1e9}', prelude=OFTEN
  )
  assert process.returncode == 0, process.err
  result = json.loads((tmp_path / 'run/result.json').read_text())
  assert result['stop_reason'] == 'max_disk'
  process = launch('search', *flags, '--max_disk_gb=1', prelude=OFTEN)
  assert process.returncode == 0, process.err
  assert records(tmp_path / 'run') == records(whole)
