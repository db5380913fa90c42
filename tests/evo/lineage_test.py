"""Tests of the lineage: it is opened and looked at, as pixels."""

import pytest

from evo import figure as figure_lib
from evo import lineage


@pytest.mark.parametrize('strategy', ['evolution', 'pbt', 'random'])
def test_a_campaign_is_drawn(
  make_campaign, outcome, drawn, fragile, tmp_path, strategy
):
  campaign = make_campaign(tmp_path, strategy, trainee=fragile, pairs=0)
  picture = drawn(lineage.draw, *outcome(campaign, tmp_path))
  assert picture.colours > 50
  assert picture.has(figure_lib.BEST) and not picture.has(figure_lib.FAILED)


def test_a_baseline_that_leads_is_said_in_words(made, leg, searched, drawn):
  picture = drawn(lineage.draw, *made(searched((leg(0), 2.0))))
  assert picture.colours > 10 and not picture.has(figure_lib.BEST)


@pytest.mark.parametrize('failed', [False, True])
def test_a_search_without_a_champion_is_said_in_words(
  made, leg, searched, drawn, failed
):
  rounds = [searched((leg(0), None))] * failed
  picture = drawn(lineage.draw, *made(*rounds))
  assert picture.colours > 10 and not picture.has(figure_lib.BEST)


def test_many_parameters_of_all_kinds_and_odd_names_are_drawn(wide, drawn):
  assert drawn(lineage.draw, *wide).colours > 50
