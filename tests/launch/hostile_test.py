"""Tests that spoilt input is answered in one line and spoils nothing else."""

import collections
import json
import os
import shutil
import subprocess
import sys

import hostile
import hostile_cases as cases
import pytest
import small as small_lib
from hypothesis import HealthCheck, Phase, example, given, settings

# Inputs that are tried in all, and where there is little time.
ALL, FEW = 2000, 40
tried = collections.Counter()


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  return tmp_path_factory.mktemp('home')


@pytest.fixture(scope='module')
def base(home, tmp_path_factory):
  """A folder of sound files: a search, a replay, a training, a comparison."""
  folder = tmp_path_factory.mktemp('sound') / 'base'
  folder.mkdir()
  small_lib.write(folder)
  (folder / 'outside').mkdir()
  (folder / 'outside/mine.txt').write_text('mine')
  (folder / 'tokens.bin').write_bytes((folder / 'text.txt').read_bytes())
  (folder / 'tokens.json').write_text(json.dumps(cases.TOKENS))

  def sound(command, given):
    answer = hostile.ask(command, given, folder, home, often=True)
    assert answer.code == 0, answer.err

  sound('search', cases.SEARCH)
  champion = folder / 'run/champion/configuration.json'
  shutil.copy(champion, folder / 'configuration.json')
  sound('replay', cases.REPLAY)
  sound('train', cases.TRAIN)
  sound('compare', cases.COMPARE)
  return folder


def check(case, found, base, folder, home):
  """Tries an input in a copy of the sound files; returns the exit code."""
  shutil.rmtree(folder, ignore_errors=True)
  shutil.copytree(base, folder)
  more = case.spoil(folder, found) or ()
  before = hostile.listing(folder)
  answer = hostile.ask(
    case.command, (*case.flags, *more), folder, home, stub=not case.works
  )
  after = hostile.listing(folder)
  changed = {name for name, _ in before.items() ^ after.items()}
  assert 'Traceback' not in answer.err, answer.err
  assert answer.code in (0, 2), (answer.code, answer.err)
  lines = answer.err.splitlines(keepends=True)
  # A search that has begun has said what it was going to do.
  said = answer.err if not case.works else ''.join(lines[-1:])
  assert (answer.code == 2) == hostile.is_one_line(said), answer.err
  assert answer.code == 2 or 'error: ' not in answer.err
  if answer.code == 2 and not case.works:
    assert not changed
  places = [folder / name for name in ('run', 'compare') if case.works]
  inside = {
    n for n in changed if any((folder / n).is_relative_to(p) for p in places)
  }
  assert changed == inside
  for path in answer.writes:
    assert any(path.is_relative_to(p) for p in (home, *places)), path
  return answer.code


def harmful(case, base):
  """The inputs that once did harm, by name."""
  return {
    name: found(base) if callable(found) else found
    for name, found in case.examples.items()
  }


def attempt(name, count, base, folder, home):
  """Tries so many inputs of a case, and those that once did harm."""
  case = cases.CASES[name]

  @settings(
    max_examples=count,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
  )
  @given(case.inputs(base))
  def tries(found):
    tried[name, check(case, found, base, folder, home)] += 1

  for found in harmful(case, base).values():
    tries = example(found)(tries)
  tries()


def commands():
  """Each command and its flags, once."""
  return dict.fromkeys(
    (case.command, tuple(case.flags)) for case in cases.CASES.values()
  )


@pytest.mark.parametrize('lost', [(), ('run/result.json', 'run/replays')])
def test_what_is_sound_is_taken(base, home, tmp_path, lost):
  shutil.copytree(base, tmp_path / 'work')
  cases.take(tmp_path / 'work', lost)
  for command, flags in commands():
    answer = hostile.ask(command, flags, tmp_path / 'work', home, stub=True)
    assert answer.code == 0 and 'error' not in answer.err, answer.err


@pytest.mark.parametrize('name', cases.CASES)
def test_spoilt_input_is_refused_in_one_line_or_does_no_harm(
  name, base, home, tmp_path
):
  count = max(1, round(FEW * cases.CASES[name].share / 100))
  attempt(name, count, base, tmp_path / 'work', home)


@pytest.mark.slow
@pytest.mark.parametrize('name', cases.CASES)
def test_two_thousand_spoilt_inputs_are_answered_likewise(
  name, base, home, tmp_path
):
  before = tried.copy()
  count = round(ALL * cases.CASES[name].share / 100)
  attempt(name, count, base, tmp_path / 'work', home)
  found = tried - before
  refused, harmless = found[name, 2], found[name, 0]
  print(f'\n{name}: {refused} refused, {harmless} did no harm')
  print(f'{tried.total()} so far')


def test_the_shares_make_two_thousand():
  assert sum(case.share for case in cases.CASES.values()) >= 100


REAL = [
  ('space that extends another', 'deep'),
  pytest.param('run of status', 'empty', marks=pytest.mark.slow),
  pytest.param('ledger of search', 'a billion asked', marks=pytest.mark.slow),
  pytest.param(
    'kinds of files for search', 'a link out', marks=pytest.mark.slow
  ),
  pytest.param('flags of train', 'long', marks=pytest.mark.slow),
]


@pytest.mark.parametrize('name,harm', REAL)
def test_a_process_of_its_own_answers_likewise(name, harm, base, tmp_path):
  case, folder = cases.CASES[name], tmp_path / 'work'
  shutil.copytree(base, folder)
  more = case.spoil(folder, harmful(case, base)[harm]) or ()
  done = subprocess.run(
    [sys.executable, '-m', f'launch.{case.command}', *case.flags, *more],
    cwd=folder,
    env=os.environ
    | {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(small_lib.ROOT)},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 2, done.stderr
  assert hostile.is_one_line(done.stderr.splitlines(keepends=True)[-1])
  assert 'Traceback' not in done.stderr
