"""Tests of the pictures: they are opened and looked at, as pixels."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from evo import bounds as bounds_lib
from evo import plots
from evo import result as result_lib
from tests.evo import result_test

BLUE, RED = (31, 111, 159), (194, 85, 58)  # What led; what failed.


def pixels(path):
  """The picture, `[700, 1200, 3]`."""
  with Image.open(path) as image:
    array = np.asarray(image.convert('RGB'))
  assert array.shape == (700, 1200, 3)
  return array


def colours(path):
  return len(np.unique(pixels(path) @ np.array([1 << 16, 1 << 8, 1])))


def has(path, colour):
  return bool((pixels(path) == colour).all(-1).any())


def draw(result, rows, run, folder):
  plots.staircase(rows, result, run['metric'], folder / 'staircase.png')
  plots.lineage(rows, result, run, folder / 'lineage.png')


@pytest.mark.parametrize('strategy', ['evolution', 'pbt', 'random'])
def test_a_campaign_is_drawn(make_campaign, tmp_path, strategy):
  campaign = make_campaign(
    tmp_path, strategy, trainee=result_test.Fragile(), pairs=3
  )
  if strategy == 'pbt':
    result_test.finds_schedules(campaign)
  result, rows, run = result_test.outcome(campaign, tmp_path)
  assert result['gain'] is not None and result['diverged'] > 0
  draw(result, rows, run, tmp_path)
  for name in ('staircase.png', 'lineage.png'):
    assert colours(tmp_path / name) > 50
    assert has(tmp_path / name, BLUE)
  assert has(tmp_path / 'staircase.png', RED)
  assert not has(tmp_path / 'lineage.png', RED)


def test_a_baseline_alone_is_drawn(make_campaign, tmp_path):
  bounds = bounds_lib.Bounds(members=1)
  campaign = make_campaign(tmp_path, bounds=bounds, pairs=0)
  draw(*result_test.outcome(campaign, tmp_path), tmp_path)
  assert has(tmp_path / 'staircase.png', BLUE)
  assert not has(tmp_path / 'lineage.png', BLUE)  # It says why in words.
  assert colours(tmp_path / 'lineage.png') > 10


def test_a_search_in_which_all_diverged_is_drawn(make_campaign, tmp_path):
  campaign = make_campaign(tmp_path, trainee=result_test.Dead())
  draw(*result_test.outcome(campaign, tmp_path), tmp_path)
  for name in ('staircase.png', 'lineage.png'):
    assert colours(tmp_path / name) > 10


@pytest.mark.parametrize('begun', [False, True])
def test_a_search_that_has_not_finished_a_member_is_drawn(tmp_path, begun):
  records = result_test.records(('search', [result_test.leg(0)], []))[:begun]
  run = result_test.RUN
  result = result_lib.result(records, run, **result_test.NOTHING)
  draw(result, result_lib.leg_rows(records, run), run, tmp_path)
  for name in ('staircase.png', 'lineage.png'):
    assert colours(tmp_path / name) > 10


def test_many_parameters_of_all_kinds_and_odd_names_are_drawn(tmp_path):
  tier = {'tier': 'configuration'}
  float_ = {'kind': 'float', 'low': 0, 'high': 1, 'default': 0}
  log = {'kind': 'log_float', 'low': 1e-5, 'high': 1, 'default': 1e-3}
  odd = ['$x^2', 'a_b$', 'ż', r'\frac']
  choice = {
    'kind': 'choice',
    'choices': odd,
    'default': odd[0],
    'structural': True,
  }
  parameters = {f'float_{i}': float_ | tier for i in range(9)}
  parameters |= {f'log_{i}': log | tier for i in range(3)}
  parameters |= {'choice': choice | tier}
  parameters |= {'flag': choice | tier | {'choices': [False, True]}}
  parameters['flag'] |= {'default': False}
  baseline = {name: p['default'] for name, p in parameters.items()}
  moved = {f'float_{i}': (i + 1) / 9 for i in range(9)}
  moved |= {f'log_{i}': 10.0**-i for i in range(3)}
  moved |= {'choice': odd[1], 'flag': True}
  run = result_test.RUN | {
    'space': {'name': 'wide', 'parameters': parameters},
    'baseline': baseline,
  }
  records = result_test.records(
    result_test.searched(
      (result_test.leg(0, baseline), 2.0),
      (result_test.leg(1, moved, parent=0), 1.0),
      (result_test.leg(2, moved, parent=0), 1e6),
    )
  )
  result = result_lib.result(records, run, **result_test.NOTHING)
  draw(result, result_lib.leg_rows(records, run), run, tmp_path)
  assert colours(tmp_path / 'lineage.png') > 50
  # The outlier would flatten the step from 2 to 1: blue spans most of it.
  rows = np.flatnonzero(
    (pixels(tmp_path / 'staircase.png') == BLUE).all(-1).any(1)
  )
  assert rows.max() - rows.min() > 250


def test_pictures_are_repeatable(tmp_path):
  records = result_test.records(
    result_test.searched((result_test.leg(0), 2.0), (result_test.leg(1), 1.0))
  )
  run = result_test.RUN
  result = result_lib.result(records, run, **result_test.NOTHING)
  rows = result_lib.leg_rows(records, run)
  for name in ('a.png', 'b.png'):
    plots.staircase(rows, result, 'bpb', tmp_path / name)
  a, b = ((tmp_path / name).read_bytes() for name in ('a.png', 'b.png'))
  assert a == b


def test_importing_the_plots_imports_neither_matplotlib_nor_jax():
  code = (
    'import sys, evo.plots, evo.report\n'
    "heavy = {'matplotlib', 'jax', 'scipy.stats'} & set(sys.modules)\n"
    'sys.exit(str(heavy) if heavy else 0)'
  )
  subprocess.run([sys.executable, '-c', code], check=True)
