"""The picture of the best loss so far, over the members that were tried."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from evo import figure as figure_lib
from evo import gate, statistics
from evo import member as member_lib
from evo import result as result_lib
from evo import rows as rows_lib

if TYPE_CHECKING:
  from matplotlib import axes

Row = rows_lib.Row


def draw(
  rows: Sequence[Row],
  result: dict[str, Any],
  run: dict[str, Any],
  path: epath.PathLike,
) -> None:
  """Draws the best loss so far over every member that was tried.

  Lower is better. Members far worse than the baseline are put at the top edge,
  with those that diverged. Where there is a gain, the runs, means and 95%
  intervals of its confirmation stand at the right, on the same scale.

  Args:
    rows: of `rows.leg_rows`.
    result: content of result.json.
    run: content of run.json.
    path: of the PNG file.
  """
  tried, metric = rows_lib.tried(rows), run['metric']
  figure = figure_lib.new(_title(result, tried))
  pairs = result_lib.last_pairs(rows) if result['gain'] else None
  grid = figure.add_gridspec(1, 2, width_ratios=(4, 1))
  ax = figure.add_subplot(grid[0] if pairs else 111)
  figure_lib.plain(ax)
  ax.set_xlabel('members tried, in the order in which they ended')
  ax.set_ylabel(f'{metric} on the search split (lower is better)')
  if not tried:
    figure_lib.say(ax, 'No member has ended yet')
  elif not result['champion']:
    figure_lib.say(ax, f'All {len(tried)} members that ended had failed')
  else:
    claimed = {row['member'] for row in rows_lib.claimed(rows, run)}
    shown = _draw_members(ax, tried, claimed, result)
    if pairs:
      right = figure.add_subplot(grid[1], sharey=ax)
      shown += _draw_pairs(right, pairs, result['gain'])
    _limit(ax, shown)
  figure_lib.save(figure, path)


def _title(result: dict[str, Any], tried: list[Row]) -> str:
  champion, metric = result['champion'], result['metric']
  if not champion:
    return 'No champion'
  best, count = champion[f'search_{metric}'], result['finished']
  if count == 1:
    return f'The only finished member: {best:.4f} {metric}'
  baseline = result['baseline'][f'search_{metric}']
  # Of a campaign the last cycle counts, whatever came before; and heirs may be
  # better, which are not claimed.
  least = min(row[metric] for row in tried if row['status'] == member_lib.OK)
  which = 'Best' if best == least else 'Champion'
  text = f'{which} of {count} finished members: {best:.4f} {metric}'
  return text + (f', the baseline {baseline:.4f}' if baseline else '')


def _draw_members(
  ax: 'axes.Axes',
  tried: list[Row],
  claimed: set[int],
  result: dict[str, Any],
) -> list[float]:
  """Draws members and baseline; returns the losses that have to be in sight."""
  metric = result['metric']
  baseline = result['baseline'][f'search_{metric}']
  losses = np.array(
    [
      row[metric] if row['status'] == member_lib.OK else math.nan
      for row in tried
    ]
  )
  x = np.arange(1, len(tried) + 1)
  own = np.array([row['member'] in claimed for row in tried])
  best = np.fmin.accumulate(np.where(own, losses, math.nan))
  top = _most_shown(losses[np.isfinite(losses)], baseline)
  if baseline is not None:
    label, color = f'baseline {baseline:.4f}', figure_lib.BASELINE
    ax.axhline(baseline, color=color, ls='--', lw=1.3, label=label)
  _draw_points(ax, losses, own, best, top)
  ax.step(
    np.append(x, len(x) + 0.6),
    np.append(best, best[-1]),
    where='post',
    color=figure_lib.BEST,
    lw=2,
    zorder=3,
  )
  champion = result['champion']['member']
  index = next(i for i, row in enumerate(tried) if row['member'] == champion)
  _label_champion(ax, index, tried, metric)
  ax.set_xlim(0.4, len(x) + 0.6)
  ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
  ax.legend(
    loc='lower left',
    bbox_to_anchor=(-0.01, 1.0),
    ncols=5,
    frameon=False,
    handletextpad=0.4,
    columnspacing=1.4,
    fontsize=11,
  )
  shown = [*losses[losses <= top], best[-1]]
  return shown if baseline is None else [*shown, baseline]


def _draw_points(
  ax: 'axes.Axes',
  losses: np.ndarray,
  own: np.ndarray,
  best: np.ndarray,
  top: float,
) -> None:
  """Draws members; those above `top` or without a loss at the top edge."""
  x = np.arange(1, len(losses) + 1)
  far, failed = losses > top, np.isnan(losses)
  # The first to finish leads, also where others failed before it.
  improved = own & ~(losses >= np.append(math.nan, best[:-1]))
  heirs = ~own & ~failed & ~far
  other, red, blue = figure_lib.OTHER, figure_lib.FAILED, figure_lib.BEST
  size = 26 if len(x) < 200 else 10
  edge = {'transform': ax.get_xaxis_transform()}  # y in shares of the height.
  top_edge = np.full(len(x), 0.965)
  for mask, y, area, color, label, look in (
    (own & ~improved & ~far, losses, size, other, 'finished', {}),
    (heirs, losses, size, 'none', 'from inherited weights', {'ec': other}),
    (far, top_edge, 32, other, 'worse than shown', edge | {'marker': '^'}),
    (failed, top_edge, 32, red, 'diverged', edge | {'marker': 'x'}),
    (improved & ~far, losses, 46, blue, 'best so far', {'zorder': 4}),
  ):
    if mask.any():
      ax.scatter(x[mask], y[mask], area, color, label=label, **look)


def _label_champion(
  ax: 'axes.Axes', index: int, tried: list[Row], metric: str
) -> None:
  """Names the champion below its point, where none but heirs can be."""
  row, share = tried[index], (index + 0.6) / (len(tried) + 0.2)
  side = 'left' if share < 0.15 else 'right' if share > 0.85 else 'center'
  ax.annotate(
    f'champion: member {row["member"]}, {row[metric]:.4f}',
    (index + 1, row[metric]),
    xytext=(0, -14),
    textcoords='offset points',
    ha=side,
    va='top',
    color=figure_lib.BEST,
    fontsize=12,
    fontweight='bold',
    bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 1, 'alpha': 0.5},
  )


def _most_shown(losses: np.ndarray, baseline: float | None) -> float:
  """The largest loss drawn in its place: outliers would flatten the rest."""
  best, usual = float(losses.min()), float(np.quantile(losses, 0.75))
  if baseline is not None:
    usual = max(baseline, min(usual, baseline + (baseline - best)))
  return min(float(losses.max()), usual + 0.75 * max(usual - best, 1e-9))


def _draw_pairs(
  ax: 'axes.Axes', pairs: result_lib.Pairs, gain: dict[str, float]
) -> list[float]:
  """Draws the runs of a confirmation; returns what has to be in sight."""
  figure_lib.plain(ax)
  shown = []
  colors = (figure_lib.BASELINE, figure_lib.BEST)
  for x, (arm, color) in enumerate(zip(gate.ARMS, colors, strict=True)):
    losses = pairs.losses[arm]
    mean = statistics.t_interval(losses)
    ax.scatter([x - 0.17] * len(losses), losses, 22, color, alpha=0.4, lw=0)
    half = mean.mean - mean.low
    ax.errorbar(x, mean.mean, half, fmt='o', color=color, capsize=5, lw=2, ms=7)
    ax.annotate(
      f'{mean.mean:.4f}',
      (x, mean.mean),
      xytext=(9, 0),
      textcoords='offset points',
      va='center',
      color=color,
      fontsize=11,
    )
    shown += [*losses, mean.low, mean.high]
  ax.set_xlim(-0.5, 1.85)
  ax.set_xticks([0, 1], gate.ARMS)
  ax.tick_params(labelleft=False)
  seeds = f'from scratch, {len(pairs.seeds)} fresh seeds'
  ax.set_xlabel(f'{seeds}\n{pairs.split} split, 95% intervals', fontsize=11)
  interval = f'[{gain["low"]:+.4f}, {gain["high"]:+.4f}]'
  title = f'gain {gain["mean"]:+.4f}\n{interval}'
  ax.set_title(title, fontsize=12, color=figure_lib.TEXT)
  return shown


def _limit(ax: 'axes.Axes', shown: list[float]) -> None:
  """Room above for what failed, below for the champion's name."""
  low, high = min(shown), max(shown)
  span = (high - low) or abs(high) or 1.0
  ax.set_ylim(low - 0.14 * span, high + 0.12 * span)
