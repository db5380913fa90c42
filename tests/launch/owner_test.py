"""Tests of who holds a workdir."""

import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from evo import hosts as hosts_lib
from evo import storage
from launch import cli
from launch import owner as owner_lib

RACES, RACERS = 30, 4


@pytest.fixture
def here():
  return owner_lib.Holder.here()


@pytest.fixture
def held_by(tmp_path, here):
  """Writes an owner.json of another process; returns who that is."""

  def make(**values):
    # A process that lives as long as any: this one's parent.
    parent = os.getppid()
    born = owner_lib._process(parent)[1]
    holder = dataclasses.replace(
      here, **({'pid': parent, 'start': born} | values)
    )
    content = json.dumps(dataclasses.asdict(holder))
    (tmp_path / 'owner.json').write_text(content)
    return holder

  return make


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
  monkeypatch.setattr(owner_lib, 'PATIENCE', 0.5)
  monkeypatch.setattr(owner_lib, 'EVERY', 0.05)


def acquired(workdir):
  owner = owner_lib.Owner(workdir)
  owner.acquire()
  return owner


def test_a_workdir_that_nobody_holds_is_held_and_let_go(tmp_path, here):
  owner = acquired(tmp_path / 'run')
  assert owner_lib.read(tmp_path / 'run').is_(here)
  owner.check()
  owner.release()
  assert list((tmp_path / 'run').iterdir()) == []


def test_the_holder_gives_signs_of_life(tmp_path):
  owner = acquired(tmp_path)
  time.sleep(1)
  assert 5 < owner_lib.read(tmp_path).beat < 25
  owner.check()
  owner.release()


def test_one_that_works_on_this_host_is_named_and_left_alone(tmp_path, held_by):
  holder = held_by()
  before = (tmp_path / 'owner.json').read_bytes()
  named = f'held by process {holder.pid} on .+; expected one search at a time'
  with pytest.raises(ValueError, match=named):
    acquired(tmp_path)
  with pytest.raises(ValueError, match=named):
    owner_lib.look(tmp_path)
  assert (tmp_path / 'owner.json').read_bytes() == before


def gone():
  """The id of a process that has ended."""
  done = subprocess.Popen([sys.executable, '-c', ''])
  done.wait()
  return done.pid


DEAD = {
  'ended': lambda: {'pid': gone()},
  'of another boot': lambda: {'boot': 'an earlier one'},
  'whose id another one has': lambda: {'start': 1},
}


@pytest.mark.parametrize('dead', DEAD.values(), ids=DEAD)
def test_one_that_is_dead_is_replaced_at_once(
  tmp_path, held_by, here, dead, monkeypatch
):
  monkeypatch.setattr(owner_lib, 'PATIENCE', 60.0)
  held_by(**dead())
  owner_lib.look(tmp_path)
  owner = acquired(tmp_path)
  assert owner_lib.read(tmp_path).is_(here)
  owner.release()


def test_one_that_was_killed_and_not_yet_buried_is_dead(held_by):
  process = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)
  _, born = owner_lib._process(process.pid)
  holder = held_by(pid=process.pid, start=born)
  assert holder.works() is True
  process.kill()
  os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
  assert holder.works() is False
  process.communicate()


def test_one_that_is_stopped_may_never_wake_and_only_its_beats_tell(held_by):
  process = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)
  _, born = owner_lib._process(process.pid)
  holder = held_by(pid=process.pid, start=born)
  process.send_signal(signal.SIGSTOP)
  os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
  assert holder.works() is None
  process.send_signal(signal.SIGCONT)
  os.waitid(os.P_PID, process.pid, os.WCONTINUED | os.WNOWAIT)
  assert holder.works() is True
  process.communicate()


AFAR = [{'host': 'elsewhere'}, {'namespace': 'of a container'}]


@pytest.mark.parametrize('afar', AFAR, ids=['host', 'container'])
def test_one_out_of_sight_is_replaced_once_it_stands_still(
  tmp_path, held_by, here, afar, capsys
):
  holder = held_by(**afar)
  begin = time.monotonic()
  owner = acquired(tmp_path)
  assert time.monotonic() - begin >= owner_lib.PATIENCE
  assert f'held by {holder}, who gives no sign' in capsys.readouterr().err
  assert owner_lib.read(tmp_path).is_(here)
  owner.release()


def test_one_out_of_sight_that_beats_is_left_alone(
  tmp_path, held_by, monkeypatch, capsys
):
  monkeypatch.setattr(owner_lib, 'PATIENCE', 10.0)
  held_by(host='elsewhere')
  # As the other host would beat, late.
  monkeypatch.setattr(
    owner_lib.time, 'sleep', lambda seconds: held_by(host='elsewhere', beat=1)
  )
  with pytest.raises(ValueError, match='on elsewhere; expected one search'):
    acquired(tmp_path)
  assert owner_lib.read(tmp_path).beat == 1
  assert not capsys.readouterr().err  # The refusal is all there is to say.


@pytest.mark.parametrize('content', ['', '{"host": ', '[]', '{"pid": 3}'])
def test_a_damaged_file_is_nobody_who_gives_signs_of_life(
  tmp_path, here, content
):
  (tmp_path / 'owner.json').write_text(content)
  owner = acquired(tmp_path)
  assert owner_lib.read(tmp_path).is_(here)
  owner.release()


def test_who_was_taken_over_is_told_and_leaves_the_file_alone(
  tmp_path, held_by
):
  owner = acquired(tmp_path)
  holder = held_by(host='elsewhere')
  with pytest.raises(owner_lib.Lost, match=f'taken over by {holder}'):
    owner.check()
  time.sleep(0.3)  # Nor does it beat any more.
  owner.release()
  assert owner_lib.read(tmp_path) == holder


def test_whatever_goes_wrong_after_a_takeover_is_that(tmp_path, held_by):
  hosts = hosts_lib.Hosts()
  with pytest.raises(owner_lib.Lost):
    with owner_lib.hold(tmp_path, hosts):
      held_by(host='elsewhere')
      raise RuntimeError('the directory is not empty')


def test_bad_input_found_late_lets_go_and_a_bug_does_not(tmp_path):
  with pytest.raises(cli.InputError, match='damaged'):
    with owner_lib.hold(tmp_path, hosts_lib.Hosts()):
      raise cli.InputError('damaged; expected none')
  assert not (tmp_path / 'owner.json').exists()
  with pytest.raises(RuntimeError):
    with owner_lib.hold(tmp_path, hosts_lib.Hosts()):
      raise RuntimeError('while a thread still writes')
  assert (tmp_path / 'owner.json').exists()


def test_the_fence_is_asked_before_a_record_is_written(tmp_path, held_by):
  from evo import ledger as ledger_lib

  hosts = hosts_lib.Hosts()
  with pytest.raises(owner_lib.Lost):
    with owner_lib.hold(tmp_path, hosts):
      ledger = ledger_lib.Ledger(tmp_path / 'ledger', hosts)
      ledger.append({'phase': 'search'})
      held_by(host='elsewhere')
      ledger.append({'phase': 'search'})
  assert len(list((tmp_path / 'ledger').iterdir())) == 1


def test_who_holds_it_though_the_answer_was_lost_goes_on(bucket, here):
  bucket.lose_every = 1
  owner = acquired('gs://bucket/run')
  owner.check()
  assert owner_lib.read('gs://bucket/run').is_(here)
  bucket.lose_every = 1
  owner.release()
  assert bucket.names() == []


def test_where_storage_is_out_for_long_the_process_is_to_be_started_again(
  bucket, monkeypatch
):
  left = threading.Event()
  monkeypatch.setattr(storage, 'PATIENCE', 1.0)
  monkeypatch.setattr(storage, '_LATE', 0.1)
  monkeypatch.setattr(cli, 'leave', lambda line: left.set())
  acquired('gs://bucket/run')
  bucket.status = 503
  assert left.wait(5)


def race(folder, start, results):
  """Tries to hold one workdir after the other, at once with all others."""
  for number in range(RACES):
    start.wait()
    owner = owner_lib.Owner(folder / str(number))
    try:
      owner.acquire()
      results.put((number, owner._me.pid))
    except ValueError as error:
      results.put((number, str(error)))
  start.wait()


@pytest.mark.parametrize('where', ['disk', 'bucket'])
def test_of_many_that_race_exactly_one_goes_on(tmp_path, here, where, request):
  folder = storage.folder(tmp_path)
  if where == 'bucket':
    request.getfixturevalue('bucket')
    folder = storage.folder('gs://bucket/races')
  context = multiprocessing.get_context('spawn')
  for number in range(0, RACES, 2):  # Half of them for a dead one's place.
    (folder / str(number)).mkdir(parents=True)
    dead = dataclasses.replace(here, boot='an earlier one')
    content = json.dumps(dataclasses.asdict(dead))
    (folder / str(number) / 'owner.json').write_text(content)
  start, results = context.Barrier(RACERS), context.Queue()
  racers = [
    context.Process(target=race, args=(folder, start, results))
    for _ in range(RACERS)
  ]
  for racer in racers:
    racer.start()
  found = [results.get(timeout=60) for _ in range(RACES * RACERS)]
  for racer in racers:
    racer.join()
  for number in range(RACES):
    ends = [end for i, end in found if i == number]
    (winner,) = [end for end in ends if isinstance(end, int)]
    refused = [end for end in ends if isinstance(end, str)]
    assert all(f'held by process {winner} on' in end for end in refused)
    assert owner_lib.read(folder / str(number)).pid == winner
