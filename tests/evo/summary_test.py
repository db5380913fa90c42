"""Tests of what the terminal shows."""

import pytest

from evo import summary as summary_lib


@pytest.fixture
def screen(made):
  """Makes the lines of the summary of rounds made by hand."""

  def make(*rounds, **options):
    result, _, run = made(*rounds, **options)
    lines = summary_lib.summary(result, run).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    return lines

  return make


def test_it_fits_a_screen_and_ends_with_what_to_do(
  screen, leg, searched, confirmed
):
  search = searched((leg(0), 2.0), (leg(1, {'x': 0.7}), 1.0))
  lines = screen(search, confirmed(2, [(2.0, 1.5), (2.2, 1.69)]))
  assert 'champion            1.0000    1.5950' in lines
  assert '  x: 0.1 -> 0.7' in lines
  assert lines[-3:] == [
    'report      runs/x/report.md',
    'sample      python -m launch.sample --workdir=runs/x',
    'search on   the same command, --max_members=24',
  ]


def test_that_of_a_wide_space_fits_a_screen(screen, leg, searched, line_run):
  name = 'a_rather_long_name_of_a_parameter_' * 3
  names = [f'{name}{i}' for i in range(20)]
  shape = line_run['space']['parameters']['x']
  run = line_run | {
    'space': {'name': 's', 'parameters': dict.fromkeys(names, shape)},
    'baseline': dict.fromkeys(names, 0.1),
  }
  moved = dict.fromkeys(names, 0.9)
  assert '  and 14 more' in screen(searched((leg(1, moved), 1.0)), run=run)


def test_a_run_that_was_stopped_says_how_to_go_on(screen, leg, searched):
  lines = screen(searched((leg(0), 2.0)), stop_reason='sigterm')
  assert lines[-1] == 'go on       start the same command again'


def test_where_all_failed_nothing_is_recommended_for_use(screen, leg, searched):
  assert 'narrow the space' in screen(searched((leg(0), None)))[-1]


def test_a_run_without_members_asks_for_a_larger_bound(made):
  result, _, run = made(stop_reason='max_minutes')
  text = summary_lib.summary(result, run)
  assert 'larger bound' in text and 'failed:' not in text
