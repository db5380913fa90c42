"""Text to tokens and back."""

import dataclasses

import numpy as np

NAMES = ('byte', 'char')


@dataclasses.dataclass(frozen=True)
class Bytes:
  """One token per UTF-8 byte."""

  vocabulary: int = 256

  def encode(self, text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)

  def decode(self, tokens: np.ndarray) -> str:
    """The text, with what is no UTF-8 shown as the replacement character."""
    return (
      np.asarray(tokens).astype(np.uint8).tobytes().decode(errors='replace')
    )


@dataclasses.dataclass(frozen=True)
class Characters:
  """One token per character of a sorted alphabet, as nanoGPT's `char` data."""

  alphabet: str

  @property
  def vocabulary(self) -> int:
    return len(self.alphabet)

  def encode(self, text: str) -> np.ndarray:
    codes = _code_points(text)
    known = _code_points(self.alphabet)
    tokens = np.searchsorted(known, codes).clip(max=len(known) - 1)
    strange = known[tokens] != codes
    if strange.any():
      raise ValueError(
        f'character {chr(codes[strange][0])!r}; expected one of the '
        f'{len(known)} in the data'
      )
    return tokens.astype(smallest_dtype(len(known)))

  def decode(self, tokens: np.ndarray) -> str:
    known = _code_points(self.alphabet)
    return known[np.asarray(tokens)].tobytes().decode('utf-32-le')


@dataclasses.dataclass(frozen=True)
class Numbers:
  """Tokens of a file that came without its tokenizer, as decimal numbers."""

  vocabulary: int

  def encode(self, text: str) -> np.ndarray:
    words = text.split()
    if not all(w.isdecimal() and int(w) < self.vocabulary for w in words):
      raise ValueError(
        f'prompt {text[:40]!r}; expected token numbers below {self.vocabulary}'
      )
    return np.array(words, int).astype(smallest_dtype(self.vocabulary))

  def decode(self, tokens: np.ndarray) -> str:
    return ' '.join(str(token) for token in np.asarray(tokens))


Tokenizer = Bytes | Characters | Numbers


def alphabet_of(text: str) -> str:
  """Every character of a text once, sorted."""
  codes = np.unique(_code_points(text))
  return codes.tobytes().decode('utf-32-le')


def smallest_dtype(vocabulary: int) -> np.dtype:
  """The smallest of uint8, uint16 and int32 that holds every token."""
  if vocabulary <= 2**8:
    return np.dtype(np.uint8)
  return np.dtype(np.uint16 if vocabulary <= 2**16 else np.int32)


def _code_points(text: str) -> np.ndarray:
  return np.frombuffer(text.encode('utf-32-le'), '<u4')
