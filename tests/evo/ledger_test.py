"""Tests of the ledger on real files and in real processes."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from evo import hosts as hosts_lib
from evo import ledger


def write(folder, count):
  book = ledger.Ledger(folder)
  for i in range(count):
    book.append({'value': i})
  return book


def test_records_come_back_in_order(tmp_path):
  write(tmp_path, 12)
  records = ledger.Ledger(tmp_path).records
  assert [r['value'] for r in records] == list(range(12))
  assert [r['round'] for r in records] == list(range(12))
  assert (tmp_path / '00000011.json').exists()


def test_reading_creates_nothing(tmp_path):
  assert ledger.Ledger(tmp_path / 'ledger').records == []
  assert not (tmp_path / 'ledger').exists()


def test_a_record_that_stands_is_never_overwritten(tmp_path):
  first, second = write(tmp_path, 2), ledger.Ledger(tmp_path)
  first.append({'value': 'first'})
  with pytest.raises(RuntimeError, match='written by another process'):
    second.append({'value': 'second'})
  assert ledger.Ledger(tmp_path).records[2]['value'] == 'first'


def test_of_racing_processes_exactly_one_wins_each_record(tmp_path):
  program = (
    'import sys\n'
    'from evo import ledger\n'
    'for i in range(20):\n'
    '  book = ledger.Ledger(sys.argv[1])\n'
    '  try:\n'
    '    book.append({"by": sys.argv[2]})\n'
    '    print(len(book.records) - 1)\n'
    '  except RuntimeError:\n'
    '    pass\n'
  )
  racers = [
    subprocess.Popen(
      [sys.executable, '-c', program, str(tmp_path), str(i)],
      stdout=subprocess.PIPE,
    )
    for i in range(3)
  ]
  won = [int(n) for racer in racers for n in racer.communicate()[0].split()]
  assert not any(racer.returncode for racer in racers)
  assert sorted(won) == list(range(len(won)))
  assert len(ledger.Ledger(tmp_path).records) == len(won)


def test_a_missing_record_is_named(tmp_path):
  write(tmp_path, 3)
  (tmp_path / '00000001.json').unlink()
  with pytest.raises(ValueError, match=r'00000001.json is missing; expected'):
    ledger.Ledger(tmp_path)


def test_no_flipped_bit_is_taken_for_a_record(tmp_path):
  write(tmp_path, 3)
  rng = np.random.default_rng(0)
  before = ledger.Ledger(tmp_path).records
  for path in sorted(tmp_path.iterdir()):
    intact = path.read_bytes()
    for _ in range(200):
      content = bytearray(intact)
      content[rng.integers(len(content))] ^= 1 << rng.integers(8)
      path.write_bytes(content)
      try:
        assert ledger.Ledger(tmp_path).records == before  # Of white space.
      except ValueError as error:
        assert re.search(rf'{path.name} is damaged; expected', str(error))
    path.write_bytes(intact)


@pytest.mark.parametrize('content', [b'', b'{"value": 1', b'[]', b'\x00\xff'])
def test_a_damaged_record_is_named(tmp_path, content):
  write(tmp_path, 3)
  (tmp_path / '00000001.json').write_bytes(content)
  with pytest.raises(ValueError, match=r'00000001.json is damaged; expected'):
    ledger.Ledger(tmp_path)


def test_a_changed_record_breaks_the_chain(tmp_path):
  write(tmp_path, 3)
  path = tmp_path / '00000001.json'
  record = json.loads(path.read_text()) | {'value': 7}
  del record['digest']
  own = {'digest': ledger.digest(record)}
  path.write_bytes(ledger.encode(record | own))
  with pytest.raises(ValueError, match=r'00000002.json does not follow'):
    ledger.Ledger(tmp_path)


def test_a_recomputed_record_must_equal_the_one_that_stands(tmp_path):
  book = write(tmp_path, 3)
  book.check(1, {'value': 1})
  with pytest.raises(RuntimeError, match='differs from what was computed'):
    book.check(1, {'value': 1.0000001})


def test_numbers_that_json_does_not_know_are_refused(tmp_path):
  with pytest.raises(ValueError, match='not JSON compliant'):
    ledger.Ledger(tmp_path).append({'value': float('nan')})


def test_events_survive_a_torn_line(tmp_path):
  events = ledger.Events(tmp_path / 'events.jsonl')
  events.write('start', round=0)
  with (tmp_path / 'events.jsonl').open('a') as file:
    file.write('{"event": "ro')
  assert [event['event'] for event in events.read()] == ['start']


def test_a_record_that_stands_already_is_taken_if_it_is_the_same(tmp_path):
  first, second = (ledger.Ledger(tmp_path) for _ in range(2))
  first.append({'phase': 'search', 'asked': 1})
  before = (tmp_path / '00000000.json').read_bytes()
  second.append({'phase': 'search', 'asked': 1})
  assert second.records == first.records
  first.append({'phase': 'search', 'asked': 2})
  with pytest.raises(RuntimeError, match='written by another process'):
    second.append({'phase': 'search', 'asked': 3})
  assert (tmp_path / '00000000.json').read_bytes() == before
  assert ledger.Ledger(tmp_path).records == first.records


def test_who_lost_the_workdir_writes_no_record_nor_takes_one(tmp_path):
  def lost():
    raise ValueError('taken over')

  hosts = hosts_lib.Hosts()
  book = ledger.Ledger(tmp_path, hosts)
  hosts.fence = lost
  with pytest.raises(ValueError, match='taken over'):
    book.append({'phase': 'search'})
  assert list(tmp_path.iterdir()) == []
