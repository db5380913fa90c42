"""Tests of what pictures have in common."""

import subprocess
import sys

from evo import figure as figure_lib


def test_pictures_are_repeatable(tmp_path):
  for name in ('a.png', 'b.png'):
    figure = figure_lib.new('A title with $odd_{ text')
    figure_lib.say(figure.add_subplot(111), 'Nothing')
    figure_lib.save(figure, tmp_path / name)
  a, b = ((tmp_path / name).read_bytes() for name in ('a.png', 'b.png'))
  assert a == b


def test_importing_what_draws_imports_neither_matplotlib_nor_jax():
  code = (
    'import sys, evo.staircase, evo.lineage, evo.report, evo.summary\n'
    "heavy = {'matplotlib', 'jax', 'scipy.stats'} & set(sys.modules)\n"
    'sys.exit(str(heavy) if heavy else 0)'
  )
  subprocess.run([sys.executable, '-c', code], check=True)
