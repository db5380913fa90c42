"""Tests of the picture of a comparison: it is looked at, as pixels."""

import numpy as np
import pytest
from scipy import optimize

from evo import comparison, comparison_figure
from evo import figure as figure_lib


def made(names, seeds, gap=1.0, failing=()):
  """A comparison of strategies, each better than the one before by a gap."""
  rng = np.random.default_rng(0)
  runs = []
  for seed in range(seeds):
    for i, name in enumerate(names):
      steps = 3.0 - i * gap + np.array([0.8, 0.3, 0.0]) + rng.normal(0, 0.1, 3)
      incumbents = tuple(
        comparison.Incumbent(charge, 0, loss, None if name in failing else loss)
        for charge, loss in zip((1.0 + i, 20.0, 60.0), steps.tolist())
      )
      runs.append(comparison.Run(name, seed, 100, 100, 1, 9, 1.0, incumbents))
  return comparison.compare(runs, names[0], 100, 'bpb')


@pytest.fixture
def draw(drawn):
  """Draws a comparison and opens the picture."""

  def make(value):
    def write(rows, result, run, path):
      comparison_figure.draw(value, path)

    return drawn(write, None, None, None)

  return make


@pytest.mark.parametrize('k,seeds', [(2, 3), (2, 8), (3, 2), (6, 8), (13, 12)])
def test_all_strategies_are_drawn_and_nothing_is_cut_off(draw, k, seeds):
  names = [f'pbt without mutation {i}' for i in range(k)]
  picture = draw(made(names, seeds))
  assert picture.colours > 100
  assert picture.has(figure_lib.BASELINE) and picture.has(figure_lib.BEST)
  edges = picture.pixels.copy()
  edges[3:-3, 3:-3] = 255
  assert (edges == 255).all()


def test_colours_say_what_is_better_and_what_is_worse(draw):
  # Beside the reference only two colours of lines are in use with three.
  better = draw(made(['a', 'b', 'c'], 8))
  worse = draw(made(['a', 'b', 'c'], 8, gap=-1.0))
  assert not better.has(figure_lib.FAILED) and worse.has(figure_lib.FAILED)


def test_a_strategy_that_always_failed_does_not_stop_the_others(draw):
  picture = draw(made(['a', 'b', 'c'], 8, failing=['b']))
  assert picture.has(figure_lib.BASELINE)


@pytest.mark.parametrize('k', [2, 4])
def test_searches_that_found_nothing_are_drawn(draw, k):
  names = list('abcd'[:k])
  assert draw(made(names, 8, failing=names)).colours > 10


def test_a_reference_that_failed_is_drawn(draw):
  assert draw(made(['a', 'b', 'c'], 8, failing=['a'])).colours > 100


def test_equal_losses_are_drawn(draw):
  names = ['a', 'b', 'c']
  runs = [
    comparison.Run(
      name, seed, 9, 9, 0, 9, 1.0, (comparison.Incumbent(9, 0, 1.0, 1.0),)
    )
    for name in names
    for seed in range(8)
  ]
  value = comparison.compare(runs, 'a', 9, 'bpb')
  assert draw(value).colours > 100


def test_losses_of_several_magnitudes_are_drawn_on_their_logarithm(draw):
  names, scales = ['a', 'b', 'c'], (1.0, 0.1, 0.001)
  runs = [
    comparison.Run(
      name,
      seed,
      9,
      9,
      0,
      9,
      1.0,
      (comparison.Incumbent(1, 0, scale, scale * (1 + seed / 9)),),
    )
    for name, scale in zip(names, scales)
    for seed in range(8)
  ]
  picture = draw(comparison.compare(runs, 'a', 9, 'regret'))
  # The line of the second is in the middle, not at the foot.
  left = picture.pixels[:, 100:400]
  rgb = list(bytes.fromhex(figure_lib.BEST[1:]))
  (rows,) = np.nonzero((left == rgb).all(-1).sum(1) > 200)
  assert 200 < rows.min() and rows.max() < 450


def test_a_picture_is_repeatable(tmp_path):
  value = made(['a', 'b', 'c'], 3)
  for name in ('a.png', 'b.png'):
    comparison_figure.draw(value, tmp_path / name)
  a, b = ((tmp_path / name).read_bytes() for name in ('a.png', 'b.png'))
  assert a == b


def test_names_that_collide_are_moved_as_little_as_can_be():
  rng = np.random.default_rng(0)
  for places in rng.random((20, 6)) ** 2:
    moved = comparison_figure.apart(places, 0.1)
    order = np.argsort(places)
    assert (np.diff(moved[order]) > 0.1 - 1e-9).all()
    assert moved.min() >= 0 and moved.max() <= 1
    gaps = {'type': 'ineq', 'fun': lambda x, o=order: np.diff(x[o]) - 0.1}
    best = optimize.minimize(
      lambda x, p=places: ((x - p) ** 2).sum(),
      moved + 0.01 * rng.normal(size=6),
      bounds=[(0, 1)] * 6,
      constraints=[gaps],
    )
    assert ((moved - places) ** 2).sum() == pytest.approx(best.fun, abs=1e-6)


def test_names_that_do_not_collide_stay():
  places = [0.9, 0.1, 0.5]
  assert comparison_figure.apart(places, 0.1) == pytest.approx(places)


def test_names_without_room_keep_their_order():
  moved = comparison_figure.apart([0.2, 0.1, 0.3], 0.6)
  assert moved == pytest.approx([0.6, 0.0, 1.2])
