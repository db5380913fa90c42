"""Tests of the benchmarks: what they print, and that nothing is made up."""

import json
import pathlib
import signal
import time

import numpy as np
import pytest

from launch.benchmarks import figure, recipe

Figure = figure.Figure


def test_a_ratio_is_taken_turn_by_turn():
  ours = Figure('ours', 'ms', (1.0, 4.0, 1.0))
  theirs = Figure('theirs', 'ms', (2.0, 8.0, 3.0))
  ratio = theirs.over(ours, 'theirs / ours')
  assert ratio.values == (2.0, 2.0, 3.0)
  assert ratio.median == 2.0


def test_what_was_not_measured_has_no_number_but_says_why():
  absent = Figure('theirs', 'ms', note='needs torch')
  ratio = absent.over(Figure('ours', 'ms', (1.0,)), 'theirs / ours')
  for each in (absent, ratio):
    assert each.median is None
    line = figure.table([each]).splitlines()[1]
    assert 'not measured' in line and line.endswith('needs torch')
    assert not any(c.isdigit() for c in line)
    assert each.to_json()['low'] is None


def test_measures_take_turns():
  seen = []
  measures = {
    name: lambda name=name: seen.append(name) or len(seen) for name in 'ab'
  }
  shares = []
  found = figure.in_turn(measures, 3, lambda what, share: shares.append(share))
  assert seen == list('ababab')
  assert found == {'a': (1, 3, 5), 'b': (2, 4, 6)}
  assert shares == sorted(shares) and shares[-1] < 1


@pytest.mark.parametrize(
  'arguments,expected',
  [
    ([], 'expected one of step, pbt, overhead'),
    (['speed'], 'benchmark speed; expected one of step, pbt'),
    (['step', 'pbt'], "argument 'pbt'; expected flags only"),
    (['step', '--nanogpt=/nowhere'], 'no model.py; expected a checkout'),
    (['step', '--workdir=text.txt'], 'is a file; expected a folder'),
  ],
)
def test_bad_input_is_one_line(launch, tmp_path, arguments, expected):
  (tmp_path / 'text.txt').write_text('')
  flags = [a.replace('text.txt', f'{tmp_path}/text.txt') for a in arguments]
  process = launch('bench', *flags)
  assert process.returncode == 2
  assert process.err.count('\n') == 1 and expected in process.err, process.err
  assert [path.name for path in tmp_path.iterdir()] == ['text.txt']


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  return recipe.Recipe.make(tmp_path_factory.mktemp('recipe'))


def test_the_recipe_is_nanogpts(made):
  structure = made.trainee.structure(made.space.structure(made.space.baseline))
  assert (structure.depth, structure.width, structure.vocabulary) == (
    4,
    128,
    65,
  )
  # As its model.py prints: 802,944 that decay and 1,152 that do not.
  cost = made.trainee.cost(made.space.structure(made.space.baseline))
  assert cost.weights == 802_944 + 1_152


def test_peers_train_on_the_batches_of_member_0(made):
  batches = made.batches(3)
  assert batches.shape == (3, 12, 65)
  text = np.asarray(made.trainee.data['train']['tokens'])
  whole = text.tobytes()
  for row in batches.reshape(-1, 65):
    assert row.astype(text.dtype).tobytes() in whole
  assert len(np.unique(batches[:, :, 0])) > 1


@pytest.mark.slow
def test_a_benchmark_writes_the_table_that_it_prints(launch, tmp_path):
  process = launch('bench', 'inherit', f'--workdir={tmp_path}/bench')
  assert process.returncode == 0, process.err
  assert 'inherit: about 1 minute' in process.err
  facts = json.loads((tmp_path / 'bench/bench_inherit.json').read_text())
  names = [each['name'] for each in facts['figures']]
  lines = process.out.splitlines()[1:]
  assert [line[: len(name)] for line, name in zip(lines, names)] == names
  ratio = next(f for f in facts['figures'] if f['name'] == 'all / a step')
  assert 0 < ratio['low'] <= ratio['median'] <= ratio['high']


def children(pid):
  """Processes that a process has started and that are not over."""
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*/stat'):
    try:
      fields = path.read_text().rpartition(')')[2].split()
    except OSError:
      continue  # It is over.
    if int(fields[1]) == pid and fields[0] != 'Z':
      found.append(int(path.parent.name))
  return found


def test_a_benchmark_that_is_ended_leaves_no_process(launch, started, tmp_path):
  process = launch('bench', 'start', f'--workdir={tmp_path}', wait=False)
  started.append(process)
  deadline = time.monotonic() + 60
  while not (own := children(process.pid)):
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.1)
  process.send_signal(signal.SIGTERM)
  process.communicate()
  assert process.returncode == 128 + signal.SIGTERM
  assert not any(pathlib.Path(f'/proc/{pid}').exists() for pid in own)
