"""Tests of runs whose files were damaged while they lay on storage."""

import shutil

import numpy as np
import pytest

from evo import ledger, retention

# Evolution keeps the states of parents beside the checkpoints of rounds.
SEARCH = {'inherit_at': 0.3, 'scratch': 0.0}


class Killed(BaseException):
  """Ends a run where it stands, as a kill would."""


class Damage:
  """A run that was broken off, copies of it, and what it has to come to."""

  def __init__(self, folder, make, monkeypatch):
    monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
    self._folder, self._make, self._library = folder, make, {}
    self._copies = 0
    whole = self.campaign(folder / 'whole')
    whole.run()
    self.records, self.weights = self._outcome(whole, folder / 'whole')
    rounds = iter(range(33, -1, -1))

    def stop():
      if next(rounds) == 0:
        raise Killed

    with pytest.raises(Killed):
      self.campaign(folder / 'broken', stop=stop).run()

  def campaign(self, workdir, **options):
    return self._make(workdir, library=self._library, **SEARCH, **options)

  def copy(self):
    """The workdir of the broken run, once more."""
    self._copies += 1
    workdir = self._folder / f'copy-{self._copies}'
    shutil.copytree(self._folder / 'broken', workdir)
    return workdir

  def goes_on(self, workdir):
    """Goes on with a damaged copy, which must come out as if unbroken."""
    campaign = self.campaign(workdir)
    campaign.run()
    records, weights = self._outcome(campaign, workdir)
    assert records == self.records
    np.testing.assert_array_equal(weights, self.weights)
    shutil.rmtree(workdir)
    return campaign

  def _outcome(self, campaign, workdir):
    best = campaign.best.leg.member, campaign.best.stop
    records = ledger.Ledger(workdir / 'ledger').records
    return records, campaign.engine.kept.restore(best)


@pytest.fixture
def damage(tmp_path, make_campaign, monkeypatch):
  return Damage(tmp_path, make_campaign, monkeypatch)


def files(folder):
  return sorted(path for path in folder.rglob('*') if path.is_file())


def flip(path, rng):
  content = bytearray(path.read_bytes())
  if content:
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
  path.write_bytes(content)


def cut(path, rng):
  content = path.read_bytes()
  path.write_bytes(content[: rng.integers(max(1, len(content)))])


def delete(path, rng):
  del rng
  path.unlink()


def survives(damage, do, rng):
  """Damages one file; the run goes on as if unbroken, or says what is wrong."""
  workdir = damage.copy()
  path = rng.choice(files(workdir / 'checkpoints') + files(workdir / 'ledger'))
  do(path, rng)
  if path.parent.name != 'ledger':
    damage.goes_on(workdir)
    return
  try:
    damage.goes_on(workdir)
  except ValueError as error:
    assert f'{workdir.name}/ledger/' in str(error)
    assert 'put it back from a copy' in str(error)


@pytest.mark.parametrize('do', [flip, cut, delete])
def test_no_damage_passes_unseen(damage, do):
  rng = np.random.default_rng(0)
  for _ in range(4):
    survives(damage, do, rng)


@pytest.mark.slow
def test_no_damage_of_a_hundred_passes_unseen(damage):
  rng = np.random.default_rng(1)
  for i in range(200):
    survives(damage, flip if i < 100 else (cut, delete)[i % 2], rng)


def test_the_next_older_checkpoint_is_used_and_it_is_said(damage):
  workdir, rng = damage.copy(), np.random.default_rng(0)
  newest = sorted((workdir / 'checkpoints').glob('round-*.json'))[-1]
  places = (workdir / 'checkpoints').glob(f'{newest.stem}.*')
  (place,) = (path for path in places if path.is_dir())
  for path in files(place):
    flip(path, rng)
  campaign = damage.campaign(workdir)
  assert campaign.loop.resume_at == int(newest.stem[-8:]) - 5
  campaign.run()
  events = ledger.Events(workdir / 'events.jsonl').read()
  said = [e for e in events if e['event'] == 'damaged']
  assert [e['checkpoint'] for e in said] == [newest.stem]
  assert 'is damaged' in said[0]['reason']


def test_without_a_parent_that_an_heir_needs_no_checkpoint_is_used(damage):
  workdir = damage.copy()
  for path in (workdir / 'checkpoints').glob('member-*.json'):
    path.unlink()
  assert damage.campaign(workdir).loop.resume_at == -1
  damage.goes_on(workdir)


def test_a_checkpoint_of_another_history_is_not_used(damage):
  workdir = damage.copy()
  newest = sorted((workdir / 'checkpoints').glob('round-*.json'))[-1]
  number = int(newest.stem[-8:])
  # The records from there on are lost, and the clock has others be made.
  for path in sorted((workdir / 'ledger').iterdir())[number:]:
    path.unlink()
  campaign = damage.campaign(workdir)
  other = campaign.loop.records[-1] | {'decided': {'other': 1}}
  campaign.loop._ledger.append(
    {k: v for k, v in other.items() if k not in ('round', 'previous')}
  )
  assert damage.campaign(workdir).loop.resume_at == number - 5


def test_the_last_record_cannot_change_unseen(damage):
  workdir = damage.copy()
  last = files(workdir / 'ledger')[-1]
  last.write_bytes(last.read_bytes().replace(b'"turn": 0', b'"turn": 1'))
  with pytest.raises(ValueError, match='is damaged; expected the record'):
    damage.campaign(workdir)


def test_records_that_were_moved_away_are_computed_again(damage):
  workdir = damage.copy()
  for path in files(workdir / 'ledger')[7:]:
    path.unlink()
  damage.goes_on(workdir)


def test_what_killed_writes_left_is_removed(damage):
  workdir = damage.copy()
  for name in ('round-00000034.orbax-checkpoint-tmp', 'member-9-9'):
    (workdir / 'checkpoints' / name).mkdir()
    (workdir / 'checkpoints' / name / 'array').write_bytes(b'half')
  campaign = damage.campaign(workdir)
  campaign.loop._begin()
  left = {path.name for path in (workdir / 'checkpoints').iterdir()}
  assert left and not left & {
    'round-00000034.orbax-checkpoint-tmp',
    'member-9-9',
  }
  newest = f'round-{campaign.loop.resume_at:08d}'
  assert f'{newest}.json' in left
