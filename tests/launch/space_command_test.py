"""The command that shows a space: its table, and what bad input is told."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from evo import space as space_lib
from launch import cli, parameters
from launch import space as launch_space

READY = ('nanogpt', 'nanochat')
ROOT = pathlib.Path(cli.__file__).parents[1]
FLOAT = {'kind': 'float', 'tier': 'objective', 'default': 1, 'low': 0}
FLOAT |= {'high': 2}


def ready(name):
  return space_lib.load(cli.ready_space(name))


@pytest.mark.parametrize('name', READY)
def test_the_table_says_everything_about_each_parameter(name):
  text = launch_space.describe(ready(name))
  assert max(map(len, text.splitlines())) <= 100
  rows = dict(re.findall(r'^(\w+) +(.+(?:\n {40,}.+)*)', text, re.M))
  for p in ready(name).parameters:
    kind, default, side, *rest = rows[p.name].split(maxsplit=3)
    assert kind == p.kind
    assert side == ('structural' if p.structural else 'traced')
    plain = str(p.default)
    plain = plain.lower() if isinstance(p.default, bool) else plain
    assert default == plain or float(default) == p.default
    values, _, condition = ' '.join(rest[0].split()).partition('; when ')
    ending = '; acts at the start alone'
    assert (ending in condition or ending in values) == p.initial
    values, condition = (t.replace(ending, '') for t in (values, condition))
    if p.kind == 'choice':
      shown = [str(choice) for choice in p.choices]
      assert values.lower() == ', '.join(shown).lower()
    else:
      low, high = map(float, values.split(' to '))
      assert (low, high) == pytest.approx((p.low, p.high))
    assert bool(condition) == bool(p.when)
    for other, wanted in (p.when or {}).items():
      ending = ' or '.join(map(str, wanted))
      assert f'{other} is {ending}'.lower() in condition.lower()


def test_the_table_says_what_is_never_active():
  space = ready('nanogpt').restrict(['configuration'])
  text = launch_space.describe(space)
  assert re.search(
    r'^momentum .* never active; when optimiser is muon$', text, re.M
  )
  assert re.search(r'^depth .* fixed$', text, re.M)


def test_the_table_ends_with_counts_and_says_what_is_fixed():
  space = ready('nanogpt').restrict(['architecture'])
  text = launch_space.describe(space)
  assert re.search(r'^beta1 .* fixed$', text, re.M)
  assert re.search(r'^depth .* 1 to 8$', text, re.M)
  assert text.splitlines()[-4:] == [
    'configuration   31 parameters: 28 traced, 3 structural; 31 fixed',
    'architecture    29 parameters: 9 traced, 20 structural',
    'objective        9 parameters: 9 traced, 0 structural; 9 fixed',
    'in all          69 parameters: 46 traced, 23 structural; 40 fixed',
  ]


def run(*flags, **options):
  return subprocess.run(
    [sys.executable, '-m', 'launch.space', *flags],
    cwd=ROOT,
    capture_output=True,
    text=True,
    **options,
  )


def test_the_command_shows_a_space_of_ones_own(tmp_path):
  document = {'name': 'mine', 'extends': 'nanochat', 'fixed': {'depth': 6}}
  path = tmp_path / 'mine.json'
  path.write_text(json.dumps(document))
  done = run(f'--space={path}')
  assert done.returncode == 0, done.stderr
  assert re.search(r'^depth +int +6 +structural +fixed$', done.stdout, re.M)
  assert done.stdout.rstrip() == launch_space.describe(
    parameters.load(str(path))
  )


@pytest.mark.parametrize(
  'flags, named',
  [
    (
      ['--space=nowhere'],
      "space 'nowhere'; expected gpt_100m, gpt_1b, gpt_25m, nano",
    ),
    (['--tiers=colour'], 'tier is "colour"; expected'),
    (['--spaces=nanogpt'], 'unknown flag --spaces; expected --space'),
    (['surplus'], "argument 'surplus'; expected flags only"),
  ],
)
def test_bad_input_is_answered_in_one_line(flags, named):
  done = run(*flags)
  assert (done.returncode, done.stdout) == (2, '')
  (line,) = done.stderr.splitlines()
  assert line.startswith(f'error: {named}'), line


@pytest.mark.parametrize(
  'document, named',
  [
    ({'extends': 'nanochap'}, "extends: space 'nanochap'; expected gpt_100m,"),
    ({'extends': 'nanogpt', 'fixed': {'depths': 1}}, 'fixed.depths is unkn'),
    (
      {'extends': 'nanogpt', 'parameters': {'depths': FLOAT}},
      'parameters.depths is unknown to the model; expected depth',
    ),
  ],
)
def test_a_bad_file_is_named_with_the_path_in_it(tmp_path, document, named):
  path = tmp_path / 'mine.json'
  path.write_text(json.dumps({'name': 'mine'} | document))
  done = run(f'--space={path}')
  assert (done.returncode, done.stdout) == (2, '')
  assert done.stderr.startswith(f'error: {path}: {named}')
  assert done.stderr.count('\n') == 1


def test_the_command_does_without_jax():
  code = (
    'import sys\n'
    'from launch import space\n'
    'sys.argv = ["space", "--space=nanochat"]\n'
    'try:\n'
    '  space.run()\n'
    'finally:\n'
    '  print("jax" in sys.modules)\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[-1] == 'False'


def test_a_ready_space_is_found_before_a_file_of_its_name(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'nanogpt').write_text('{}')
  assert cli.find_space('nanogpt') == cli.SPACES / 'nanogpt.json'
  (tmp_path / 'mine').write_text('{}')
  assert cli.find_space('mine') == pathlib.Path('mine')
  with pytest.raises(ValueError, match='nanochat, nanogpt or a JSON'):
    cli.ready_space('mine')


def test_whoever_reads_may_stop_early():
  reader, writer = os.pipe()
  os.close(reader)
  command = [sys.executable, '-m', 'launch.space']
  process = subprocess.run(
    command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, timeout=60
  )
  os.close(writer)
  assert (process.returncode, process.stderr) == (0, b'')
