"""Tests of the diagram of ranks: what is drawn, in its own coordinates."""

import pytest

from evo import figure as figure_lib
from evo import rank_diagram

# Demsar (2006), table 6: the average ranks of four classifiers.
RANKS = {'C4.5': 3.143, 'C4.5+m': 2.0, 'C4.5+cf': 2.893, 'C4.5+m+cf': 1.964}


def drawn(ranks, cliques, difference=1.25):
  value = {
    'strategies': {k: {'average_rank': rank} for k, rank in ranks.items()},
    'cliques': cliques,
    'critical_difference': difference,
  }
  figure = figure_lib.new()
  ax = figure.add_subplot(111)
  rank_diagram.draw(ax, value, dict.fromkeys(ranks, '#123456'))
  figure.draw_without_rendering()
  return ax


def bars(ax):
  """(low, high, height) of the bars, which are the thick lines."""
  thick = [line for line in ax.lines if line.get_linewidth() > 3]
  return [(*line.get_xdata(), line.get_ydata()[0]) for line in thick]


def test_every_strategy_leads_from_its_rank_to_its_name():
  ax = drawn(RANKS, [['C4.5+m+cf', 'C4.5+m', 'C4.5+cf', 'C4.5']])
  texts = {text.get_text().strip(): text for text in ax.texts}
  leads = [line for line in ax.lines if line.get_color() == '#123456']
  starts = sorted(line.get_xdata()[0] for line in leads)
  assert starts == sorted(RANKS.values())
  # The better half is at the left, the best on top, and no two share a line.
  left = [texts['C4.5+m+cf  2.0'], texts['C4.5+m  2.0']]
  right = [texts['3.1  C4.5'], texts['2.9  C4.5+cf']]
  for side, edge in ((left, 'right'), (right, 'left')):
    heights = [text.get_position()[1] for text in side]
    assert heights == sorted(set(heights))
    assert all(text.get_ha() == edge for text in side)


def test_the_published_four_are_one_group():
  ax = drawn(RANKS, [['C4.5+m+cf', 'C4.5+m', 'C4.5+cf', 'C4.5']])
  ((low, high, _),) = bars(ax)
  assert (low, high) == pytest.approx((1.964, 3.143), abs=0.05)
  texts = [text.get_text().strip() for text in ax.texts]
  assert 'critical difference 1.25' in texts


def test_bars_that_overlap_are_stacked_and_others_share_a_line():
  ranks = {'a': 1.2, 'b': 2.0, 'c': 3.0, 'd': 3.9, 'e': 4.9}
  ax = drawn(ranks, [['a', 'b'], ['b', 'c'], ['c', 'd', 'e']], 2.0)
  first, second, third = (height for *_, height in bars(ax))
  assert first == third < second


def test_without_groups_there_are_no_bars():
  assert bars(drawn({'a': 1.0, 'b': 2.0, 'c': 3.0}, [])) == []
