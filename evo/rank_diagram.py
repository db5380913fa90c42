"""The diagram of average ranks (Demsar 2006, JMLR 7, figure 1)."""

import math
from typing import TYPE_CHECKING, Any

from evo import figure as figure_lib

if TYPE_CHECKING:
  from matplotlib import axes

Record = dict[str, Any]

SMALL = 9.5  # Points.
FAINT = '#8a8a8a'

# Heights below the axis of ranks, in lines of text.
_FIRST_BAR, _BAR, _FIRST_NAME = 0.4, 0.45, 0.8


def draw(ax: 'axes.Axes', value: Record, colors: dict[str, str]) -> None:
  """Draws an axis of ranks, the strategies on it, and their groups.

  Args:
    ax: to draw into; the names stand beside it.
    value: content of comparison.json, of three strategies or more.
    colors: by strategy.
  """
  entries, bars = value['strategies'], _bars(value)
  ranked = sorted(entries, key=lambda name: entries[name]['average_rank'])
  k = len(ranked)
  names_at = _FIRST_NAME + _BAR * (1 + max((b[2] for b in bars), default=-1))
  ax.set_axis_off()
  ax.set_xlim(1 - 0.03 * k, k + 0.03 * k)
  ax.set_ylim(names_at + math.ceil(k / 2) - 0.4, -2.3)
  title = 'average rank; bars join what is not told apart'
  ax.set_title(title, fontsize=11, color=figure_lib.TEXT)
  _draw_axis(ax, k, value['critical_difference'])
  for i, name in enumerate(ranked):
    left = i < math.ceil(k / 2)
    y = names_at + (i if left else k - 1 - i)
    _draw_name(ax, name, entries[name]['average_rank'], y, left, colors[name])
  look = {'color': figure_lib.TEXT, 'lw': 3.2, 'solid_capstyle': 'round'}
  pad = 0.012 * (k - 1)
  for low, high, level in bars:
    y = _FIRST_BAR + _BAR * level
    ax.plot([low - pad, high + pad], [y, y], **look)


def _draw_axis(ax: 'axes.Axes', k: int, difference: float) -> None:
  """Draws the axis, and the critical difference above it."""
  look = {'color': figure_lib.TEXT, 'lw': 1.1}
  ax.plot([1, k], [0, 0], **look)
  for rank in range(1, k + 1):
    ax.plot([rank, rank], [0, -0.25], **look)
    ax.text(rank, -0.4, str(rank), ha='center', va='bottom', fontsize=SMALL)
  end, y, look = 1 + difference, -1.8, {'color': FAINT, 'lw': 1.3}
  ax.plot([1, end], [y, y], **look)
  for x in (1, end):
    ax.plot([x, x], [y - 0.17, y + 0.17], **look)
  text = f'  critical difference {difference:.2f}'
  ax.text(end, y, text, va='center', fontsize=SMALL, color=FAINT)


def _draw_name(
  ax: 'axes.Axes', name: str, rank: float, y: float, left: bool, color: str
) -> None:
  """Leads from a rank down and aside to the name."""
  edge, side = ax.get_xlim()[0 if left else 1], 'right' if left else 'left'
  ax.plot([rank, rank, edge], [0, y, y], color=color, lw=1.1)
  text = f'{name}  {rank:.1f} ' if left else f' {rank:.1f}  {name}'
  look = {'color': color, 'fontsize': SMALL, 'fontweight': 'bold'}
  ax.text(edge, y, text, ha=side, va='center', parse_math=False, **look)


def _bars(value: Record) -> list[tuple[float, float, int]]:
  """(lowest rank, highest rank, level) of each group; none overlap."""
  entries, bars = value['strategies'], []
  ends: list[float] = []  # Of the last bar of each level.
  gap = 0.05 * (len(entries) - 1)
  for group in value['cliques']:
    ranks = [entries[name]['average_rank'] for name in group]
    low, high = min(ranks), max(ranks)
    free = [level for level, end in enumerate(ends) if end + gap < low]
    level = free[0] if free else len(ends)
    ends[level : level + 1] = [high]
    bars.append((low, high, level))
  return bars
