import json

import numpy as np
import pytest

from models import data, text

FOUR = (0.85, 0.05, 0.05, 0.05)


@pytest.fixture(name='play')
def _play(tmp_path):
  path = tmp_path / 'play.txt'
  words = np.random.default_rng(0).choice(['to', 'bé', 'or', 'not'], 5000)
  path.write_text(' '.join(words))
  return path


def _raises(message):
  return pytest.raises(ValueError, match=message)


def test_a_file_is_cut_in_order_and_nothing_is_lost(play):
  whole = play.read_bytes()
  corpus = data.load(str(play), 'byte', FOUR, 16, 0)
  assert sum(corpus.sizes.values()) == len(whole)
  assert bytes(corpus.train) == whole[: len(corpus.train)]
  begin = len(corpus.train)
  for name in ('search', 'confirm', 'locked'):
    tokens, first, _ = corpus.evaluation[name]
    rest = b''.join(bytes(r[1 + f :]) for r, f in zip(tokens, first))
    end = begin + corpus.sizes[name]
    assert bytes(tokens[0, :1]) + rest == whole[begin:end]
    begin = end


def test_nine_tenths_are_those_of_nanogpt(play):
  corpus = data.load(str(play), 'char', (0.9, 0.1, 0, 0), 16, 0)
  characters = play.read_text()
  assert corpus.sizes['train'] == int(0.9 * len(characters))
  assert set(corpus.evaluation) == {'search'}
  assert corpus.vocabulary == len(set(characters))
  train = characters[: corpus.sizes['train']]
  assert corpus.tokenizer.decode(corpus.train) == train


def test_bytes_per_character_are_measured_on_each_split(play):
  corpus = data.load(str(play), 'char', (0.5, 0.5, 0, 0), 16, 0)
  part = play.read_text()[corpus.sizes['train'] :]
  expected = len(part.encode()) / len(part)
  ratio = corpus.evaluation['search'].bytes_per_token
  assert ratio == pytest.approx(expected) and ratio > 1.02


@pytest.mark.parametrize('tokenizer', ['byte', 'char'])
def test_the_library_is_dealt_out_by_whole_files(tokenizer):
  fractions = dict(zip(data.SPLITS, FOUR))
  files = text.library()
  parts = data.deal(files, fractions)
  total = sum(len(content) for _, content in files)
  assert sum(map(len, parts.values())) == total
  for name, share in fractions.items():
    assert abs(len(parts[name]) / total - share) < 0.02
  for _, content in files:
    assert sum(content in part for part in parts.values()) >= 1
  corpus = data.load(None, tokenizer, FOUR, 64, 4096)
  assert corpus.evaluation['locked'].tokens.shape == (64, 65)


def test_a_deal_gives_every_file_to_one_split():
  files = [(str(i), bytes([i]) * (i % 7 + 1)) for i in range(100)]
  parts = data.deal(files, dict(zip(data.SPLITS, FOUR)))
  owners = [set(part) for part in parts.values()]
  assert sum(map(len, owners)) == 100 == len(set.union(*owners))


def test_the_digest_is_of_tokens_bounds_and_windows(play):
  def digest(*args):
    return data.load(str(play), *args).digest

  first = digest('byte', FOUR, 16, 0)
  assert first == digest('byte', FOUR, 16, 0)
  others = {
    digest('char', FOUR, 16, 0),
    digest('byte', (0.85, 0.06, 0.04, 0.05), 16, 0),
    digest('byte', (0.85, 0.1, 0.05, 0), 16, 0),
    digest('byte', FOUR, 8, 0),
    digest('byte', FOUR, 16, 160),
  }
  play.write_bytes(play.read_bytes()[:-1] + b'!')
  assert len(others | {first, digest('byte', FOUR, 16, 0)}) == 7


@pytest.mark.parametrize('suffix', ['.bin', '.npy'])
def test_tokens_come_from_a_file_with_a_description(tmp_path, suffix):
  tokens = np.arange(3000, dtype=np.uint16)
  path = tmp_path / f'web{suffix}'
  if suffix == '.bin':
    tokens.tofile(path)
  else:
    np.save(path, tokens)
  path.with_suffix('.json').write_text(
    json.dumps({'vocabulary': 50257, 'dtype': 'uint16', 'bytes_per_token': 3.9})
  )
  corpus = data.load(str(path), splits=(0.5, 0.5, 0, 0), context=8)
  assert corpus.train.dtype == np.uint16 and corpus.vocabulary == 50257
  np.testing.assert_array_equal(corpus.train, tokens[:1500])
  ratio = corpus.evaluation['search'].bytes_per_token
  assert ratio == pytest.approx(3.9)


@pytest.mark.parametrize(
  'splits',
  [
    (0.9, 0.1),
    (0.9, 0.2, 0, 0),
    (1, 0, 0, 0),
    (0, 1, 0, 0),
    (1.1, -0.1, 0, 0),
    (float('nan'), 0.1, 0.1, 0.1),
  ],
)
def test_splits_that_do_not_add_up_are_refused(play, splits):
  with _raises(r'^splits .*; expected four fractions'):
    data.load(str(play), splits=splits)


def test_a_split_shorter_than_a_window_is_refused(tmp_path):
  path = tmp_path / 'short.txt'
  path.write_text('x' * 1000)
  with _raises(r'^split search has 50 tokens; expected 65 or more'):
    data.load(str(path), context=64)


def test_bad_arguments_are_refused_in_one_line(play, tmp_path):
  with _raises(r"^tokenizer 'word'; expected byte or char$"):
    data.load(str(play), 'word')
  with _raises(r'^context 0 .*; expected'):
    data.load(str(play), context=0)
  with _raises(r'^no data at .*; expected a file or a folder$'):
    data.load(str(tmp_path / 'missing.txt'))


def test_what_is_not_utf_8_is_bytes_but_not_characters(tmp_path):
  path = tmp_path / 'latin.txt'
  path.write_bytes('é'.encode('latin-1') * 4000)
  assert data.load(str(path), 'byte').vocabulary == 256
  with _raises(r'^byte 0 of .* is not UTF-8; expected UTF-8 text'):
    data.load(str(path), 'char')
