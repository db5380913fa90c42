"""Tests of storage: the same on a disk and in a bucket."""

import subprocess
import sys
import time

import pytest
from etils import epath

from evo import failure, storage


@pytest.fixture(params=['disk', 'bucket'])
def place(request, tmp_path):
  """A folder that is not there."""
  if request.param == 'disk':
    return f'{tmp_path}/run'
  request.getfixturevalue('bucket')
  return 'gs://bucket/some/run'


@pytest.fixture
def impatient(monkeypatch):
  monkeypatch.setattr(storage, 'PATIENCE', 1.5)
  monkeypatch.setattr(storage, 'AT_START', 0.5)
  monkeypatch.setattr(storage, '_LATE', 0.5)


def test_a_file_is_replaced_only_where_it_is_what_was_read(place):
  one, other = storage.Store(place), storage.Store(place)
  assert one.read('a') == storage.Found(b'', storage.ABSENT)
  first = one.write('a', b'1', storage.ABSENT)
  assert other.read('a') == storage.Found(b'1', first)
  assert other.write('a', b'2', storage.ABSENT) == b''
  second = other.write('a', b'2', first)
  assert second and one.write('a', b'3', first) == b''
  assert one.write('a', None, first) == b''
  assert one.read('a') == storage.Found(b'2', second)
  assert one.write('a', None, second) == storage.ABSENT
  assert other.read('a') == storage.Found(b'', storage.ABSENT)


def test_files_are_read_by_name_and_in_order(place):
  store = storage.Store(place)
  names = [f'{i:03d}' for i in range(40)]
  for name in names:
    store.write(name, name.encode(), storage.ABSENT)
  found = store.read_all(names)
  assert list(found) == names
  assert [f.content.decode() for f in found.values()] == names


def test_reading_creates_nothing(place):
  storage.Store(place).read('a')
  assert not storage.folder(place).exists()


def test_of_racing_processes_exactly_one_wins_each_file(place, tmp_path):
  program = (
    'import os, sys, time\n'
    'from evo import storage\n'
    'store = storage.Store(sys.argv[1])\n'
    'print("ready", flush=True)\n'
    'input()\n'
    'for i in range(30):\n'
    '  if store.write(str(i), sys.argv[2].encode(), storage.ABSENT):\n'
    '    print(i)\n'
  )
  racers = [
    subprocess.Popen(
      [sys.executable, '-c', program, place, str(number)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    for number in range(4)
  ]
  for racer in racers:
    assert racer.stdout.readline() == 'ready\n'
  won = {}
  for racer in racers:
    racer.stdin.write('\n')
    racer.stdin.flush()
  for number, racer in enumerate(racers):
    won |= {name: str(number) for name in racer.communicate()[0].split()}
  assert sorted(won, key=int) == [str(i) for i in range(30)]
  assert sum(racer.returncode for racer in racers) == 0
  found = storage.Store(place).read_all(won)
  assert {name: f.content.decode() for name, f in found.items()} == won


def test_a_lost_answer_is_said_to_be_a_lost_race_and_the_file_stands(bucket):
  store, bucket.lose_every = storage.Store('gs://bucket/run'), 1
  assert store.write('a', b'1', storage.ABSENT) == b''
  assert store.read('a').content == b'1'


def test_an_outage_is_sat_out(bucket, monkeypatch):
  monkeypatch.setattr(storage, '_LATE', 0.5)
  store = storage.Store('gs://bucket/run')
  store.write('a', b'1', storage.ABSENT)
  bucket.fail('run/b', 2.0)
  store.write('b', b'1', storage.ABSENT)
  assert store.read('a').content == b'1'
  assert bucket.refused > 0


def test_an_outage_is_not_sat_out_for_ever(bucket, impatient):
  store, bucket.status = storage.Store('gs://bucket/run'), 503
  begin = time.monotonic()
  with pytest.raises(failure.Outage, match=r'bucket/run did not answer for'):
    store.read('a')
  with pytest.raises(failure.Outage):
    store.write('a', b'1', storage.ABSENT)
  assert time.monotonic() - begin < 8


def test_what_storage_refuses_is_said_in_a_line(bucket):
  store, bucket.status = storage.Store('gs://bucket/run'), 403
  with pytest.raises(failure.Refused, match=r'run refuses: .*403.*; expected'):
    store.read('a')
  bucket.status = None
  with pytest.raises(failure.Refused, match=r'other/run refuses: .*; expected'):
    storage.Store('gs://other/run').write('a', b'1', storage.ABSENT)


@pytest.mark.parametrize('path', ['runs/a', '/runs/a', 'gs://bucket/runs/a'])
def test_a_path_is_made_absolute_where_it_is_not(path, bucket):
  made = str(storage.folder(path))
  assert made.endswith(path) and made.startswith(('/', 'gs://bucket/'))


@pytest.mark.parametrize(
  'path',
  [
    'gs://',
    'gs://bucket',
    'gs://bucket/',
    'gs:///run',
    'gs://bucket/../run',
    'gs://bucket//run',
    'gs://Bucket/run',
    'gs://bucket/a*',
    's3://bucket/run',
  ],
)
def test_a_path_that_names_no_folder_of_a_bucket_is_named(path, bucket):
  with pytest.raises(ValueError, match='; expected .*gs://BUCKET/FOLDER'):
    storage.check(path)


def test_a_bucket_is_asked_before_anything_is_done_in_it(bucket, impatient):
  storage.check('gs://bucket/run')
  with pytest.raises(failure.Refused, match='there is none; expected a bucket'):
    storage.check('gs://other/run')
  bucket.status = 403
  with pytest.raises(failure.Refused, match='expected a bucket in which'):
    storage.check('gs://bucket/run')
  bucket.status = 503
  with pytest.raises(failure.Outage):
    storage.check('gs://bucket/run')
  assert bucket.names() == []


def test_without_the_extra_it_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'gcsfs', None)
  with pytest.raises(ValueError, match=r"expected .* 'datapoint\[gcs\]'"):
    storage.check('gs://bucket/run')


def test_what_is_published_is_there_whole(place):
  path = storage.folder(place) / 'a.json'
  path.parent.mkdir(parents=True, exist_ok=True)
  for text in ('1', 'two'):
    storage.publish(path, text, path.with_suffix('.draft'), 'here')
    assert path.read_text() == text
  assert [p.name for p in path.parent.iterdir()] == ['a.json']


def test_the_size_of_a_folder_in_a_bucket_is_that_of_its_files(bucket):
  assert storage.size('gs://bucket/run') == 0
  bucket.put('run/a/b', b'123')
  bucket.put('run/c', b'4')
  bucket.put('running', b'5')
  assert storage.size(epath.Path('gs://bucket/run')) == 4
