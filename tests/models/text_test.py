import json
import subprocess
import sys

import numpy as np
import pytest

from models import text

DESCRIPTION = {'vocabulary': 300, 'dtype': 'uint16', 'bytes_per_token': 3.9}


def _tokens(folder, tokens=range(300), suffix='.bin', **changes):
  path = folder / f'train{suffix}'
  array = np.array(tokens, np.uint16)
  if suffix == '.bin':
    path.write_bytes(array.tobytes())
  else:
    np.save(path, array)
  description = json.dumps(DESCRIPTION | changes)
  path.with_suffix('.json').write_text(description)
  return path


def test_the_library_is_python_that_every_machine_has():
  files = dict(text.library())
  assert b'class JSONEncoder' in files['json/encoder.py']
  assert 1e6 < sum(map(len, files.values())) <= text.LIBRARY_BYTES
  parts = {part for name in files for part in name.split('/')}
  assert not parts & text.LEFT_OUT


def test_another_process_reads_the_library_in_the_same_order():
  code = 'from models import text; print([n for n, _ in text.library()])'
  command = [sys.executable, '-c', code]
  out = subprocess.run(command, capture_output=True, text=True, check=True)
  assert out.stdout.strip() == str([name for name, _ in text.library()])


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path):
  (tmp_path / 'b').mkdir()
  (tmp_path / '.git').mkdir()
  for name, content in (
    ('b/a.txt', '2'),
    ('a.md', '1'),
    ('c.py', '3'),
    ('d.png', 'x'),
    ('.git/e.txt', 'x'),
  ):
    (tmp_path / name).write_text(content)
  assert text.read(tmp_path) == b'123'


def test_nothing_to_read_is_said_so(tmp_path):
  with pytest.raises(ValueError, match=r'^no data at .*; expected a file'):
    text.read(tmp_path / 'missing')
  with pytest.raises(ValueError, match=r'^folder .* has no text; expected'):
    text.read(tmp_path)
  (tmp_path / 'empty.txt').touch()
  with pytest.raises(ValueError, match=r'^file .* is empty; expected text'):
    text.read(tmp_path / 'empty.txt')


@pytest.mark.parametrize('suffix', ['.bin', '.npy'])
def test_a_token_file_is_read_with_its_description(tmp_path, suffix):
  path = _tokens(tmp_path, suffix=suffix)
  tokens, vocabulary, bytes_per_token = text.read_tokens(path)
  assert tokens.tolist() == list(range(300))
  assert (vocabulary, bytes_per_token) == (300, 3.9)


@pytest.mark.parametrize('suffix', ['.bin', '.npy'])
@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'vocabulary': 299}, r'^token 299 in .*; expected tokens in \[0, 299\)$'),
    ({'vocabulary': 0}, r'^vocabulary 0 in '),
    ({'vocabulary': 2**40}, r'^vocabulary \d+ in '),
    ({'vocabulary': '300'}, r"^vocabulary '300' in "),
    ({'dtype': 'float32'}, r"^dtype 'float32' in "),
    ({'dtype': ['uint16']}, r'^dtype \[.* in '),
    ({'bytes_per_token': 0}, r'^bytes_per_token 0 in '),
    ({'bytes_per_token': float('nan')}, r'^bytes_per_token nan in '),
    ({'tokens': []}, r' is empty; expected tokens$'),
  ],
)
def test_a_token_file_that_is_wrong_is_refused(
  tmp_path, suffix, changes, message
):
  path = _tokens(tmp_path, suffix=suffix, **changes)
  with pytest.raises(ValueError, match=message) as error:
    text.read_tokens(path)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('content', ['', '[]', '{"vocabulary": 9}', '3'])
def test_a_description_that_is_none_is_refused(tmp_path, content):
  path = _tokens(tmp_path)
  path.with_suffix('.json').write_text(content)
  with pytest.raises(ValueError, match=r'is missing or incomplete; expected'):
    text.read_tokens(path)


def test_a_missing_half_is_named(tmp_path):
  path = _tokens(tmp_path)
  path.unlink()
  with pytest.raises(ValueError, match=r'train.bin; expected a token file$'):
    text.read_tokens(path)
  path.with_suffix('.json').unlink()
  with pytest.raises(ValueError, match=r'train.json is missing'):
    text.read_tokens(path)


def test_half_a_number_is_refused(tmp_path):
  path = _tokens(tmp_path)
  path.write_bytes(path.read_bytes() + b'x')
  with pytest.raises(ValueError, match=r'601 bytes; expected whole uint16'):
    text.read_tokens(path)


@pytest.mark.parametrize(
  'array',
  [np.zeros((2, 2), np.uint16), np.zeros(4), np.array([{}], dtype=object)],
)
def test_an_array_of_another_shape_or_type_is_refused(tmp_path, array):
  path = _tokens(tmp_path, suffix='.npy')
  np.save(path, array)
  with pytest.raises(ValueError, match=r'expected (uint16\[|a NumPy array)'):
    text.read_tokens(path)


def test_an_array_cut_short_is_refused(tmp_path):
  path = _tokens(tmp_path, suffix='.npy')
  path.write_bytes(path.read_bytes()[:-7])
  with pytest.raises(ValueError, match=r'is unreadable; expected a NumPy'):
    text.read_tokens(path)
