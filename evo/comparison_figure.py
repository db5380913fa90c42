"""The picture of a comparison: losses over the charge, ranks, differences."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath
from scipy import optimize

from evo import figure as figure_lib
from evo import rank_diagram

if TYPE_CHECKING:
  from matplotlib import axes

Record = dict[str, Any]

# Distinct on white, also for most who see fewer colours; beside them the
# reference is grey.
_COLORS = (
  figure_lib.BEST,
  '#d1702c',
  '#3c8d4f',
  '#a8478b',
  '#b08a1e',
  '#7a5ab5',
  '#2aa198',
  figure_lib.FAILED,
  '#5aa6e6',
  '#8c564b',
  '#7f9a2f',
  '#d987b0',
)


def draw(value: Record, path: epath.PathLike) -> None:
  """Draws a comparison: 1200 by 700 pixels.

  Mean confirmed losses over the charge with bootstrapped 95% bands; the average
  ranks, where a bar joins strategies that are not told apart (Demsar 2006, JMLR
  7, figure 1); paired differences from the reference with 95% intervals.

  Args:
    value: content of comparison.json, as `comparison.compare` gives it.
    path: of the PNG file.
  """
  figure = figure_lib.new(value['headline'])
  if value['friedman']:
    k = len(value['strategies'])
    grid = figure.add_gridspec(
      2, 2, width_ratios=(1.5, 1), height_ratios=(k / 2 + 5, k + 3)
    )
    curves, differences = figure.add_subplot(grid[:, 0]), grid[1, 1]
    rank_diagram.draw(figure.add_subplot(grid[0, 1]), value, _colors(value))
  else:  # Ranks of two say no more than their differences.
    grid = figure.add_gridspec(2, 1, height_ratios=(4, 1))
    curves, differences = figure.add_subplot(grid[0]), grid[1]
  _draw_curves(curves, value)
  _draw_differences(figure.add_subplot(differences), value)
  figure_lib.save(figure, path)


def _colors(value: Record) -> dict[str, str]:
  """By name: a strategy keeps its colour whatever its place."""
  others = sorted(set(value['strategies']) - {value['reference']})
  colors = dict(zip(others, itertools.cycle(_COLORS)))
  return colors | {value['reference']: figure_lib.BASELINE}


def _draw_curves(ax: 'axes.Axes', value: Record) -> None:
  """Draws confirmed losses over the charge."""
  figure_lib.plain(ax)
  shown = {k: v for k, v in value['strategies'].items() if v['curve']['charge']}
  if not shown:
    figure_lib.say(ax, 'No run has a confirmed loss')
    return
  budget, colors = value['budget'], _colors(value)
  for name, entry in shown.items():
    curve = {k: [*v, v[-1]] for k, v in entry['curve'].items()}
    curve['charge'][-1] = budget
    is_reference = name == value['reference']
    look = {'color': colors[name], 'zorder': 3}
    ax.step(
      curve['charge'],
      curve['mean'],
      where='post',
      lw=1.9,
      ls='--' if is_reference else '-',
      **look,
    )
    # A gap where one seed has no band: None becomes NaN.
    band = np.array([curve['low'], curve['high']], np.float64)
    look |= {'alpha': 0.6 / max(len(shown), 4), 'lw': 0}
    ax.fill_between(curve['charge'], *band, step='post', **look)
  _limit(ax, [entry['curve'] for entry in shown.values()], budget)
  _label_ends(ax, shown, colors, budget)
  ax.set_title(
    f'mean over {len(value["seeds"])} seeds, bootstrapped 95% bands',
    fontsize=11,
    color=figure_lib.TEXT,
  )
  ax.set_xlabel('charge, in members')
  ax.set_ylabel(f'confirmed {value["metric"]} of the incumbent')


def _limit(ax: 'axes.Axes', curves: list[Record], budget: float) -> None:
  """Shows the ends whole, and of the beginnings what does not flatten them."""
  ax.set_xlim(0, budget)
  ends = [curve['mean'][-1] for curve in curves]
  # One seed has no band.
  edges = ends + [c[key][-1] for c in curves for key in ('low', 'high')]
  edges = [edge for edge in edges if edge is not None]
  low, high = min(edges), max(edges)
  tops = [max(curve['mean']) for curve in curves]
  high = max(high, min(max(tops), max(ends) + 1.2 * (high - low)))
  if low > 0 and max(ends) > 10 * min(ends):
    ax.set_yscale('log')
    ax.set_ylim(low / 1.2, max(tops) * 1.1)
    return
  pad = 0.04 * (high - low) or abs(high) or 1.0
  ax.set_ylim(low - pad, high + pad)


def _label_ends(
  ax: 'axes.Axes',
  shown: dict[str, Record],
  colors: dict[str, str],
  budget: float,
) -> None:
  """Names lines at their ends, moved apart where they would collide."""
  ends = [entry['curve']['mean'][-1] for entry in shown.values()]
  to_axes = ax.transScale + ax.transLimits
  heights = [to_axes.transform((budget, end))[1] for end in ends]
  places = apart(heights, 0.031)
  for name, end, place in zip(shown, ends, places, strict=True):
    line = {'arrowstyle': '-', 'color': colors[name], 'lw': 0.8}
    ax.annotate(
      name,
      (budget, end),
      xytext=(1.06, place),
      textcoords='axes fraction',
      va='center',
      color=colors[name],
      fontsize=rank_diagram.SMALL,
      fontweight='bold',
      parse_math=False,
      arrowprops=line | {'relpos': (0, 0.5), 'shrinkA': 0, 'shrinkB': 0},
      annotation_clip=False,
    )


def apart(places: Sequence[float], gap: float) -> np.ndarray:
  """The nearest places, in least squares, that are a gap apart and in [0, 1].

  Their order stays. Less i gaps, the i-th place of them in order has only to be
  no lower than the one before: an isotonic regression.
  """
  order = np.argsort(places, kind='stable')
  steps = gap * np.arange(len(places))
  wanted = np.asarray(places)[order] - steps
  found = optimize.isotonic_regression(wanted).x
  moved = np.empty(len(places))
  moved[order] = np.clip(found, 0, max(0, 1 - steps[-1])) + steps
  return moved


def _draw_differences(ax: 'axes.Axes', value: Record) -> None:
  """Draws what strategies differ from the reference by."""
  figure_lib.plain(ax)
  ax.grid(False)
  entries, reference = value['strategies'], value['reference']
  others = [name for name in entries if name != reference]
  ax.axvline(0, color=figure_lib.BASELINE, ls='--', lw=1.2)
  edges, points = [0.0], [0.0]
  for y, name in enumerate(others):
    paired, color = entries[name]['paired'], _verdict_color(entries[name])
    differences = _differences(entries[name], entries[reference])
    below = [y + 0.25] * len(differences)
    ax.scatter(differences, below, 11, color, alpha=0.45, lw=0)
    points += differences
    if paired['low'] is not None:
      mean, low, high = (paired[key] for key in ('mean', 'low', 'high'))
      bar = {'fmt': 'o', 'color': color, 'capsize': 3, 'lw': 1.8, 'ms': 5.5}
      ax.errorbar(mean, y, xerr=[[mean - low], [high - mean]], **bar)
      edges += [low, high]
    text = _said(paired, len(value['seeds']))
    place = {'transform': ax.get_yaxis_transform(), 'va': 'center'}
    ax.text(1.02, y, text, color=color, fontsize=rank_diagram.SMALL, **place)
  low, high = min(edges), max(edges)
  span = (high - low) or max(map(abs, points)) or 1.0
  # All seeds, as far as they do not flatten the intervals.
  low = max(min(low, *points), low - span / 2) - 0.04 * span
  high = min(max(high, *points), high + span / 2) + 0.04 * span
  ax.set_xlim(low, high)
  ax.locator_params(axis='x', nbins=4)
  ax.set_ylim(len(others) - 0.4, -0.6)
  ax.set_yticks(
    range(len(others)), others, parse_math=False, fontsize=rank_diagram.SMALL
  )
  ax.tick_params(axis='y', length=0)
  ax.spines['left'].set_visible(False)
  label = (
    f'{value["metric"]} minus that of {reference}: mean, 95% interval, seeds'
  )
  ax.set_xlabel(label, fontsize=11, parse_math=False)


def _verdict_color(entry: Record) -> str:
  if entry['verdict'].startswith('better'):
    return figure_lib.BEST
  if entry['verdict'].startswith('worse'):
    return figure_lib.FAILED
  return rank_diagram.FAINT


def _differences(entry: Record, reference: Record) -> list[float]:
  """Paired differences of the seeds with which both have a loss."""
  pairs = zip(entry['final'], reference['final'], strict=True)
  return [a - b for a, b in pairs if a is not None and b is not None]


def _said(paired: Record, seeds: int) -> str:
  """The adjusted p, and how many pairs the interval is without."""
  p = paired['p_adjusted']
  text = 'p < 0.001' if p < 0.001 else f'p = {p:.2g}'
  failed = seeds - paired['n']
  return text + (f', {failed} failed' if failed else '')
