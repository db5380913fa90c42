"""What is spoilt: strategies of documents, files, ledgers and flags."""

import contextlib
import copy
import json

from hypothesis import strategies as st

from evo import checkpoint
from evo import ledger as ledger_lib

# What stands in a text in the place of what JSON's writer cannot write.
_RAW = {
  '@deep': '[' * 100_000 + ']' * 100_000,
  '@long': '9' * 5000,
  '@huge': '1e999',
  '@list': '[' + '0,' * 50_000 + '0]',
}
_VALUES = [
  *(None, True, False, 0, 1, -1, 2, 7, 0.5, -0.5, 1e308, 5e-324, -0.0),
  *(float('nan'), float('inf'), float('-inf')),
  *(2**31, 2**53 + 1, 2**63, 2**64, 10**30, -(10**30), 10**400),
  *('', ' ', 'x', '0', 'é', '\u202e', '\ud800', '\0', '\n', '%s{0}'),
  *('../../outside', '/outside', '.', '..', 'a' * 5000, 'ok', 'search'),
  *([], {}, [[]], [None], [0], ['x'], {'': 0}, {'x': None}, [0, 0]),
  *_RAW,
]
# Values of flags. Those of paths that are not there stay below the folder.
_ARGUMENTS = [
  *('', '0', '-1', '1', '2', '3', '0.5', '1e308', '1e999', 'nan', 'inf'),
  *('-inf', '1e-320', '9' * 30, '9' * 5000, '-' + '9' * 30, 'x', ' ', 'é'),
  *('\udcff', '\n', 'a\nb', '\u202e', ',', ',,', ':', '=', 'auto', 'null'),
  *('true', '[]', '{}', '%s', '{0}', '~', '*', 'a' * 300, 'a' * 5000, '.'),
  *('..', '../..', '/', '/dev/null', '/dev/zero', '/proc/self/mem'),
  *('loop', 'fifo', 'binary', 'text.txt', 'space.json', 'run', 'missing/x'),
  *('space.json/x', 'outside', '1,2,3,4', '0,0,0,0', 'nan,nan,nan,nan'),
  *('.9,.1,0,0', '1,0,0,0', '-1,2,0,0', 'inf,-inf,1,0', '.5,.5'),
  *('member:0', 'member:2', 'member:1000000', 'data:2', 'tensor:2'),
  *('member:2,member:2', 'member:²', 'member:٣', 'depth:2', 'depth:0'),
  *('depth:' + '9' * 20, 'tokens:' + '9' * 12, 'depth:2,tokens:2'),
  *('learning_rate:2', 'qk_norm:2', 'batch:100000000', 'random', 'pbt'),
  *('tpe,random', 'cmaes,gp', 'hybrid', 'mfpbt', 'quadratic', 'hpolib:x'),
  *('hpolib:../../x', 'hpobench:', 'text', 'search', 'search,confirm'),
  *('confirm', 'search,search', 'configuration,architecture,objective'),
  *('objective', 'v5e:2x2', 'v5e:0x0', 'v5e:99999x99999', '2xv5p:4x4x4'),
  *('baseline', 'byte', 'char', 'map', 'vmap'),
]
_TEXTS = [
  *(b'', b' ', b'\0', b'{', b'null', b'[]', b'0', b'""', b'{}', b'\xff\xfe'),
  *(b'\xef\xbb\xbf{}', b'NaN', b'{"a": 1', b'{"": {}}', b'\x80\x04N.'),
  *(bytes(range(256)), b'[' * 100_000, b'9' * 5000, b'{"a":' * 100_000),
  *('{}'.encode('utf-16'), b'{"name": 1, "name": 2}'),
]


def _places(value, at=()):
  """Paths of all values in a document."""
  yield at
  children = value.items() if isinstance(value, dict) else ()
  children = enumerate(value) if isinstance(value, list) else children
  for key, child in children:
    yield from _places(child, (*at, key))


def _put(value, at, new):
  if not at:
    return new
  value = copy.deepcopy(value)
  inner = value
  for key in at[:-1]:
    inner = inner[key]
  inner[at[-1]] = new
  return value


def _get(value, at):
  for key in at:
    value = value[key]
  return value


def text(value):
  """A spoilt document as the text of a file."""
  found = json.dumps(value)
  for name, raw in _RAW.items():
    found = found.replace(f'"{name}"', raw)
  return found.encode()


@st.composite
def documents(draw, value):
  """A document with one to three changes: values, keys or kinds."""
  for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
    # First how deep: most places lie in the lists of a space.
    places = list(_places(value))
    depth = draw(st.integers(0, max(map(len, places))))
    at = draw(st.sampled_from([p for p in places if len(p) == depth]))
    how = draw(st.sampled_from(['put', 'put', 'put', 'drop', 'key', 'wrap']))
    inside = _get(value, at)
    if how == 'drop' and at:
      parent = copy.deepcopy(_get(value, at[:-1]))
      del parent[at[-1]]
      value = _put(value, at[:-1], parent)
    elif how == 'key' and isinstance(inside, dict):
      name = draw(st.sampled_from(['x', '', '../x', '\ud800', 'a' * 999]))
      value = _put(value, at, inside | {name: draw(st.sampled_from(_VALUES))})
    elif how == 'wrap':
      value = _put(value, at, draw(st.sampled_from([[inside], {'x': inside}])))
    else:
      value = _put(value, at, draw(st.sampled_from(_VALUES)))
  return text(value)


@st.composite
def contents(draw, content):
  """The content of a file, spoilt as bytes."""
  how = draw(st.sampled_from(['other', 'cut', 'flip', 'twice', 'insert']))
  if how == 'other':
    return draw(st.sampled_from(_TEXTS))
  place = draw(st.integers(0, max(0, len(content) - 1)))
  if how == 'cut':
    return content[:place]
  if how == 'twice':
    return content + content
  if how == 'insert':
    return content[:place] + draw(st.binary(max_size=8)) + content[place:]
  spoilt = bytearray(content)
  spoilt[place] ^= 1 << draw(st.integers(0, 7))
  return bytes(spoilt)


def files(content):
  """The content of a JSON file, spoilt as a document or as bytes."""
  return st.one_of(
    documents(json.loads(content)),
    documents(json.loads(content)),
    contents(content),
  )


def chain(records):
  """Contents of the files of a ledger, each with valid digests if it can."""
  found, previous = [], ''
  for record in records:
    if isinstance(record, dict):
      record = record | {'previous': previous}
      try:
        previous = ledger_lib.digest(record)
      except ValueError:  # Not finite.
        previous = ''
      record = record | {'digest': previous}
    found.append(text(record))
  return found


@st.composite
def seals(draw, seal):
  """The seal of a checkpoint, its digest valid or not."""
  content = draw(files(json.dumps(seal).encode()))
  if draw(st.booleans()):
    return content
  with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
    seal = json.loads(content)
    content = json.dumps(seal | {'digest': checkpoint._of_seal(seal)}).encode()
  return content


def flags(known):
  """One to three flags with values of any kind, or other arguments."""
  one = st.tuples(st.sampled_from(known), st.sampled_from(_ARGUMENTS)).map(
    lambda pair: f'--{pair[0]}={pair[1]}'
  )
  bare = st.sampled_from(['x', '--', '-', '--x', '--workdir', '-=', ''])
  return st.lists(st.one_of(one, one, one, bare), min_size=1, max_size=3)


@st.composite
def ledgers(draw, records):
  """The files of a ledger: some record spoilt, with digests that fit or not."""
  spoilt = draw(st.integers(0, len(records) - 1))
  if draw(st.booleans()):
    value = {k: v for k, v in records[spoilt].items() if k != 'digest'}
    changed = json.loads(draw(documents(value)))
    others = [*records[:spoilt], changed, *records[spoilt + 1 :]]
    return chain(others)
  found = [text(record) for record in records]
  found[spoilt] = draw(files(found[spoilt]))
  return found
