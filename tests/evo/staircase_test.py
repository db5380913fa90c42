"""Tests of the staircase: it is opened and looked at, as pixels."""

import pytest

from evo import bounds as bounds_lib
from evo import figure as figure_lib
from evo import staircase


@pytest.mark.parametrize('strategy', ['evolution', 'pbt', 'random'])
def test_a_campaign_is_drawn(
  make_campaign, outcome, drawn, fragile, tmp_path, strategy
):
  campaign = make_campaign(tmp_path, strategy, trainee=fragile, pairs=3)
  result, rows, run = outcome(campaign, tmp_path)
  assert result['gain'] is not None and result['diverged'] > 0
  picture = drawn(staircase.draw, result, rows, run)
  assert picture.colours > 50
  assert picture.has(figure_lib.BEST) and picture.has(figure_lib.FAILED)


def test_a_baseline_alone_is_drawn(make_campaign, outcome, drawn, tmp_path):
  bounds = bounds_lib.Bounds(members=1)
  campaign = make_campaign(tmp_path, bounds=bounds, pairs=0)
  picture = drawn(staircase.draw, *outcome(campaign, tmp_path))
  assert picture.has(figure_lib.BEST)


def test_a_search_in_which_all_diverged_is_drawn(made, leg, searched, drawn):
  picture = drawn(staircase.draw, *made(searched((leg(0), None))))
  assert picture.colours > 10 and not picture.has(figure_lib.BEST)


@pytest.mark.parametrize('begun', [False, True])
def test_a_search_that_has_not_finished_a_member_is_drawn(
  made, leg, drawn, begun
):
  rounds = [('search', [leg(0)], [])] * begun
  assert drawn(staircase.draw, *made(*rounds)).colours > 10


def test_a_search_that_has_only_kept_parents_is_drawn(
  made, leg, searched, drawn
):
  parents = searched((leg(0, stop=3), None), (leg(1, stop=3), None))
  assert drawn(staircase.draw, *made(parents)).colours > 10


def test_an_outlier_does_not_flatten_the_rest(wide, drawn):
  rows = drawn(staircase.draw, *wide).rows(figure_lib.BEST)
  assert rows.max() - rows.min() > 250  # The step from 2 to 1.
