"""Tests of what a run leaves alone: other folders, and the network."""

import pathlib
import re
import sys
import time

import punisher
import pytest
from small import ROOT

linux = pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')


@pytest.fixture
def confined(launch, small, tmp_path, started):
  """Starts a search whose home, temporary and working folders are empty."""

  def start(prelude):
    for name in ('home', 'temporary', 'working'):
      (tmp_path / name).mkdir()
    env = {
      'HOME': tmp_path / 'home',
      'TMPDIR': tmp_path / 'temporary',
      'XDG_CACHE_HOME': tmp_path / 'cache',
      'PYTHONPATH': str(ROOT),
      'PYTHONDONTWRITEBYTECODE': '1',
    }
    process = launch(
      'search',
      *small,
      f'--workdir={tmp_path}/run',
      wait=False,
      env={name: str(value) for name, value in env.items()},
      prelude=f'import os; os.chdir("{tmp_path}/working"); {prelude}',
    )
    started.append(process)
    return process

  return start


def test_a_run_writes_to_its_workdir_and_to_the_cache_alone(confined, tmp_path):
  call = f'note_writes("{tmp_path}/writes")'
  process = confined(punisher.prelude(call))
  _, err = process.communicate(timeout=300)
  assert process.returncode == 0, err
  places = [tmp_path / 'run', tmp_path / 'cache/datapoint']
  paths = map(pathlib.Path, (tmp_path / 'writes').read_text().splitlines())
  written = {path for path in paths if path != pathlib.Path('/dev/null')}
  assert tmp_path / 'run/result.draft' in written
  for path in written:
    parents = {path, *path.parents}
    # The folders on the way there are made as well.
    made = any(path in place.parents for place in places)
    assert made or parents & set(places), path
  for name in ('home', 'temporary', 'working'):
    assert not list((tmp_path / name).iterdir()), name
  left = {path.name for path in (tmp_path / 'cache/datapoint').iterdir()}
  assert left == {'jax', 'matplotlib'}  # Programs, and a list of fonts.
  assert len(list((tmp_path / 'cache').iterdir())) == 1


def sockets(pid):
  """Lines of the kernel's tables of TCP and UDP about one process's sockets."""
  links = [p.readlink() for p in pathlib.Path(f'/proc/{pid}/fd').iterdir()]
  found = [re.fullmatch(r'socket:\[(\d+)\]', str(link)) for link in links]
  own = {match[1] for match in found if match}
  tables = [
    pathlib.Path(f'/proc/{pid}/net/{t}{v}')
    for t in ('tcp', 'udp')
    for v in ('', '6')
  ]
  lines = [
    line
    for table in tables
    if table.exists()
    for line in table.read_text().splitlines()[1:]
  ]
  return [line for line in lines if line.split()[9] in own]


LISTENING = 'import socket; kept = socket.create_server(("127.0.0.1", 0))'


@linux
@pytest.mark.parametrize('opened', [0, 1], ids=['own', 'of the test'])
def test_a_run_opens_no_port(confined, tmp_path, opened):
  call = punisher.prelude(
    f'hold_up("ledger.after_append", 3, "{tmp_path}/go_on")'
  )
  process = confined(f'{call}; {LISTENING}' if opened else call)
  last, end = tmp_path / 'run/ledger/00000002.json', time.monotonic() + 120
  while not last.exists():
    assert process.poll() is None and time.monotonic() < end
    time.sleep(0.01)
  assert len(sockets(process.pid)) == opened
