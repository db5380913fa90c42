"""Tests of the report."""

import re

import pytest

from evo import improvements, report, wording
from evo import markdown as markdown_lib

OTHER = {'x': 0.7}


def markdown(result, rows, run):
  found = improvements.improvements(rows, run, result)
  return report.markdown(result, rows, run, found)


@pytest.fixture
def search(leg, searched):
  """A round in which member 1 beats the baseline."""
  return searched((leg(0), 2.0), (leg(1, OTHER), 1.0))


def test_it_leads_with_the_finding_and_its_paths_are_relative(
  made, search, confirmed
):
  result, rows, run = made(search, confirmed(2, [(2.0, 1.5), (2.2, 1.69)]))
  text = markdown(result, rows, run)
  assert text.splitlines()[2] == f'**{wording.headline(result)}**'
  images = re.findall(r'!\[.*?\]\((.*?)\)', text)
  assert images == ['staircase.png', 'lineage.png']
  assert '| x | configuration | 0.1 | 0.7 |' in text
  assert '| of these training | 50% |' in text
  assert '| of these other | 20% |' in text
  assert '| FLOPs | 42 |' in text  # Six legs of 7.
  assert 'python -m launch.search \\\n  --workdir=runs/x \\\n  --seed=3' in text
  assert '--max_members=24' in text
  assert 'jax 0.10.2' in text


def test_it_says_which_interval_it_is(made, search, confirmed, line_run):
  pairs = [(2.0, 1.5), (2.2, 1.69)] * 3
  for seeds, words in ((6, '(Student t)'), (9, 'after 6, 9 pairs')):
    flags = {'flags': line_run['flags'] | {'confirm_seeds': seeds}}
    found = made(search, confirmed(2, pairs, OTHER), run=line_run | flags)
    assert words in markdown(*found)


def test_failures_are_listed(made, leg, searched):
  failed = made(searched((leg(0), 2.0), (leg(1, OTHER), None)))
  text = markdown(*failed)
  assert '1 run failed.' in text
  assert '| 1 | search | diverged | 50 |' in text


def test_text_from_outside_stays_text_in_a_table():
  cell = markdown_lib.cell('a|b\n<img src=x> [y](z) `w` *v* $u$ \\')
  assert cell == (r'a\|b &lt;img src=x> \[y\](z) \`w\` \*v\* \$u\$ \\')
  assert markdown_lib.code('a`b\nc') == "a'b c"


def test_a_hostile_choice_cannot_break_the_table(made, leg, searched, line_run):
  wild = '| x |\n\n# <script>'
  choice = {'kind': 'choice', 'choices': ['a', wild], 'default': 'a'}
  choice |= {'structural': True, 'tier': 'architecture'}
  run = line_run | {
    'space': {'name': 's', 'parameters': {'c': choice}},
    'baseline': {'c': 'a'},
  }
  ends = searched((leg(0, {'c': 'a'}), 2.0), (leg(1, {'c': wild}), 1.0))
  text = markdown(*made(ends, run=run))
  (line,) = [line for line in text.splitlines() if line.startswith('| c |')]
  assert line == r'| c | architecture | a | \| x \| # &lt;script> |'
  assert '<script' not in text


def test_a_run_that_was_stopped_says_how_to_go_on(made, search):
  text = markdown(*made(search, stop_reason='sigterm'))
  assert 'Start the same command again' in text


def test_where_all_failed_nothing_is_recommended_for_use(made, leg, searched):
  text = markdown(*made(searched((leg(0), None))))
  assert 'launch.sample' not in text and 'lineage.png' not in text


def test_a_real_campaign_is_reported(make_campaign, outcome, tmp_path):
  result, rows, run = outcome(make_campaign(tmp_path, 'pbt'), tmp_path)
  text = markdown(result, rows, run)
  assert 'The champion is a schedule of' in text
  assert wording.headline(result) in text


def test_a_run_without_members_asks_for_a_larger_bound(made):
  text = markdown(*made())
  assert 'larger bound' in text and 'Every member failed' not in text
