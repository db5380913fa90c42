"""Ways to be hostile: what is spoilt, where it lies, and who reads it."""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import hostile
import spoilt
from etils import epath
from hypothesis import strategies as st

from evo import checkpoint

TEXT = (
  *('--data=text.txt', '--space=space.json', '--member_tokens=5120'),
  *('--evaluation_tokens=2048', '--population=2', '--segments=4'),
)
SEARCH = (*TEXT, '--workdir=run', '--max_members=3', '--confirm_seeds=0')
TRAIN = (*TEXT, '--workdir=train', '--configuration=configuration.json')
REPLAY = ('--workdir=run', '--member=1', '--seeds=1')
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
  return lambda base: spoilt.files((base / path).read_bytes())


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
    return spoilt.chain(found)

  return make


def document(value):
  """A document, spoilt."""
  return lambda base: spoilt.files(json.dumps(value).encode())


def lines(path):
  """A file of a JSON document in each line, of which one is spoilt."""

  def inputs(base):
    found = (base / path).read_bytes().splitlines()
    return st.integers(0, len(found) - 1).flatmap(
      lambda i: spoilt.files(found[i]).map(
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
  return spoilt.ledgers([json.loads(path.read_bytes()) for path in paths])


def seals(base):
  (path,) = base.glob(f'{LAST}.json')
  return spoilt.seals(json.loads(path.read_bytes()))


def stored(where):
  """(path, content) of a file that Orbax wrote, spoilt."""

  def inputs(base):
    (folder,) = base.glob(where)
    files = [path for path in sorted(folder.rglob('*')) if path.is_file()]
    return st.sampled_from(files).flatmap(
      lambda path: st.tuples(
        st.just(path.relative_to(base)), spoilt.contents(path.read_bytes())
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
  return lambda base: spoilt.flags(hostile.names(command))


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
  'flags of bench': Case('bench', ['step'], of_command('bench'), flags, 2),
  'flags of preflight': Case(
    'preflight', ['--topology=v5e:2x2'], of_command('preflight'), flags, 3
  ),
}
