"""Tests that the README says what the code does."""

import inspect
import pathlib
import re

import pytest
from absl import flags

from launch import cli, search, settings
from models import quadratic

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'^```python\n(.*?)^```', README, re.S | re.M)


def test_its_trainee_is_the_one_that_ships():
  source = inspect.getsource(quadratic.Quadratic)
  assert any(source.strip() in block for block in BLOCKS)


def test_its_search_over_an_own_model_runs(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  (block,) = [block for block in BLOCKS if 'campaign.Campaign' in block]
  exec(compile(block, 'README.md', 'exec'), {})
  loss = float(capsys.readouterr().out.split()[0])
  assert loss < -1.19
  assert (tmp_path / 'runs/mine/ledger/00000000.json').exists()


def test_its_strategy_works_without_devices(monkeypatch):
  monkeypatch.chdir(ROOT)
  (block,) = [block for block in BLOCKS if 's.tell(' in block]
  from evo import member

  lines = block.replace('s.tell(results)', 'made.append((s, legs))')
  made = []
  exec(compile(lines, 'README.md', 'exec'), {'made': made})
  strategy, legs = made[0]
  strategy.tell(
    [member.Result(leg, 'ok', {'search': 1.0}, stop=leg.stop) for leg in legs]
  )
  assert len(legs) == 8 and len(strategy.ask(8)) == 8


def test_its_table_names_every_flag_with_its_default():
  named = set(re.findall(r'`--(\w+)`', README))
  defined = {
    name
    for name in flags.FLAGS
    if flags.FLAGS.find_module_defining_flag(name) == settings.__name__
  }
  assert defined <= named
  rows = re.findall(r'^\| `--(\w+)` \| `?([\w.]+)`? \|', README, re.M)
  assert len(rows) > 6
  for name, default in rows:
    flag = flags.FLAGS[name]
    assert flag.parser.parse(default) == flag.default, name
  assert search.main


@pytest.mark.parametrize('path', re.findall(r'!\[.*?\]\((.+?)\)', README))
def test_its_pictures_are_there(path):
  assert (ROOT / path).stat().st_size > 10000


def test_its_files_and_presets_exist():
  for name in re.findall(r'--flagfile=(\w+)`', README):
    assert (cli.PRESETS / f'{name}.flags').exists()
  for path in re.findall(r'`((?:evo|models|launch|tests)/[\w./]+\w)`', README):
    assert (ROOT / path).exists(), path
