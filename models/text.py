"""Where text and token files come from. All reading of files is here."""

import hashlib
import json
import os
import pathlib
import sysconfig

import numpy as np

# Read from a folder, in the order of their paths; anything else is left.
SUFFIXES = ('.txt', '.md', '.rst', '.py')
TOKEN_SUFFIXES = ('.npy', '.bin')

# Not on every machine, generated, or tables of characters rather than text.
LEFT_OUT = frozenset(
  ('test', 'tests', 'idlelib', 'lib2to3', 'tkinter', 'turtledemo')
  + ('ensurepip', 'distutils', 'encodings', 'pydoc_data', '__pycache__')
  + ('site-packages', 'dist-packages', '__phello__')
)
LIBRARY_BYTES = 8 * 2**20


def library() -> list[tuple[str, bytes]]:
  """Python's own standard library, at most 8 MiB of it.

  Returns:
    (relative path, source) of its files, in the order of a hash of the path,
    which is as good as random and the same on every machine.
  """
  root = pathlib.Path(sysconfig.get_paths()['stdlib'])
  kept = []
  for folder, folders, names in os.walk(root):
    # A config-3.11-x86_64-linux-gnu folder is the build's, not the library's.
    folders[:] = [f for f in folders if f not in LEFT_OUT and '-' not in f]
    inside = pathlib.Path(folder).relative_to(root)
    kept += [
      (inside / name).as_posix()
      for name in names
      if name.endswith('.py') and not name.startswith('_sysconfigdata')
    ]
  files, total = [], 0
  for name in sorted(kept, key=_rank):
    content = (root / name).read_bytes()
    total += len(content)
    if total > LIBRARY_BYTES:
      break
    files.append((name, content))
  if not files:
    raise ValueError(f'no Python source in {root}; expected --data')
  return files


def read(path: pathlib.Path) -> bytes:
  """The bytes of a text file, or of a folder's text files one after another.

  Raises:
    ValueError: nothing is there, or nothing to read.
  """
  if path.is_dir():
    files = sorted(
      file
      for suffix in SUFFIXES
      for file in path.rglob(f'*{suffix}')
      if file.is_file()
      and not any(p.startswith('.') for p in file.relative_to(path).parts)
    )
    kinds = ', '.join(SUFFIXES)
    content = b''.join(file.read_bytes() for file in files)
    if not content:
      raise ValueError(f'folder {path} has no text; expected {kinds} files')
    return content
  if not path.is_file():
    raise ValueError(f'no data at {path}; expected a file or a folder')
  content = path.read_bytes()
  if not content:
    raise ValueError(f'file {path} is empty; expected text')
  return content


def read_tokens(path: pathlib.Path) -> tuple[np.ndarray, int, float]:
  """A token file and the JSON beside it.

  `train.bin` goes with `train.json`: {"vocabulary": 50257, "dtype": "uint16",
  "bytes_per_token": 3.9}. A .bin is raw little-endian numbers of that type; a
  .npy is a NumPy array of one axis and that type.

  Returns:
    Tokens, the vocabulary and UTF-8 bytes of text per token.

  Raises:
    ValueError: either file is missing or does not say what it should.
  """
  vocabulary, dtype, bytes_per_token = _description(path.with_suffix('.json'))
  if not path.is_file():
    raise ValueError(f'no data at {path}; expected a token file')
  size = path.stat().st_size
  if path.suffix == '.bin' and size % dtype.itemsize:
    raise ValueError(f'{path} has {size} bytes; expected whole {dtype} numbers')
  if path.suffix == '.bin':
    tokens = np.fromfile(path, dtype.newbyteorder('<')).astype(dtype)
  else:
    tokens = _load_array(path, dtype)
  if not tokens.size:
    raise ValueError(f'file {path} is empty; expected tokens')
  if tokens.min() < 0 or tokens.max() >= vocabulary:
    odd = tokens.min() if tokens.min() < 0 else tokens.max()
    raise ValueError(
      f'token {odd} in {path}; expected tokens in [0, {vocabulary})'
    )
  return tokens, vocabulary, bytes_per_token


def _load_array(path: pathlib.Path, dtype: np.dtype) -> np.ndarray:
  try:
    # Mapped, so that shape and type are known before anything is allocated.
    tokens = np.load(path, mmap_mode='r', allow_pickle=False)
  except (ValueError, EOFError, OSError) as error:
    raise ValueError(f'{path} is unreadable; expected a NumPy array') from error
  if tokens.ndim != 1 or tokens.dtype != dtype:
    raise ValueError(
      f'{path} is {tokens.dtype}{list(tokens.shape)}; expected {dtype}[tokens]'
    )
  return np.array(tokens)


def _description(path: pathlib.Path) -> tuple[int, np.dtype, float]:
  expected = (
    'expected {"vocabulary": 50257, "dtype": "uint16", "bytes_per_token": 3.9}'
  )
  try:
    value = json.loads(path.read_text())
    vocabulary, name = value['vocabulary'], value['dtype']
    ratio = value['bytes_per_token']
  except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
    problem = f'{path} is missing or incomplete; {expected}'
    raise ValueError(problem) from error
  if type(vocabulary) is not int or not 0 < vocabulary < 2**31:
    raise ValueError(f'vocabulary {vocabulary!r} in {path}; {expected}')
  if name not in ('uint8', 'uint16', 'int32', 'uint32'):
    raise ValueError(f'dtype {name!r} in {path}; {expected}')
  if type(ratio) not in (int, float) or not 0 < ratio < 1e9:
    raise ValueError(f'bytes_per_token {ratio!r} in {path}; {expected}')
  return vocabulary, np.dtype(name), float(ratio)


def _rank(name: str) -> str:
  return hashlib.sha256(name.encode()).hexdigest()
