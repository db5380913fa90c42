"""Tests of the report of a comparison."""

import re

import numpy as np
import pytest

from evo import comparison, comparison_report

COMMAND = 'python -m launch.compare --seeds=8 --workdir=runs/x'


def made(levels, seeds=8, failed=None, rows=None, **options):
  """A comparison of strategies with these levels of loss; the first leads."""
  rng = np.random.default_rng(0)
  runs = []
  for seed in range(seeds):
    for name, level in levels.items():
      loss = float(level + rng.normal(0, 0.05))
      confirmed = None if (name, seed) == failed else loss
      incumbents = (comparison.Incumbent(2.0, 0, loss - 0.25, confirmed),)
      own = dict(rows or {}) if 'pbt' in name else {}
      runs.append(
        comparison.Run(name, seed, 9.5, 10, 1, 20, 4.0, incumbents, own)
      )
  reference = next(iter(levels))
  return comparison.compare(runs, reference, 10, 'bpb', **options)


@pytest.fixture
def text():
  value = made({'random': 2.0, 'gp': 1.0, 'tpe': 3.0})
  return comparison_report.markdown(value, COMMAND)


def table(text, title):
  """Cells of the first table below a title."""
  below = text.split(f'## {title}')[1]
  lines = [line for line in below.split('\n\n')[1].splitlines()]
  cells = [line.strip('| ').split(' | ') for line in lines]
  assert len({line.count('|') - line.count(r'\|') for line in lines}) == 1
  return [cells[0], *cells[2:]]


def test_it_leads_with_the_finding(text):
  lines = text.splitlines()
  assert lines[2] == '**Better than random: gp; worse: tpe.**'
  assert lines[4].startswith('Lowest mean: gp, 0.9')
  assert re.findall(r'!\[.*?\]\((.*?)\)', text) == ['comparison.png']
  assert 'launch.compare \\\n  --seeds=8 \\\n  --workdir=runs/x\n```' in text


def test_strategies_are_sorted_by_their_means(text):
  header, *lines = table(text, 'Losses after 10 members of compute')
  assert [line[0] for line in lines] == ['gp', 'random', 'tpe']
  assert [line[2] for line in lines] == ['1', '2', '3']
  found = dict(zip(header, lines[0]))
  assert found['optimism'] == '+0.25'
  assert float(found['observed']) == pytest.approx(0.75, abs=0.05)


def test_pairs_have_verdicts(text):
  header, *lines = table(text, 'Against random, seed by seed')
  found = {line[0]: dict(zip(header, line)) for line in lines}
  assert found['gp']['verdict'] == 'better than random'
  assert found['tpe']['verdict'] == 'worse than random'
  assert found['random']['verdict'] == 'the reference'
  # Eight of eight seeds: 2 / 2**8, twice by Holm.
  assert (found['gp']['p'], found['gp']['adjusted p']) == ('0.0078', '0.016')
  difference, _ = found['gp']['difference [95% interval]'].split(' ', 1)
  assert float(difference) == pytest.approx(-1, abs=0.1)
  assert float(found['gp']['95% bound']) == pytest.approx(-1, abs=0.1)
  assert '2 tests' in text


def test_what_it_cost_is_told(text):
  _, *lines = table(text, 'Cost')
  assert lines[0] == ['gp', '9.5 (9.5 to 9.5)', '80', '10.0%', '0.2']


def test_population_based_training_is_told_apart():
  rows = {'final weights': 1.5, 'schedule replayed': 1.6}
  levels = {'random': 2.0, 'pbt': 1.9, 'pbt without mutation': 2.1}
  text = comparison_report.markdown(made(levels, rows=rows), COMMAND)
  title = 'What population-based training is worth'
  header, *lines = table(text, title)
  assert header == ['strategy', 'final weights', 'schedule replayed']
  assert [line[0] for line in lines] == ['pbt', 'pbt without mutation']
  assert lines[0][1] == r'1.5 \[1.5, 1.5\]'
  assert 'copying is worth alone' in text


def test_without_schedules_nothing_is_said_of_them(text):
  assert 'population-based' not in text


def test_failures_are_counted():
  value = made({'random': 2.0, 'gp': 1.0, 'tpe': 3.0}, failed=('gp', 3))
  text = comparison_report.markdown(value, COMMAND)
  _, *lines = table(text, 'Losses after 10 members of compute')
  assert '(of 7)' in lines[0][1] and '(of 8)' not in text
  assert 'worst of their seed' in text


def test_earlier_charges_have_their_own_tables():
  value = made({'random': 2.0, 'gp': 1.0}, at=[1, 5])
  text = comparison_report.markdown(value, COMMAND)
  _, *none = table(text, 'After 1 members')
  assert {line[1] for line in none} == {'-'}
  _, *lines = table(text, 'After 5 members')
  assert lines[0][-1] == 'better than random'


def test_too_few_seeds_are_said_to_be():
  text = comparison_report.markdown(made({'a': 1.0, 'b': 2.0}, 3), COMMAND)
  assert '3 seeds are too few to tell 2 strategies apart' in text
  assert 'no adjusted p can be below 0.25: a verdict takes at least 6' in text
  assert 'Ranks of all' not in text


def test_seeds_that_were_left_out_are_named():
  value = made({'a': 1.0, 'b': 2.0})
  value['seeds_left_out'] = [8, 9]
  text = comparison_report.markdown(value, COMMAND)
  assert 'not every strategy ran with them: 8, 9.' in text


def test_searches_that_found_nothing_are_reported():
  runs = [
    comparison.Run(name, seed, 9.5, 10, 10, 20, 4.0, ())
    for name in 'ab'
    for seed in range(8)
  ]
  value = comparison.compare(runs, 'a', 10, 'bpb')
  text = comparison_report.markdown(value, COMMAND)
  assert 'No run has a confirmed loss.' in text
  assert 'Nothing differs significantly from a' in text


def test_a_hostile_name_cannot_break_a_table():
  wild = '| x |\n\n# <script> $y$'
  value = made({'random': 2.0, wild: 1.0, 'tpe': 3.0})
  text = comparison_report.markdown(value, COMMAND)
  assert '<script' not in text and '\n# <' not in text
  for title in ('Losses after', 'Cost'):
    assert len(table(text, title)) == 4
