"""Tests of bounded and of full disks."""

import itertools
import os
import shutil

import jax
import numpy as np
import pytest
from etils import epath

from evo import bounds as bounds_lib
from evo import disk, failure, ledger, retention
from models import quadratic

# Evolution keeps the states of parents beside the checkpoints of rounds.
SEARCH = {'inherit_at': 0.3, 'scratch': 0.0}


class Heavy(quadratic.Quadratic):
  """Carries 64 KiB that training leaves alone and no compression shortens."""

  def init(self, structure, h, seed):
    own = jax.lax.bitcast_convert_type(h['h0'] + 2 * h['h1'], int)
    ballast = jax.random.normal(jax.random.key(own), (1 << 14,))
    return super().init(structure, h, seed), ballast

  def step(self, structure, data, h, state, *rest):
    theta, loss = super().step(structure, data, h, state[0], *rest)
    return (theta, state[1]), loss

  def evaluate(self, structure, data, h, state):
    return super().evaluate(structure, data, h, state[0])


def outcome(campaign, workdir):
  best = campaign.best.leg.member, campaign.best.stop
  records = ledger.Ledger(workdir / 'ledger').records
  return records, campaign.engine.kept.restore(best)


def test_out_of_disk_at_ten_points_a_run_goes_on_once_there_is_room(
  tmp_path, tmpfs, make_campaign, monkeypatch
):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
  folder, library, used = tmpfs(64 << 20), {}, []

  def watch(campaign):
    state = os.statvfs(folder)
    used.append((state.f_blocks - state.f_bfree) * state.f_frsize)

  whole = make_campaign(
    folder / 'whole', library=library, observe=watch, **SEARCH
  )
  whole.run()
  records, weights = outcome(whole, folder / 'whole')
  shutil.rmtree(folder / 'whole')
  reached = set()
  for size in np.linspace(2 * 4096, 0.8 * max(used), 10):
    tmpfs(int(size))
    workdir = folder / str(int(size))
    with pytest.raises(Exception) as raised:
      make_campaign(workdir, library=library, **SEARCH).run()
    assert failure.is_full(raised.value)
    reached.add(len(list((workdir / 'ledger').glob('*.json'))))
    tmpfs(64 << 20)
    again = make_campaign(workdir, library=library, **SEARCH)
    again.run()
    got_records, got_weights = outcome(again, workdir)
    assert got_records == records
    np.testing.assert_array_equal(got_weights, weights)
    shutil.rmtree(workdir)
  assert len(reached) > 2


def rounds(workdir):
  names = (workdir / 'checkpoints').glob('round-*.json')
  return [int(path.stem[-8:]) for path in sorted(names)]


@pytest.mark.parametrize('keep', [1, 2, 4])
def test_as_many_rounds_keep_their_checkpoints_as_are_asked_for(
  tmp_path, make_campaign, monkeypatch, keep
):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
  most = []

  def watch(campaign):
    # The last one is not committed yet.
    done = [n for n in rounds(tmp_path) if n < campaign.loop.round - 1]
    most.append(len(done))

  make_campaign(tmp_path, keep=keep, observe=watch, **SEARCH).run()
  assert max(most) == keep


def test_a_bound_on_disk_stops_a_run_that_a_larger_one_lets_go_on(
  tmp_path, make_campaign, monkeypatch
):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  options = SEARCH | {'keep': 4, 'trainee': Heavy(), 'library': {}}
  used = []

  def watch(campaign):
    used.append(disk.used(epath.Path(whole)))

  def run(most):
    room = disk.Disk(epath.Path(parts), most)
    bounds = bounds_lib.Bounds(members=12, disk=room)
    campaign = make_campaign(parts, bounds=bounds, **options)
    campaign.run()
    return campaign.stop_reason

  make_campaign(whole, observe=watch, **options).run()
  most = max(used) * 2 // 3
  for _ in range(2):
    assert run(most) == 'max_disk'
    assert disk.used(epath.Path(parts)) <= most
    assert len(rounds(parts)) == 1  # What may go is gone.
  records = ledger.Ledger(whole / 'ledger').records
  before = ledger.Ledger(parts / 'ledger').records
  assert 0 < len(before) < len(records)
  assert run(1e9) == 'max_members'
  assert ledger.Ledger(parts / 'ledger').records == records


def test_room_is_asked_for_before_it_is_written_to(tmpfs):
  folder = epath.Path(tmpfs(1 << 20))
  disk.require_room(folder, 1 << 19)
  with pytest.raises(OSError) as raised:
    disk.require_room(folder, 1 << 21)
  assert failure.is_full(raised.value)


def test_the_bytes_of_a_folder_are_those_of_all_its_files(tmp_path):
  (tmp_path / 'deep').mkdir()
  for path, size in zip(('a', 'deep/b'), itertools.count(5)):
    (tmp_path / path).write_bytes(b'x' * size)
  assert disk.used(epath.Path(tmp_path)) == 11
  assert disk.used(epath.Path(tmp_path / 'none')) == 0
  assert disk.Disk(epath.Path(tmp_path), 12).has_room(1)
  assert not disk.Disk(epath.Path(tmp_path), 12).has_room(2)
