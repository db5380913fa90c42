import numpy as np
import pytest

from models import tokenizer

TEXT = 'naïve café → 𝄞\r\n'


def test_bytes_are_those_of_utf_8():
  tokens = tokenizer.Bytes().encode(TEXT)
  assert tokens.tolist() == list(TEXT.encode())
  assert tokenizer.Bytes().decode(tokens) == TEXT


def test_bytes_that_are_no_text_are_shown_as_such():
  assert tokenizer.Bytes().decode(np.array([97, 255])) == 'a\ufffd'


def test_characters_are_numbered_as_by_nanogpt():
  made = tokenizer.Characters(tokenizer.alphabet_of(TEXT))
  chars = sorted(set(TEXT))
  assert made.vocabulary == len(chars)
  assert made.encode(TEXT).tolist() == [chars.index(c) for c in TEXT]
  assert made.decode(made.encode(TEXT)) == TEXT


@pytest.mark.parametrize('strange', ['z', '\0', '\U0010ffff'])
def test_an_unknown_character_is_named(strange):
  with pytest.raises(ValueError, match=r'^character .*; expected one of the'):
    tokenizer.Characters('abc').encode('ab' + strange)


def test_numbers_pass_as_they_are():
  made = tokenizer.Numbers(50257)
  assert made.encode('50256 0').tolist() == [50256, 0]
  assert made.decode(np.array([50256, 0])) == '50256 0'


@pytest.mark.parametrize('prompt', ['50257', '-1', 'hello'])
def test_a_prompt_of_no_token_numbers_is_refused(prompt):
  with pytest.raises(ValueError, match=r'expected token numbers below 50257$'):
    tokenizer.Numbers(50257).encode(prompt)


def test_tokens_take_the_smallest_type_that_holds_them():
  sizes = (256, 257, 65536, 65537)
  types = [tokenizer.smallest_dtype(size).name for size in sizes]
  assert types == ['uint8', 'uint16', 'uint16', 'int32']
