"""The picture of each changed parameter along the champion's line of descent."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from etils import epath

from evo import figure as figure_lib
from evo import parameter as parameter_lib
from evo import result as result_lib
from evo import rows as rows_lib
from evo import space as space_lib
from evo import wording

if TYPE_CHECKING:
  from matplotlib import axes
  from matplotlib import figure as matplotlib_figure

Row = rows_lib.Row
Parameter = parameter_lib.Parameter
Stretch = tuple[float, float, dict[str, Any]]

_MOST_PANELS = 12
_MOST_TICKS = 8
_CHAMPION = {'color': figure_lib.BEST, 'lw': 2.6}
_BASELINE = {'color': figure_lib.BASELINE, 'ls': '--', 'lw': 1.1}
_OTHER = {'color': figure_lib.OTHER, 'lw': 1.4}


@dataclasses.dataclass(frozen=True)
class _View:
  """What is drawn in every panel.

  Attributes:
    title: of the picture.
    label: of the x axis.
    champion: (x from, x to, configuration), in order.
    others: likewise, behind it.
    ticks: one per point of the champion's, if they have names.
  """

  title: str
  label: str
  champion: list[Stretch]
  others: list[Stretch]
  ticks: list[str] | None = None


def draw(
  rows: Sequence[Row],
  result: dict[str, Any],
  run: dict[str, Any],
  path: epath.PathLike,
) -> None:
  """Draws each changed parameter along the champion's line of descent.

  Over training steps where the strategy finds schedules (PBT), else over the
  generations from the first ancestor to the champion; where the champion has
  no ancestors, over the loss. Each axis spans the parameter's range.

  Args:
    rows: of `rows.leg_rows`.
    result: content of result.json.
    run: content of run.json.
    path: of the PNG file.
  """
  search = [row for row in rows if row['phase'] == 'search']
  line = _descent(search, result['champion']) if result['champion'] else []
  changed = _changed(line, result, run) if line else []
  if changed:
    figure = _panels(changed, _view(search, line, result, run), run)
  else:
    figure = figure_lib.new()
    ax = figure.add_subplot(111)
    ax.set_axis_off()
    same = 'The champion is the baseline: no parameter changed'
    none = 'No member has finished yet: no champion'
    figure_lib.say(ax, same if line else none)
  figure_lib.save(figure, path)


def _descent(search: list[Row], champion: dict[str, Any]) -> list[Row]:
  """Last legs of the champion and its ancestors, the first one first."""
  last = {row['member']: row for row in search}
  line, member = [], champion['member']
  while member is not None:
    line.insert(0, last[member])
    member = last[member]['parent']
  return line


def _changed(
  line: list[Row], result: dict[str, Any], run: dict[str, Any]
) -> list[str]:
  """Parameters that the champion changed, then those that only ancestors did."""
  names = [name for name, *_ in result_lib.changes(result, run)]
  passing = [
    name
    for name, value in run['baseline'].items()
    if any(row['configuration'][name] != value for row in line)
  ]
  return list(dict.fromkeys(names + passing))


def _view(
  search: list[Row],
  line: list[Row],
  result: dict[str, Any],
  run: dict[str, Any],
) -> _View:
  if run['finds_schedules']:
    return _schedule_view(search, result)
  if len(line) > 1:
    return _generations_view(search, line)
  metric = run['metric']
  return _View(
    f'The champion, member {line[0]["member"]}, has no ancestors',
    f'{metric} (lower is better)',
    [(line[0][metric], line[0][metric], line[0]['configuration'])],
    [
      (row[metric], row[metric], row['configuration'])
      for row in rows_lib.finished(search)
    ],
  )


def _schedule_view(search: list[Row], result: dict[str, Any]) -> _View:
  """Over training steps."""
  champion = result['champion']
  return _View(
    f'Schedule that led to the champion, member {champion["member"]}',
    'training steps behind the weights',
    [
      (piece['start'], piece['stop'], piece['configuration'])
      for piece in champion['schedule']
    ],
    [
      (row['start'], row['lineage_step'], row['configuration'])
      for row in search
      if row['lineage_step'] > row['start']
    ],
  )


def _generations_view(search: list[Row], line: list[Row]) -> _View:
  """Over the generations, each member behind at its own."""
  last = {row['member']: row for row in search}
  depth: dict[int | None, int] = {None: -1}
  for member in sorted(last):
    depth[member] = depth[last[member]['parent']] + 1
  champion = line[-1]['member']
  return _View(
    f'From the first ancestor to the champion, member {champion}',
    'ancestors by member id, by generation',
    [(i, i, row['configuration']) for i, row in enumerate(line)],
    [
      (depth[member], depth[member], row['configuration'])
      for member, row in last.items()
      if depth[member] < len(line)
    ],
    [str(row['member']) for row in line],
  )


def _panels(
  changed: list[str], view: _View, run: dict[str, Any]
) -> 'matplotlib_figure.Figure':
  """The figure with a panel for each parameter, as many as there is room for."""
  space = space_lib.Space.from_json(run['space'])
  names = changed[:_MOST_PANELS]
  columns = min(len(names), 4 if len(names) > 4 else 2)
  height = math.ceil(len(names) / columns)
  figure = figure_lib.new(view.title)
  for i, name in enumerate(names):
    ax = figure.add_subplot(height, columns, i + 1)
    _draw_parameter(ax, space.by_name[name], view, run['baseline'][name])
  label, hidden = view.label, len(changed) - len(names)
  if hidden:
    label += f' ({hidden} smaller changes not shown)'
  figure.supxlabel(label, fontsize=12, color=figure_lib.TEXT)
  _legend(figure)
  return figure


def _draw_parameter(
  ax: 'axes.Axes', p: Parameter, view: _View, baseline: Any
) -> None:
  """One panel: a parameter's values."""

  def number(value: Any) -> float:
    return p.choices.index(value) if p.choices else value

  figure_lib.plain(ax)
  for start, stop, configuration in view.others:
    y = number(configuration[p.name])
    if start == stop:
      ax.plot(start, y, 'o', color=figure_lib.OTHER, alpha=0.6, ms=5, mew=0)
    else:
      ax.plot((start, stop), (y, y), alpha=0.6, **_OTHER)
  ax.axhline(number(baseline), **_BASELINE)
  starts, stops, configurations = zip(*view.champion)
  y = [number(configuration[p.name]) for configuration in configurations]
  if starts[0] < stops[0]:
    edges = [starts[0], *stops]
    ax.stairs(y, edges, baseline=None, zorder=4, **_CHAMPION)
  else:
    ax.plot(starts, y, 'o-', color=figure_lib.BEST, lw=2, ms=6, zorder=4)
  before = wording.short(baseline, 3)
  after = wording.short(configurations[-1][p.name], 3)
  look = {'fontsize': 11, 'loc': 'left', 'color': figure_lib.TEXT}
  ax.set_title(f'{p.name}: {before} → {after}', parse_math=False, **look)
  _scale(ax, p)
  if view.ticks:
    every = math.ceil(len(view.ticks) / _MOST_TICKS)
    # The champion always has its tick.
    ax.set_xticks(starts[::-1][::every], view.ticks[::-1][::every])
    ax.set_xlim(-0.4, len(view.ticks) - 0.6)


def _scale(ax: 'axes.Axes', p: Parameter) -> None:
  """Spans the parameter's range, on its scale."""
  if p.choices:
    ax.set_ylim(-0.5, len(p.choices) - 0.5)
    labels = [wording.short(choice) for choice in p.choices]
    ax.set_yticks(range(len(labels)), labels, parse_math=False)
  elif p.kind == 'log_float':
    ax.set_yscale('log')
    margin = (p.high / p.low) ** 0.04
    ax.set_ylim(p.low / margin, p.high * margin)
    ax.yaxis.set_minor_formatter('')
    if p.high / p.low < 100:  # Powers of ten would be too few.
      ax.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
      ax.yaxis.set_major_formatter('{x:g}')
  else:
    margin = 0.04 * (p.high - p.low)
    ax.set_ylim(p.low - margin, p.high + margin)


def _legend(figure: 'matplotlib_figure.Figure') -> None:
  """What the lines are, beside the title."""
  from matplotlib import lines

  other = _OTHER | {'marker': 'o', 'ms': 5}
  kinds = {'champion': _CHAMPION, 'other members': other, 'baseline': _BASELINE}
  figure.legend(
    [lines.Line2D([], [], **style) for style in kinds.values()],
    list(kinds),
    loc='upper right',
    ncols=3,
    frameon=False,
    fontsize=11,
  )
