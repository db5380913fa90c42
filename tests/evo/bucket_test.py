"""Tests of a bucket as `epath` sees it."""

import time

import pytest

from evo import failure, storage


@pytest.fixture
def folder(bucket, monkeypatch):
  """A folder in a bucket that is soon given up."""
  monkeypatch.setattr(storage, 'PATIENCE', 1.0)
  return storage.folder('gs://bucket/run')


# What gcsfs does with a large file is its own affair.
@pytest.mark.filterwarnings('ignore:Sending a large body')
def test_files_are_written_read_listed_and_removed(bucket, folder):
  assert not folder.exists()
  (folder / 'a' / 'b').mkdir(parents=True)
  (folder / 'a' / 'b.txt').write_text('text')
  (folder / 'a' / 'large').write_bytes(b'x' * (6 << 20))
  assert bucket.names() == ['run/a/b.txt', 'run/a/large']
  assert (folder / 'a').is_dir() and not (folder / 'a/b.txt').is_dir()
  assert (folder / 'a/b.txt').read_text() == 'text'
  assert (folder / 'a/large').read_bytes() == b'x' * (6 << 20)
  assert [p.name for p in folder.glob('a/*.txt')] == ['b.txt']
  assert [p.name for p in folder.iterdir()] == ['a']
  (folder / 'a').rmtree()
  assert not folder.exists()
  (folder / 'a').rmtree(missing_ok=True)


def test_what_others_write_is_seen_at_once(bucket, folder):
  (folder / 'a').write_text('1')
  assert [p.name for p in folder.iterdir()] == ['a']
  bucket.put('run/STOP', b'')
  assert (folder / 'STOP').exists()
  assert sorted(p.name for p in folder.iterdir()) == ['STOP', 'a']


LOOKS = {
  'exists': lambda path: path.exists(),
  'is_dir': lambda path: path.is_dir(),
  'read_text': lambda path: path.read_text(),
  'glob': lambda path: list(path.glob('*')),
  'iterdir': lambda path: list(path.iterdir()),
}


@pytest.mark.parametrize('status,error', [(503, 'Outage'), (403, 'Refused')])
@pytest.mark.parametrize('look', LOOKS.values(), ids=LOOKS)
def test_no_answer_is_never_taken_for_absence(
  bucket, folder, look, status, error
):
  (folder / 'a').write_text('1')
  bucket.status = status
  with pytest.raises(getattr(failure, error)):
    look(folder / 'a')


def test_an_outage_is_sat_out(bucket, folder, monkeypatch):
  monkeypatch.setattr(storage, 'PATIENCE', 20.0)
  bucket.fail('run/a', 2.0)
  (folder / 'a').write_text('1')
  (folder / 'b').write_text('2')
  (folder / 'c').mkdir()
  assert (folder / 'b').read_text() == '2'
  assert bucket.refused > 0


def test_an_answer_that_gets_lost_is_asked_for_again(bucket, folder):
  bucket.lose_every = 2
  for name in ('a', 'b', 'c'):
    (folder / name).write_text(name)
    assert (folder / name).read_text() == name


def test_an_outage_is_not_sat_out_for_ever(bucket, folder):
  bucket.status, begin = 503, time.monotonic()
  with pytest.raises(failure.Outage):
    (folder / 'a').write_text('1')
  assert 1 < time.monotonic() - begin < 4


def test_to_make_folders_asks_nothing_of_a_bucket(bucket, folder):
  bucket.status = 503
  folder.mkdir(exist_ok=True)
  (folder / 'a' / 'b').mkdir(parents=True, exist_ok=True)
  assert bucket.refused == 0


def test_no_bucket_is_made(bucket):
  (storage.folder('gs://other/run') / 'a').mkdir(parents=True)
  with pytest.raises(FileNotFoundError):
    (storage.folder('gs://other/run') / 'a').write_text('1')
