"""The corpus: tokens to train on, and fixed windows to evaluate on."""

import dataclasses
import hashlib
import math
import pathlib
from typing import NamedTuple, TypeVar

import numpy as np

from models import text as texts
from models import tokenizer as tokenizers
from models import windows

SPLITS = ('train', 'search', 'confirm', 'locked')
Sequence = TypeVar('Sequence', str, np.ndarray)


@dataclasses.dataclass(frozen=True)
class Corpus:
  """Tokens, ready for a device.

  Attributes:
    train: `[tokens]`, the smallest of uint8, uint16 and int32.
    evaluation: windows of each of the other splits that are present.
    tokenizer: encodes prompts and decodes samples.
    context: inputs in a window of evaluation; that of a structure divides it.
    sizes: tokens in each split.
    digest: SHA-256 of the tokens, the bounds of the splits and the windows.
  """

  train: np.ndarray
  evaluation: dict[str, windows.Windows]
  tokenizer: tokenizers.Tokenizer
  context: int
  sizes: dict[str, int]
  digest: str

  @property
  def vocabulary(self) -> int:
    return self.tokenizer.vocabulary


class Split(NamedTuple):
  """The tokens of a split, and UTF-8 bytes of text per token."""

  tokens: np.ndarray
  bytes_per_token: float


def load(
  data: str | None = None,
  tokenizer: str = 'byte',
  splits: tuple[float, ...] = (0.85, 0.05, 0.05, 0.05),
  context: int = 64,
  evaluation_tokens: int = 65536,
) -> Corpus:
  """Reads a corpus.

  Args:
    data: a text file; a folder of text files (.txt .md .rst .py, in the order
      of their paths); a token file (.npy or .bin) with a JSON beside it, for
      which `tokenizer` has no meaning; or None for the source of Python's
      standard library.
    tokenizer: `byte`, or `char` for the alphabet of the data.
    splits: fractions of train, search, confirm and locked, 1 together; the
      last two may be 0, which leaves them out. Data is cut in that order; the
      standard library is dealt out by whole files.
    context: inputs in a window of evaluation, the largest that a structure may
      have; others divide it.
    evaluation_tokens: targets that an evaluation scores, in whole windows
      spread evenly over the split; 0 scores every token of the split but its
      first, which nothing precedes.

  Raises:
    ValueError: one line, what is wrong and what is expected.
  """
  fractions = _fractions(splits)
  if tokenizer not in tokenizers.NAMES:
    raise ValueError(f'tokenizer {tokenizer!r}; expected byte or char')
  if context < 1 or evaluation_tokens < 0:
    raise ValueError(
      f'context {context} and evaluation_tokens {evaluation_tokens}; expected '
      'at least 1 and 0'
    )
  if data is None:
    parts = deal(texts.library(), fractions)
    made, tokens = _encode(parts, tokenizer, 'the standard library')
  elif pathlib.Path(data).suffix in texts.TOKEN_SUFFIXES:
    numbers, vocabulary, ratio = texts.read_tokens(pathlib.Path(data))
    made = tokenizers.Numbers(vocabulary)
    tokens = {n: Split(p, ratio) for n, p in cut(numbers, fractions).items()}
  else:
    content = texts.read(pathlib.Path(data))
    made, tokens = _encode_whole(content, tokenizer, data, fractions)
  return _corpus(made, tokens, context, evaluation_tokens)


def cut(whole: Sequence, fractions: dict[str, float]) -> dict[str, Sequence]:
  """Cuts at the running sum of fractions; nanoGPT's 90 % is `int(.9 * n)`."""
  parts, begin, done = {}, 0, 0.0
  for name, fraction in fractions.items():
    done += fraction
    # Rounded, for a sum like .85 + .05 may lie just below what it should be.
    end = int(round(done, 9) * len(whole))
    parts[name], begin = whole[begin:end], end
  return parts


def deal(
  files: list[tuple[str, bytes]], fractions: dict[str, float]
) -> dict[str, bytes]:
  """Deals whole files out to splits.

  Args:
    files: (name, content) in an order as good as random. The split that a
      file's middle byte would be cut into gets it.
    fractions: of the bytes, by split; 1 together.

  Returns:
    The content of each split, its files in the order of their names.
  """
  total = sum(len(content) for _, content in files)
  bounds = np.cumsum(list(fractions.values()))
  hands = {name: [] for name in fractions}
  dealt = 0
  for name, content in files:
    middle = (dealt + len(content) / 2) / total
    split = min(int(np.searchsorted(bounds, middle)), len(bounds) - 1)
    hands[list(fractions)[split]].append((name, content))
    dealt += len(content)
  return {
    name: b''.join(content for _, content in sorted(hand))
    for name, hand in hands.items()
  }


def _fractions(splits: tuple[float, ...]) -> dict[str, float]:
  """The splits that are present."""
  ok = len(splits) == len(SPLITS) and all(0 <= s <= 1 for s in splits)
  if not ok or abs(sum(splits) - 1) > 1e-6 or not all(splits[:2]):
    raise ValueError(
      f'splits {",".join(str(s) for s in splits)}; expected four fractions of '
      'train, search, confirm and locked that add up to 1, the first two not 0'
    )
  return {name: s for name, s in zip(SPLITS, splits, strict=True) if s}


def _encode_whole(
  content: bytes, tokenizer: str, source: str, fractions: dict[str, float]
) -> tuple[tokenizers.Tokenizer, dict[str, Split]]:
  """Encodes, then cuts: so a split is a fraction of tokens."""
  if tokenizer == 'byte':
    # Not decoded: any bytes will do, and a cut may fall within a character.
    parts = cut(np.frombuffer(content, np.uint8), fractions)
    return tokenizers.Bytes(), {n: Split(p, 1.0) for n, p in parts.items()}
  parts = cut(_decode(content, source), fractions)
  return _encode({n: p.encode() for n, p in parts.items()}, tokenizer, source)


def _encode(
  parts: dict[str, bytes], tokenizer: str, source: str
) -> tuple[tokenizers.Tokenizer, dict[str, Split]]:
  if tokenizer == 'byte':
    arrays = {n: np.frombuffer(p, np.uint8) for n, p in parts.items()}
    return tokenizers.Bytes(), {n: Split(p, 1.0) for n, p in arrays.items()}
  strings = {n: _decode(p, source) for n, p in parts.items()}
  made = tokenizers.Characters(
    tokenizers.alphabet_of(''.join(strings.values()))
  )
  return made, {
    name: Split(made.encode(string), len(parts[name]) / max(len(string), 1))
    for name, string in strings.items()
  }


def _decode(content: bytes, source: str) -> str:
  try:
    return content.decode()
  except UnicodeDecodeError as error:
    raise ValueError(
      f'byte {error.start} of {source} is not UTF-8; expected UTF-8 text, or '
      'the byte tokenizer'
    ) from error


def _corpus(
  tokenizer: tokenizers.Tokenizer,
  parts: dict[str, Split],
  context: int,
  evaluation_tokens: int,
) -> Corpus:
  dtype = tokenizers.smallest_dtype(tokenizer.vocabulary)
  digest = hashlib.sha256(f'{tokenizer} {context} {evaluation_tokens}'.encode())
  evaluation = {}
  for name, (tokens, ratio) in parts.items():
    if tokens.size < context + 1 or not math.isfinite(ratio):
      raise ValueError(
        f'split {name} has {tokens.size} tokens; expected {context + 1} or '
        'more, which is one window'
      )
    tokens = np.ascontiguousarray(tokens, dtype)
    digest.update(f'{name} {tokens.size} {ratio!r}'.encode())
    digest.update(tokens.astype(dtype.newbyteorder('<'), copy=False).data)
    if name == 'train':
      train = tokens
    else:
      evaluation[name] = windows.spread(
        tokens, context, evaluation_tokens, ratio
      )
  sizes = {name: part.tokens.size for name, part in parts.items()}
  return Corpus(
    train, evaluation, tokenizer, context, sizes, digest.hexdigest()
  )
