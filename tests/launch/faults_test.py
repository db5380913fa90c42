"""Tests that no instant to die changes what a search comes to."""

import pathlib
import random
import re
import signal

import punisher
import pytest
import soak as soak_lib
from outcome import outcome

from evo import faults

ROOT = pathlib.Path(__file__).parents[2]
# In the order in which they are passed.
SOME = {
  'checkpoint.before_seal': 4,
  'ledger.before_append': 4,
  'export.after_weights': 1,
  'result.json.before_replace': 1,
}


def test_a_point_does_nothing_by_itself():
  assert faults.hook('ledger.before_append') is None
  assert faults.point('ledger.before_append') is None


@pytest.mark.slow
def test_killed_at_one_point_after_the_other_a_search_ends_the_same(
  launch, small, tmp_path
):
  flags = [*small, f'--workdir={tmp_path}/run']
  for name, nth in SOME.items():
    prelude = punisher.prelude(f'strike("{name}", {nth})')
    process = launch('search', *flags, prelude=prelude)
    assert process.returncode == -signal.SIGKILL, (name, process.err)
  process = launch('search', *flags)
  assert process.returncode == 0, process.err
  process = launch('search', *small, f'--workdir={tmp_path}/unbroken')
  assert process.returncode == 0, process.err
  assert outcome(tmp_path / 'run') == outcome(tmp_path / 'unbroken')


@pytest.fixture(scope='module')
def soak(small, tmp_path_factory):
  """A campaign with ablation to punish; its points and what it comes to."""
  folder = tmp_path_factory.mktemp('soak')
  given = [*small, *soak_lib.CAMPAIGN]
  return soak_lib.Soak(given, folder, random.Random(0))


def named():
  """Names of all points in the sources, but for those of JSON files."""
  sources = [
    p for name in ('evo', 'launch') for p in (ROOT / name).glob('*.py')
  ]
  pattern = r"faults\.point\('([\w.]+)'\)"
  return {n for p in sources for n in re.findall(pattern, p.read_text())}


@pytest.mark.slow
def test_killed_at_any_point_a_campaign_ends_the_same(soak):
  passed = dict.fromkeys(soak.points)
  assert named() <= set(passed)
  # Of the files that leave out one change each, one will do.
  known = ('run', 'improvements', 'stack', 'configuration', 'result')
  others = [
    name
    for name in passed
    if '.json.' in name and name.split('.')[0] not in known
  ]
  for name in [name for name in passed if name not in others[2:]]:
    nth = (soak.points.count(name) + 1) // 2
    soak.end(soak.start(name, ('strike', name, nth)), -signal.SIGKILL)
    soak.end(soak.start(name), 0)
    assert outcome(soak.folder / name) == soak.expected, name


@pytest.mark.slow
def test_killed_two_hundred_times_a_campaign_ends_the_same(soak):
  while soak.kills < 200:
    soak.punish()
  soak.finish()
  assert soak.ends > 10
