"""Tests of runs in a bucket: as on a disk, whatever becomes of storage."""

import json
import os
import signal
import socket
import time
import urllib.request

import buckets
import punisher
import pytest
from gcp_storage_emulator import server
from gcp_storage_emulator.handlers import objects

RUN = '--workdir=gs://bucket/run'
# Every round has a checkpoint.
OFTEN = 'from evo import retention; retention._MOST_ROUNDS = 1'
# Nobody waits long.
IMPATIENT = (
  'from evo import storage as s; s.PATIENCE, s.AT_START, s._LATE = 4.0, 2.0, 1'
)


@pytest.fixture(scope='module')
def whole(launch, small, tmp_path_factory):
  """The workdir of an unbroken search on a disk."""
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  process = launch('search', *small, f'--workdir={workdir}', prelude=OFTEN)
  assert process.returncode == 0, process.err
  return workdir


@pytest.fixture
def search(launch, small):
  """Runs the search in the bucket; further preludes come first."""

  def run(*preludes, **options):
    prelude = '; '.join([OFTEN, *preludes])
    return launch('search', *small, RUN, prelude=prelude, **options)

  return run


def complaints(process):
  assert 'Traceback' not in process.err
  return [line for line in process.err.splitlines() if 'error: ' in line]


def await_record(bucket, process):
  """Until a search has begun."""
  while 'run/ledger/00000002.json' not in bucket.names():
    time.sleep(0.1)
    assert process.poll() is None, process.communicate()


def assert_same(bucket, whole):
  """The ledger to the bit, and all that was found."""
  names = bucket.names('run/ledger/')
  paths = sorted((whole / 'ledger').glob('*.json'))
  assert [n.rpartition('/')[2] for n in names] == [p.name for p in paths]
  for name, path in zip(names, paths, strict=True):
    assert bucket.content(name) == path.read_bytes(), name
  for name in ('champion/configuration.json', 'improvements.json'):
    assert bucket.content(f'run/{name}') == (whole / name).read_bytes()


def test_a_search_in_a_bucket_is_the_one_on_a_disk(
  bucket, search, launch, whole, small
):
  process = search()
  assert process.returncode == 0, process.err
  assert 'gs://bucket/run/report.md' in process.out
  assert_same(bucket, whole)
  assert {n.split('/')[1] for n in bucket.names('run/')} == (
    {p.name for p in whole.iterdir()} - {'owner.json.__lock'}
  )
  process = launch('status', RUN)
  assert process.returncode == 0 and 'finished: read gs://' in process.out
  samples = [
    launch('sample', flag, '--length=20').out
    for flag in (RUN, f'--workdir={whole}')
  ]
  assert samples[0] == samples[1] != ''
  assert 'is finished' in launch('search', *small, RUN).out


@pytest.mark.parametrize(
  'point,nth',
  [
    ('checkpoint.within_remove', 30),
    pytest.param('checkpoint.before_seal', 9, marks=pytest.mark.slow),
    pytest.param('ledger.before_append', 14, marks=pytest.mark.slow),
    pytest.param('owner.acquired', 1, marks=pytest.mark.slow),
    pytest.param('run.json.before_replace', 1, marks=pytest.mark.slow),
    pytest.param('checkpoint.before_write', 7, marks=pytest.mark.slow),
    pytest.param('checkpoint.before_replace', 11, marks=pytest.mark.slow),
    pytest.param('checkpoint.after_seal', 12, marks=pytest.mark.slow),
    pytest.param('ledger.after_append', 20, marks=pytest.mark.slow),
    pytest.param('checkpoint.before_remove', 5, marks=pytest.mark.slow),
    pytest.param('export.before_weights', 1, marks=pytest.mark.slow),
    pytest.param('export.after_weights', 1, marks=pytest.mark.slow),
    pytest.param('report.before_write', 1, marks=pytest.mark.slow),
    pytest.param('exports.within_write', 1, marks=pytest.mark.slow),
    pytest.param('summary.before_write', 1, marks=pytest.mark.slow),
  ],
)
def test_killed_it_goes_on_to_the_same_end(bucket, search, whole, point, nth):
  process = search(punisher.prelude(f'strike({point!r}, {nth})'))
  assert process.returncode == -signal.SIGKILL, process.err
  process = search()
  assert process.returncode == 0, process.err
  assert_same(bucket, whole)


@pytest.mark.parametrize(
  'seconds', [8, pytest.param(60, marks=pytest.mark.slow)]
)
def test_an_outage_is_sat_out_without_an_end(bucket, search, whole, seconds):
  bucket.fail('run/ledger/00000009.json', seconds)
  process = search()
  assert process.returncode == 0, process.err
  assert bucket.refused > 3
  assert complaints(process) == []
  assert_same(bucket, whole)


@pytest.mark.parametrize(
  'name',
  [
    'run/checkpoints/round-00000004.json',
    pytest.param('run/ledger/00000009.json', marks=pytest.mark.slow),
    pytest.param('run/run.json', marks=pytest.mark.slow),
    pytest.param('run/owner.json', marks=pytest.mark.slow),
    pytest.param('run/champion/configuration.json', marks=pytest.mark.slow),
  ],
)
def test_after_a_long_outage_the_same_command_goes_on(
  bucket, search, whole, name
):
  bucket.fail(name, 3600)
  process = search(IMPATIENT)
  assert process.returncode == 42, process.err
  (line,) = complaints(process)
  assert 'did not answer for 4 s' in line
  process = search(IMPATIENT)
  assert process.returncode == 42, process.err  # It is not over yet.
  bucket.status = None
  process = search()
  assert process.returncode == 0, process.err
  assert_same(bucket, whole)


@pytest.mark.slow
def test_one_that_is_taken_away_ends_it_and_is_bad_input_then(bucket, search):
  bucket.fail('run/ledger/00000009.json', 3600, 403)
  process = search()
  assert process.returncode == 42, process.err
  (line,) = complaints(process)
  assert 'refuses' in line
  process = search()
  assert process.returncode == 2, process.err
  assert len(complaints(process)) == 1


@pytest.mark.slow
def test_answers_that_get_lost_change_nothing(bucket, search, whole):
  bucket.lose_every = 20
  process = search()
  assert process.returncode == 0, process.err
  assert_same(bucket, whole)


@pytest.mark.slow
def test_a_second_search_is_refused_and_names_the_holder(
  bucket, search, started, whole
):
  first = search(wait=False)
  started.append(first)
  await_record(bucket, first)
  second = search()
  assert second.returncode == 2
  (line,) = complaints(second)
  assert f'{RUN} is held by process {first.pid}' in line
  first.communicate()
  assert first.returncode == 0
  assert_same(bucket, whole)


@pytest.mark.slow
def test_a_file_stop_ends_it_after_the_round(bucket, search, started, whole):
  slow = 'import time; from evo import ledger; a = ledger.Ledger.append'
  slow += '; ledger.Ledger.append = lambda s, r: (time.sleep(0.5), a(s, r))'
  process = search(slow, wait=False)
  started.append(process)
  await_record(bucket, process)
  bucket.put('run/STOP', b'')
  _, err = process.communicate()
  assert process.returncode == 0, err
  result = json.loads(bucket.content('run/result.json'))
  assert result['stop_reason'] == 'stop_file'
  bucket.delete('run/STOP')
  process = search()
  assert process.returncode == 0, process.err
  assert_same(bucket, whole)


def names_generation(handle):
  """What the emulator leaves out, and nothing can be replaced without."""

  def wrapped(request, response, storage):
    handle(request, response, storage)
    if response.status < 300:
      found = storage.get_file_obj(
        request.params['bucket_name'], request.params['object_id']
      )
      response['x-goog-generation'] = found['generation']

  return wrapped


@pytest.mark.slow
def test_so_it_is_in_an_emulator_that_others_wrote(
  search, launch, whole, monkeypatch
):
  reads = (objects.get, objects.download)
  handlers = [
    (path, {m: names_generation(h) if h in reads else h for m, h in by.items()})
    for path, by in server.HANDLERS
  ]
  monkeypatch.setattr(server, 'HANDLERS', handlers)
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  emulator = server.create_server(
    '127.0.0.1', port, in_memory=True, default_bucket='bucket'
  )
  emulator.start()
  url = f'http://127.0.0.1:{port}'
  env = buckets.env(url)
  try:
    process = search(
      punisher.prelude("strike('ledger.after_append', 9)"), env=env
    )
    assert process.returncode == -signal.SIGKILL, process.err
    process = search(env=env)
    assert process.returncode == 0, process.err
    paths = list((whole / 'ledger').glob('*.json'))
    for path in paths:
      name = f'/storage/v1/b/bucket/o/run%2Fledger%2F{path.name}?alt=media'
      with urllib.request.urlopen(url + name) as answer:
        assert answer.read() == path.read_bytes()
    process = launch('status', RUN, env=env)
    assert f'{len(paths)} rounds done' in process.out, process.err
  finally:
    emulator.stop()


@pytest.mark.slow
def test_the_quick_search_at_full_size_is_the_one_on_a_disk(
  bucket, launch, tmp_path
):
  """Killed on its way. Takes eight minutes on 2 cores."""
  workdir = tmp_path / 'run'
  process = launch('search', f'--workdir={workdir}', timeout=900)
  assert process.returncode == 0, process.err
  strike = punisher.prelude("strike('ledger.after_append', 20)")
  process = launch('search', RUN, prelude=strike, timeout=900)
  assert process.returncode == -signal.SIGKILL, process.err
  process = launch('search', RUN, timeout=900)
  assert process.returncode == 0, process.err
  assert_same(bucket, workdir)


@pytest.mark.slow
def test_a_comparison_on_text_is_the_one_on_a_disk(bucket, launch, tmp_path):
  """Takes some minutes."""
  if 'DATAPOINT_TEXT' not in os.environ:
    pytest.skip('DATAPOINT_TEXT names no text')
  flags = [
    f'--data={os.environ["DATAPOINT_TEXT"]}',
    '--strategies=random,pbt',
    '--max_members=8',
    '--member_tokens=15360',
    '--seeds=2',
  ]
  for workdir in (tmp_path / 'run', 'gs://bucket/run'):
    process = launch('compare', *flags, f'--workdir={workdir}', timeout=900)
    assert process.returncode == 0, process.err
  paths = sorted((tmp_path / 'run/runs').glob('*/ledger/*.json'))
  assert len(paths) > 20
  for path in paths:
    name = f'run/{path.relative_to(tmp_path / "run")}'
    assert bucket.content(name) == path.read_bytes(), name


BAD = {
  'gs://other/run': 'refuses: there is none; expected a bucket',
  'gs://Bucket/run': 'expected gs://BUCKET/FOLDER',
  's3://bucket/run': 'expected a folder or gs://BUCKET/FOLDER',
}


@pytest.mark.parametrize('workdir', BAD)
def test_what_is_no_folder_of_a_bucket_is_bad_input(
  bucket, launch, small, workdir
):
  process = launch('search', *small, f'--workdir={workdir}')
  assert process.returncode == 2, process.err
  (line,) = complaints(process)
  assert BAD[workdir] in line and workdir.removesuffix('/run') in line
  assert bucket.names() == []


def test_a_bucket_that_is_not_ours_is_bad_input(bucket, launch, small):
  for name in ('status', 'write_status'):
    bucket.clear()
    setattr(bucket, name, 403)
    process = launch('search', *small, RUN)
    assert process.returncode == 2, process.err
    (line,) = complaints(process)
    assert 'refuses' in line and 'expected a bucket in which' in line
    assert bucket.names() == []


def test_one_that_does_not_answer_is_to_be_tried_again(bucket, search):
  bucket.status = 503
  process = search(IMPATIENT)
  assert process.returncode == 42
  (line,) = complaints(process)
  assert 'did not answer for 2 s' in line
  unreachable = {'STORAGE_EMULATOR_HOST': 'http://127.0.0.1:9'}
  process = search(IMPATIENT, env=unreachable)
  assert process.returncode == 42
  assert len(complaints(process)) == 1


def test_without_the_extra_it_is_bad_input(launch, small):
  without = 'import sys; sys.modules["gcsfs"] = None'
  process = launch('search', *small, RUN, prelude=without)
  assert process.returncode == 2
  (line,) = complaints(process)
  assert "expected an installation with pip install 'datapoint[gcs]'" in line
