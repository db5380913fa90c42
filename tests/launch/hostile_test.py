"""Tests that spoilt input is answered in one line and spoils nothing else."""

import collections
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hostile
import pytest
import small as small_lib
from etils import epath
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from evo import checkpoint

TEXT = (
  *('--data=text.txt', '--space=space.json', '--member_tokens=5120'),
  *('--evaluation_tokens=2048', '--population=2', '--segments=4'),
)
SEARCH = (*TEXT, '--workdir=run', '--max_members=3', '--confirm_seeds=0')
TRAIN = (*TEXT, '--workdir=train', '--configuration=configuration.json')
REPLAY = ('--workdir=run', '--seeds=1')
COMPARE = (
  *('--workdir=compare', '--task=quadratic', '--strategies=random,pbt'),
  *('--seeds=2', '--max_members=4'),
)
# Of a shard of tokens, whose description lies beside it.
TOKENS = {'vocabulary': 256, 'dtype': 'uint8', 'bytes_per_token': 1.0}
EXTENDS = {
  'name': 'mine',
  'extends': 'nanogpt',
  'parameters': {'width': {'choices': [16, 32]}, 'depth': {'high': 3}},
  'fixed': {'batch': 8},
  'free': ['learning_rate', 'width'],
}
HOLDER = {'host': 'h', 'boot': 'b', 'namespace': 'n'}
HOLDER |= {'pid': 1, 'start': 4, 'beat': 5}
LAST = 'run/checkpoints/round-00000006'
KINDS = ('link', 'loop', 'fifo', 'folder', 'empty', 'huge')

# Inputs that are tried in all, and where there is little time.
ALL, FEW = 2000, 40


@dataclasses.dataclass(frozen=True)
class Case:
  """A way to be hostile.

  Attributes:
    command: that is run.
    flags: that it gets.
    inputs: what is spoilt, given the folder of sound files.
    spoil: puts an input into a folder; may return more flags.
    share: of all inputs that are tried, in percent.
    works: whether the command does its work where it finds nothing wrong;
      otherwise it ends where it would begin to.
    examples: inputs that once did harm, by what was wrong with them; or what
      makes them, given the folder of sound files.
  """

  command: str
  flags: Sequence[str]
  inputs: Callable[[pathlib.Path], st.SearchStrategy]
  spoil: Callable[[pathlib.Path, Any], Sequence[str] | None]
  share: float = 3
  works: bool = False
  examples: dict[str, Any] = dataclasses.field(default_factory=dict)


def put(path, without=()):
  """Replaces a file, and takes others away."""

  def spoil(folder, content):
    (folder / path).write_bytes(content)
    take(folder, without)

  return spoil


def take(folder, names):
  for path in (folder / name for name in names):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def of(path):
  """A file of a sound folder, spoilt."""
  return lambda base: hostile.files((base / path).read_bytes())


def changed(path, **flags):
  """A run.json with other flags."""

  def make(base):
    run = json.loads((base / path).read_bytes())
    return json.dumps(run | {'flags': run['flags'] | flags}).encode()

  return make


def forged(number, **values):
  """A ledger with other values in a record, all digests valid."""

  def make(base):
    paths = sorted((base / 'run/ledger').iterdir())
    found = [json.loads(path.read_bytes()) for path in paths]
    for record in found:
      del record['digest']
    found[number] |= values
    return hostile.chain(found)

  return make


def document(value):
  """A document, spoilt."""
  return lambda base: hostile.files(json.dumps(value).encode())


def lines(path):
  """A file of a JSON document in each line, of which one is spoilt."""

  def inputs(base):
    found = (base / path).read_bytes().splitlines()
    return st.integers(0, len(found) - 1).flatmap(
      lambda i: hostile.files(found[i]).map(
        lambda line: b'\n'.join([*found[:i], line, *found[i + 1 :]])
      )
    )

  return inputs


def ledger(folder, contents):
  """Replaces the ledger of the search."""
  for number, content in enumerate(contents):
    (folder / f'run/ledger/{number:08d}.json').write_bytes(content)


def ledger_of_replay(folder, contents):
  ledger(folder, contents)
  take(folder, ['run/replays'])


def ledger_of_search(folder, contents):
  ledger(folder, contents)
  take(folder, ['run/result.json'])


def records(base):
  paths = sorted((base / 'run/ledger').iterdir())
  return hostile.ledgers([json.loads(path.read_bytes()) for path in paths])


def seals(base):
  (path,) = base.glob(f'{LAST}.json')
  return hostile.seals(json.loads(path.read_bytes()))


def stored(where):
  """(path, content) of a file that Orbax wrote, spoilt."""

  def inputs(base):
    (folder,) = base.glob(where)
    files = [path for path in sorted(folder.rglob('*')) if path.is_file()]
    return st.sampled_from(files).flatmap(
      lambda path: st.tuples(
        st.just(path.relative_to(base)), hostile.contents(path.read_bytes())
      )
    )

  return inputs


def put_stored(folder, found):
  name, content = found
  (folder / name).write_bytes(content)


def put_sealed(folder, found):
  """As if it had been so when it was sealed."""
  put_stored(folder, found)
  (path,) = folder.glob(f'{LAST}.json')
  seal = json.loads(path.read_bytes())
  place = epath.Path(path.parent / seal['place'])
  seal |= {'files': checkpoint.digest(place)}
  seal |= {'digest': checkpoint._of_seal(seal)}
  path.write_text(json.dumps(seal))
  take(folder, ['run/result.json'])


def kinds(base):
  """(path in the workdir, what stands in its place)."""
  names = [p.relative_to(base) for p in sorted((base / 'run').rglob('*'))]
  return st.tuples(st.sampled_from(names), st.sampled_from(KINDS))


def put_kind(folder, found):
  """Replaces something in the workdir by something of another kind."""
  name, kind = found
  path = folder / name
  take(folder, [name])
  if kind == 'link':
    path.symlink_to(folder / 'outside')
  elif kind == 'loop':
    path.symlink_to(path)
  elif kind == 'fifo':
    os.mkfifo(path)
  elif kind == 'folder':
    path.mkdir()
  else:
    path.touch()
  if kind == 'huge' and path.suffix in ('.json', '.jsonl', '.txt'):
    os.truncate(path, 1 << 40)  # Without a block on the disk.


def flags(folder, found):
  (folder / 'loop').symlink_to('loop')
  os.mkfifo(folder / 'fifo')
  (folder / 'binary').write_bytes(bytes(range(256)))
  return found


def of_command(command):
  """Some of a command's flags, with values of any kind."""
  return lambda base: hostile.flags(hostile.names(command))


CASES = {
  'space': Case(
    'space', ['--space=space.json'], of('space.json'), put('space.json'), 8
  ),
  'space that extends another': Case(
    'space',
    ['--space=space.json'],
    document(EXTENDS),
    put('space.json'),
    6,
    examples={'deep': b'[' * 100_000, 'long': b'9' * 5000},
  ),
  'space of a search': Case(
    'search', (*SEARCH, '--workdir=new'), of('space.json'), put('space.json')
  ),
  'configuration': Case(
    'train',
    (*TRAIN, '--workdir=new'),
    of('configuration.json'),
    put('configuration.json'),
    6,
  ),
  'tokens': Case(
    'train',
    (*TRAIN, '--workdir=new', '--data=tokens.bin'),
    document(TOKENS),
    put('tokens.json'),
    examples={
      'more than a float': b'{"vocabulary": 256, "dtype": "uint8",'
      b' "bytes_per_token": 1' + b'0' * 400 + b'}',
    },
  ),
  'run of status': Case(
    'status',
    ['--workdir=run'],
    of('run/run.json'),
    put('run/run.json'),
    examples={
      'nothing': b'null',
      'empty': b'',
      'marked': b'\xef\xbb\xbf{}',
      'not UTF-8': b'{"flags": "\x87"}',
    },
  ),
  'run of replay': Case(
    'replay',
    REPLAY,
    of('run/run.json'),
    put('run/run.json', ['run/replays']),
    examples={'text for numbers': changed('run/run.json', splits=['a'] * 4)},
  ),
  'run of sample': Case(
    'sample', ['--workdir=run'], of('run/run.json'), put('run/run.json')
  ),
  'run of search': Case(
    'search', SEARCH, of('run/run.json'), put('run/run.json')
  ),
  'run of train': Case(
    'train', TRAIN, of('train/run.json'), put('train/run.json')
  ),
  'run of compare': Case(
    'compare', COMPARE, of('compare/run.json'), put('compare/run.json')
  ),
  'champion': Case(
    'sample',
    ['--workdir=run'],
    of('run/champion/configuration.json'),
    put('run/champion/configuration.json'),
  ),
  'result of search': Case(
    'search', SEARCH, of('run/result.json'), put('run/result.json')
  ),
  'improvements': Case(
    'search', SEARCH, of('run/improvements.json'), put('run/improvements.json')
  ),
  'result of train': Case(
    'train', TRAIN, of('train/train.json'), put('train/train.json')
  ),
  'result of replay': Case(
    'replay',
    REPLAY,
    of('run/replays/1-1/replay.json'),
    put('run/replays/1-1/replay.json'),
  ),
  'run of a comparison': Case(
    'compare',
    COMPARE,
    of('compare/runs/pbt-0.json'),
    put('compare/runs/pbt-0.json'),
    works=True,
  ),
  'events': Case(
    'status',
    ['--workdir=run'],
    lines('run/events.jsonl'),
    put('run/events.jsonl'),
    examples={
      'nothing': b'null',
      'no time': b'{"event": "round", "seconds": []}',
      'not UTF-8': b'\x87',
      'deep': b'[' * 100_000,
    },
  ),
  'holder of status': Case(
    'status', ['--workdir=run'], document(HOLDER), put('run/owner.json'), 2
  ),
  'holder of search': Case(
    'search',
    SEARCH,
    document(HOLDER),
    put('run/owner.json', ['run/result.json']),
    2,
  ),
  'ledger of status': Case('status', ['--workdir=run'], records, ledger, 5),
  'ledger of replay': Case('replay', REPLAY, records, ledger_of_replay, 5),
  'ledger of search': Case(
    'search',
    SEARCH,
    records,
    ledger_of_search,
    3,
    works=True,
    examples={
      'a billion asked': forged(
        3, asked={'n': 10**9, 'fresh': 1, 'species': 1}
      ),
      'nothing decided': forged(3, decided=[]),
      'results of nobody': forged(2, results=[{'member': 7}]),
    },
  ),
  'checkpoint': Case(
    'search',
    SEARCH,
    seals,
    put(f'{LAST}.json', ['run/result.json']),
    1,
    works=True,
  ),
  'states in a checkpoint': Case(
    'search', SEARCH, stored(f'{LAST}.*[!n]'), put_sealed, 2, works=True
  ),
  'weights of the champion': Case(
    'sample', ['--workdir=run'], stored('run/champion/weights'), put_stored, 2
  ),
  'kinds of files for status': Case(
    'status',
    ['--workdir=run'],
    kinds,
    put_kind,
    2,
    examples={'pipe': ('run/events.jsonl', 'fifo')},
  ),
  'kinds of files for search': Case(
    'search',
    SEARCH,
    kinds,
    put_kind,
    2,
    examples={
      'a link out': ('run/events.jsonl', 'link'),
      'a folder out': ('run/checkpoints', 'link'),
      'too large': ('run/run.json', 'huge'),
    },
  ),
  'kinds of files for sample': Case(
    'sample', ['--workdir=run'], kinds, put_kind, 2
  ),
  'flags of search': Case('search', SEARCH, of_command('search'), flags),
  'flags of train': Case(
    'train',
    TRAIN,
    of_command('train'),
    flags,
    examples={'long': ['--data=' + 'a' * 5000]},
  ),
  'flags of compare': Case('compare', COMPARE, of_command('compare'), flags),
  'flags of replay': Case('replay', REPLAY, of_command('replay'), flags, 2),
  'flags of sample': Case(
    'sample', ['--workdir=run'], of_command('sample'), flags, 2
  ),
  'flags of status': Case(
    'status', ['--workdir=run'], of_command('status'), flags, 2
  ),
  'flags of space': Case('space', [], of_command('space'), flags, 2),
  'flags of preflight': Case(
    'preflight', ['--topology=v5e:2x2'], of_command('preflight'), flags, 3
  ),
}
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
  (folder / 'tokens.json').write_text(json.dumps(TOKENS))

  def sound(command, given):
    answer = hostile.ask(command, given, folder, home, often=True)
    assert answer.code == 0, answer.err

  sound('search', SEARCH)
  champion = folder / 'run/champion/configuration.json'
  shutil.copy(champion, folder / 'configuration.json')
  sound('replay', REPLAY)
  sound('train', TRAIN)
  sound('compare', COMPARE)
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
  case = CASES[name]

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


@pytest.mark.parametrize('name', CASES)
def test_spoilt_input_is_refused_in_one_line_or_does_no_harm(
  name, base, home, tmp_path
):
  count = max(1, round(FEW * CASES[name].share / 100))
  attempt(name, count, base, tmp_path / 'work', home)


@pytest.mark.slow
@pytest.mark.parametrize('name', CASES)
def test_two_thousand_spoilt_inputs_are_answered_likewise(
  name, base, home, tmp_path
):
  before = tried.copy()
  attempt(
    name, round(ALL * CASES[name].share / 100), base, tmp_path / 'w', home
  )
  found = tried - before
  refused, harmless = found[name, 2], found[name, 0]
  print(f'\n{name}: {refused} refused, {harmless} did no harm')
  print(f'{tried.total()} so far')


def test_the_shares_make_two_thousand():
  assert sum(case.share for case in CASES.values()) >= 100


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
  case, folder = CASES[name], tmp_path / 'work'
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
