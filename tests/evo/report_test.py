"""Tests of what a person reads."""

import re

import pytest

from evo import report
from evo import result as result_lib
from tests.evo import result_test

leg, searched, confirmed = (
  result_test.leg,
  result_test.searched,
  result_test.confirmed,
)
OTHER = result_test.OTHER
SECONDS = {
  'seconds': 100.0,
  'seconds_compiling': 20.0,
  'seconds_training': 50.0,
  'seconds_evaluating': 10.0,
  'seconds_searching': 70.0,
}
RUN = result_test.RUN | {
  'flags': {'workdir': 'runs/x', 'max_members': 12, 'confirm_seeds': 2},
  'command': 'python -m launch.search --workdir=runs/x --seed=3',
  'versions': {'jax': '0.10.2'},
}


def made(*rounds, run=RUN, stop_reason='max_members'):
  """Result and rows of hand-made rounds."""
  records = result_test.records(*rounds)
  result = result_lib.result(
    records,
    run,
    seconds=SECONDS,
    compilations={'compilations': 3, 'compilations_cached': 1},
    stop_reason=stop_reason,
  )
  return result, result_lib.leg_rows(records, run)


SEARCH = searched((leg(0), 2.0), (leg(1, OTHER), 1.0))


def headline(*rounds, **options):
  return report.headline(made(*rounds, **options)[0])


def test_an_improvement_is_stated_with_its_interval():
  losses = [(2.0, 1.5), (2.2, 1.6902)]
  text = headline(SEARCH, confirmed(2, losses))
  assert text.startswith('The champion improves on the baseline by 0.5049 bpb')
  # The difference of the two gains is .0098: standard error .0049 times 12.7.
  assert '(24.0%; 95% interval [+0.4426, +0.5672], 2 fresh seeds)' in text


def test_an_interval_around_zero_is_no_improvement():
  text = headline(SEARCH, confirmed(2, [(2.0, 1.5), (2.0, 2.1)]))
  assert text.startswith('No improvement was shown')
  assert 'does not exclude zero' in text


def test_a_champion_that_is_worse_is_called_worse():
  text = headline(SEARCH, confirmed(2, [(2.0, 2.5), (2.0, 2.51)]))
  assert text.startswith('The champion is worse than the baseline by 0.5050')


@pytest.mark.parametrize(
  'rounds, why',
  [
    ([], 'no confirmation was run'),
    ([confirmed(2, [(2.0, None), (2.0, 1.0)])], 'a run of the confirmation'),
    ([confirmed(2, [(2.0, 1.0)])], 'the confirmation has not ended'),
  ],
)
def test_what_is_not_confirmed_says_why(rounds, why):
  text = headline(SEARCH, *rounds)
  assert text.startswith(f'Not confirmed, because {why}')
  assert '1.0000 bpb on the search split, against 2.0' in text


def test_other_ends_are_named_too():
  none = headline(('search', [leg(0)], []))
  assert 'no member reached' in none
  assert 'all 1 members failed' in headline(searched((leg(0), None)))
  assert headline(searched((leg(0), 2.0))).startswith('The baseline alone')
  kept = headline(searched((leg(0), 1.0), (leg(1, OTHER), 2.0)))
  assert kept.startswith('Nothing better than the baseline (1.0000 bpb)')


def test_the_report_leads_with_the_finding_and_its_paths_are_relative():
  result, rows = made(SEARCH, confirmed(2, [(2.0, 1.5), (2.2, 1.69)]))
  text = report.markdown(result, rows, RUN)
  assert text.splitlines()[2] == f'**{report.headline(result)}**'
  images = re.findall(r'!\[.*?\]\((.*?)\)', text)
  assert images == ['staircase.png', 'lineage.png']
  assert '| x | configuration | 0.1 | 0.7 |' in text
  assert '| of these training | 50% |' in text
  assert '| of these other | 20% |' in text
  assert '| FLOPs | 42 |' in text  # Six legs of 7.
  assert 'python -m launch.search \\\n  --workdir=runs/x \\\n  --seed=3' in text
  assert '--max_members=24' in text
  assert 'jax 0.10.2' in text


def test_failures_are_listed():
  result, rows = made(searched((leg(0), 2.0), (leg(1, OTHER), None)))
  text = report.markdown(result, rows, RUN)
  assert '1 run failed.' in text
  assert '| 1 | search | diverged | 50 |' in text


def test_text_from_outside_stays_text_in_a_table():
  cell = report.cell('a|b\n<img src=x> [y](z) `w` *v* $u$ \\')
  assert cell == (r'a\|b &lt;img src=x> \[y\](z) \`w\` \*v\* \$u\$ \\')
  assert report.code('a`b\nc') == "a'b c"


def test_a_hostile_choice_cannot_break_the_table():
  wild = '| x |\n\n# <script>'
  choice = {'kind': 'choice', 'choices': ['a', wild], 'default': 'a'}
  choice |= {'structural': True, 'tier': 'architecture'}
  run = RUN | {
    'space': {'name': 's', 'parameters': {'c': choice}},
    'baseline': {'c': 'a'},
  }
  ends = searched((leg(0, {'c': 'a'}), 2.0), (leg(1, {'c': wild}), 1.0))
  text = report.markdown(*made(ends, run=run), run)
  (line,) = [line for line in text.splitlines() if line.startswith('| c |')]
  assert line == r'| c | architecture | a | \| x \| # &lt;script> |'
  assert '<script' not in text


def test_changes_are_sorted_on_their_scales():
  tier = {'tier': 'configuration'}
  log = {'kind': 'log_float', 'low': 1e-4, 'high': 1.0, 'default': 1e-3}
  run = RUN | {
    'space': {
      'name': 's',
      'parameters': result_test.SPACE['parameters'] | {'rate': log | tier},
    },
    'baseline': {'x': 0.1, 'rate': 1e-3},
  }
  moved = {'x': 0.4, 'rate': 1e-1}  # By .3 and by a half of the range.
  result, _ = made(searched((leg(1, moved), 1.0)), run=run)
  assert report.changes(result, run) == [('rate', 1e-3, 1e-1), ('x', 0.1, 0.4)]


@pytest.mark.parametrize(
  'seconds, text',
  [(4.4, '4 s'), (90, '1.5 min'), (5399, '90.0 min'), (7500, '2 h 05 min')],
)
def test_times_are_for_people(seconds, text):
  assert report.duration(seconds) == text


def screen(result, run=RUN):
  lines = report.summary(result, run).splitlines()
  assert len(lines) <= 24
  assert max(map(len, lines)) <= 80
  return lines


def test_the_summary_fits_a_screen_and_ends_with_what_to_do():
  result, _ = made(SEARCH, confirmed(2, [(2.0, 1.5), (2.2, 1.69)]))
  lines = screen(result)
  assert '  x: 0.1 -> 0.7' in lines
  assert lines[-3:] == [
    'report      runs/x/report.md',
    'sample      python -m launch.sample --workdir=runs/x',
    'search on   the same command, --max_members=24',
  ]


def test_the_summary_of_a_wide_space_fits_a_screen():
  name = 'a_rather_long_name_of_a_parameter_' * 3
  names = [f'{name}{i}' for i in range(20)]
  shape = result_test.SPACE['parameters']['x']
  run = RUN | {
    'space': {'name': 's', 'parameters': {name: shape for name in names}},
    'baseline': {name: 0.1 for name in names},
  }
  moved = {name: 0.9 for name in names}
  result, _ = made(searched((leg(1, moved), 1.0)), run=run)
  assert '  and 14 more' in screen(result, run)


def test_a_run_that_was_stopped_says_how_to_go_on():
  result, rows = made(SEARCH, stop_reason='sigterm')
  assert screen(result)[-1] == 'go on       start the same command again'
  assert 'Start the same command again' in report.markdown(result, rows, RUN)


def test_where_all_failed_nothing_is_recommended_for_use():
  result, rows = made(searched((leg(0), None)))
  assert 'narrow the space' in screen(result)[-1]
  text = report.markdown(result, rows, RUN)
  assert 'launch.sample' not in text and 'lineage.png' not in text


def test_a_real_campaign_is_reported(make_campaign, tmp_path):
  campaign = result_test.finds_schedules(make_campaign(tmp_path, 'pbt'))
  result, rows, run = result_test.outcome(campaign, tmp_path)
  text = report.markdown(result, rows, run)
  assert 'The champion is a schedule of' in text
  assert report.headline(result) in text
  assert len(report.summary(result, run).splitlines()) <= 24
