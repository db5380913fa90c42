"""Tests of what hosts agree on, through a coordination service in memory."""

import concurrent.futures
import threading

import pytest

from evo import hosts, ledger


class Service:
  """Keys and values; a read waits for its key."""

  def __init__(self):
    self.values, self._changed = {}, threading.Condition()

  def key_value_set(self, key, value):
    with self._changed:
      assert key not in self.values
      self.values[key] = value
      self._changed.notify_all()

  def key_value_delete(self, key):
    with self._changed:
      del self.values[key]

  def blocking_key_value_get(self, key, timeout_in_ms):
    with self._changed:
      assert self._changed.wait_for(lambda: key in self.values, timeout=10)
      return self.values[key]


def on_all(count, function):
  """What a function of its host gives, or raises, on each host."""
  service = Service()
  with concurrent.futures.ThreadPoolExecutor(count) as pool:
    futures = [
      pool.submit(function, hosts.Hosts(service, i, count))
      for i in range(count)
    ]
  return [future.exception() or future.result() for future in futures]


def test_all_hosts_get_what_the_first_one_gives():
  given = [{'a': [1.5, None]}, 2, 3]
  assert on_all(3, lambda me: me.agree(given[me.index])) == [given[0]] * 3


def test_one_host_agrees_with_itself():
  alone = hosts.Hosts()
  assert alone.first and alone.agree(7) == alone.any(7) == 7
  assert alone.once(lambda: 7) == 7


def test_agreements_do_not_pile_up():
  service = Service()
  first = hosts.Hosts(service, 0, 2)
  for i in range(3000):
    first.agree(i)
  assert len(service.values) <= 1001


def test_a_failure_is_noted_once_and_by_the_first_host_alone():
  noted, told = [], []
  for index in (0, 1):
    host = hosts.Hosts(Service(), index, 2, tell=told.append)
    host.note = lambda failure, index=index: noted.append((index, failure))
    host.fail('of its own')
    host.heard('of another one, which follows from it')
  assert noted == [(0, 'of its own')]
  assert told == ['of its own'] * 2


@pytest.mark.parametrize('who', [0, 1, 2])
def test_one_host_with_a_reason_is_enough_for_all(who):
  found = on_all(3, lambda me: me.any('why' if me.index == who else None))
  assert found == ['why'] * 3
  assert on_all(3, lambda me: me.any(None)) == [None] * 3


def test_only_the_first_host_looks_and_its_complaint_is_everyones():
  looked = []

  def look():
    looked.append(1)
    raise OSError('it is gone')

  errors = on_all(3, lambda me: me.once(look))
  assert [str(error) for error in errors] == ['it is gone'] * 3
  assert all(isinstance(error, ValueError) for error in errors)
  assert len(looked) == 1


def test_a_host_that_differs_is_told_so():
  results = on_all(2, lambda me: me.same(me.index, 'the data'))
  assert results[0] is None
  assert 'the data is not what host 0 has; expected' in str(results[1])


def test_one_host_writes_the_ledger_and_all_hold_it(tmp_path):
  def work(me):
    book = ledger.Ledger(tmp_path / 'ledger', me)
    for i in range(3):
      book.append({'x': i})
    again = ledger.Ledger(tmp_path / 'ledger', me)
    return book.records == again.records

  assert on_all(3, work) == [True] * 3
  assert len(list((tmp_path / 'ledger').iterdir())) == 3


def test_a_host_that_comes_to_another_record_stops(tmp_path):
  def work(me):
    ledger.Ledger(tmp_path, me).append({'x': me.index})

  results = on_all(2, work)
  assert results[0] is None
  assert 'host 1 came to another record' in str(results[1])
  assert len(list(tmp_path.iterdir())) == 1
