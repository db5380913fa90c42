"""Pictures of a campaign, as PNG files of 1200 by 700 pixels.

Matplotlib is imported when something is drawn, and without pyplot: no window
system, no state between figures.
"""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from evo import member as member_lib
from evo import parameter as parameter_lib
from evo import result as result_lib
from evo import space as space_lib

if TYPE_CHECKING:
  from matplotlib import axes, figure

Row = dict[str, Any]
Parameter = parameter_lib.Parameter

_BEST = '#1f6f9f'
_OTHER = '#b4bcc4'
_BASELINE = '#4a4a4a'
_FAILED = '#c2553a'
_TEXT = '#2b2b2b'
_MOST_PANELS = 12


def staircase(
  rows: Sequence[Row],
  result: dict[str, Any],
  metric: str,
  path: epath.PathLike,
) -> None:
  """Draws the best loss so far over every member that was tried.

  Lower is better. Members far worse than the baseline are put at the top edge,
  with those that diverged. Where there is a confirmation, its runs, means and
  95% intervals stand at the right, on the same scale.

  Args:
    rows: of `result.leg_rows`.
    result: content of result.json.
    metric: name of the loss.
    path: of the PNG file.
  """
  tried = _tried(rows)
  figure = _figure()
  trial = _confirmed(rows, result)
  grid = figure.add_gridspec(1, 2, width_ratios=(4, 1)) if trial else None
  ax = figure.add_subplot(grid[0] if grid else 111)
  _plain(ax)
  ax.set_xlabel('members tried, in the order in which they ended')
  ax.set_ylabel(f'{metric} on the search split (lower is better)')
  losses = [row[metric] for row in tried if row['status'] == member_lib.OK]
  if not tried:
    _say(ax, 'No member has ended yet')
  elif not losses:
    _say(ax, f'All {len(tried)} members that ended had failed')
  else:
    best, top = _draw_members(ax, tried, metric, result)
    shown = [loss for loss in losses if loss <= top]
    if trial:
      right = figure.add_subplot(grid[1], sharey=ax)
      shown += _draw_trial(right, trial, result['gain'])
    baseline = result['baseline'][f'search_{metric}']
    _limit(ax, shown + [x for x in (baseline, best) if x is not None])
  _title(figure, _staircase_title(result, metric))
  _save(figure, path)


def lineage(
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
    rows: of `result.leg_rows`.
    result: content of result.json.
    run: content of run.json.
    path: of the PNG file.
  """
  figure = _figure()
  search = [row for row in rows if row['phase'] == 'search']
  champion = result['champion']
  line = _descent(search, champion) if champion else []
  changed = _changed(line, run) if line else []
  if not changed:
    ax = figure.add_subplot(111)
    ax.set_axis_off()
    same = 'The champion is the baseline: no parameter changed'
    _say(ax, same if line else 'No member has finished yet: no champion')
    _save(figure, path)
    return
  names = changed[:_MOST_PANELS]
  space = space_lib.Space.from_json(run['space'])
  view = _view(search, line, result, run)
  columns = min(len(names), 4 if len(names) > 4 else 2)
  height = math.ceil(len(names) / columns)
  for i, name in enumerate(names):
    ax = figure.add_subplot(height, columns, i + 1)
    _draw_parameter(ax, space.by_name[name], view, run['baseline'][name])
  hidden = len(changed) - len(names)
  label = view['label'] + f' ({hidden} smaller changes not shown)' * bool(
    hidden
  )
  figure.supxlabel(label, fontsize=12, color=_TEXT)
  _title(figure, view['title'])
  _legend(figure)
  _save(figure, path)


def _tried(rows: Sequence[Row]) -> list[Row]:
  """Last legs of the members that reached their end or failed, as they did."""
  whole = max((row['stop'] for row in rows), default=0)
  ended = [
    row
    for row in rows
    if row['phase'] == 'search'
    and row['order'] is not None
    and (row['status'] != member_lib.OK or row['lineage_step'] == whole)
  ]
  return sorted(ended, key=lambda row: row['order'])


def _confirmed(
  rows: Sequence[Row], result: dict[str, Any]
) -> result_lib.Trial | None:
  """The confirmation, if the result stands on it."""
  return result_lib.trial_of(rows) if result['gain'] else None


def _draw_members(
  ax: 'axes.Axes', tried: list[Row], metric: str, result: dict[str, Any]
) -> tuple[float, float]:
  """Draws members and baseline; returns the best loss, the most shown."""
  losses = np.array(
    [
      row[metric] if row['status'] == member_lib.OK else math.nan
      for row in tried
    ]
  )
  x = np.arange(1, len(tried) + 1)
  so_far = np.fmin.accumulate(losses)
  improved = np.append(True, losses[1:] < so_far[:-1]) & np.isfinite(losses)
  # The first to finish leads, also where others failed before it.
  improved[np.flatnonzero(np.isfinite(losses))[0]] = True
  best = float(np.nanmin(losses))
  baseline = result['baseline'][f'search_{metric}']
  top = _most_shown(losses[np.isfinite(losses)], baseline, best)
  far, failed = losses > top, np.isnan(losses)
  rest = ~improved & ~far & ~failed
  edge = ax.get_xaxis_transform()  # y in shares of the axis' height.
  if baseline is not None:
    label = f'baseline {baseline:.4f}'
    ax.axhline(baseline, color=_BASELINE, ls='--', lw=1.3, label=label)
  size = 26 if len(x) < 200 else 10
  if rest.any():
    ax.scatter(x[rest], losses[rest], size, _OTHER, label='finished')
  for mask, marker, color, label in (
    (far, '^', _OTHER, 'worse than shown'),
    (failed, 'x', _FAILED, 'diverged'),
  ):
    if mask.any():
      y = np.full(mask.sum(), 0.965)
      look = {'marker': marker, 'transform': edge, 'label': label}
      ax.scatter(x[mask], y, 32, color, **look)
  steps = np.append(so_far, so_far[-1])
  ax.step(
    np.append(x, len(x) + 0.6), steps, where='post', color=_BEST, lw=2, zorder=3
  )
  seen = improved & ~far
  ax.scatter(x[seen], losses[seen], 46, _BEST, zorder=4, label='best so far')
  _label_champion(ax, int(np.nanargmin(losses)), tried, metric)
  ax.set_xlim(0.4, len(x) + 0.6)
  ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
  _legend_above(ax)
  return best, top


def _legend_above(ax: 'axes.Axes') -> None:
  ax.legend(
    loc='lower left',
    bbox_to_anchor=(-0.01, 1.0),
    ncols=5,
    frameon=False,
    handletextpad=0.4,
    columnspacing=1.4,
    fontsize=11,
  )


def _label_champion(
  ax: 'axes.Axes', index: int, tried: list[Row], metric: str
) -> None:
  """Names the champion below its point, where no member can be."""
  row, share = tried[index], (index + 0.6) / (len(tried) + 0.2)
  side = 'left' if share < 0.15 else 'right' if share > 0.85 else 'center'
  ax.annotate(
    f'champion: member {row["member"]}, {row[metric]:.4f}',
    (index + 1, row[metric]),
    xytext=(0, -14),
    textcoords='offset points',
    ha=side,
    va='top',
    color=_BEST,
    fontsize=12,
    fontweight='bold',
  )


def _most_shown(
  losses: np.ndarray, baseline: float | None, best: float
) -> float:
  """The largest loss drawn in its place: outliers would flatten the rest."""
  worst = float(losses.max())
  usual = float(np.quantile(losses, 0.75))
  if baseline is not None:
    usual = max(baseline, min(usual, baseline + (baseline - best)))
  return min(worst, usual + 0.75 * max(usual - best, 1e-9))


def _draw_trial(
  ax: 'axes.Axes', trial: result_lib.Trial, gain: dict[str, float]
) -> list[float]:
  """Draws the runs of a confirmation; returns what has to be in sight."""
  from evo import statistics  # SciPy's statistics load slowly.

  _plain(ax)
  shown = []
  for x, (arm, color) in enumerate(
    zip(result_lib.ARMS, (_BASELINE, _BEST), strict=True)
  ):
    losses = trial.losses[arm]
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
  ax.set_xticks([0, 1], result_lib.ARMS)
  ax.tick_params(labelleft=False)
  ax.set_xlabel(
    f'from scratch, {len(trial.seeds)} fresh seeds\n'
    f'{trial.split} split, 95% intervals',
    fontsize=11,
  )
  ax.set_title(
    f'gain {gain["mean"]:+.4f}\n[{gain["low"]:+.4f}, {gain["high"]:+.4f}]',
    fontsize=12,
    color=_TEXT,
  )
  return shown


def _staircase_title(result: dict[str, Any], metric: str) -> str:
  champion = result['champion']
  if not champion:
    return 'No champion'
  best, count = champion[f'search_{metric}'], result['finished']
  if count == 1:
    return f'The only finished member: {best:.4f} {metric}'
  baseline = result['baseline'][f'search_{metric}']
  text = f'Best of {count} finished members: {best:.4f} {metric}'
  return text + (f', the baseline {baseline:.4f}' if baseline else '')


def _descent(search: list[Row], champion: dict[str, Any]) -> list[Row]:
  """Last legs of the champion and its ancestors, the first one first."""
  last = {row['member']: row for row in search}
  line, member = [], champion['member']
  while member is not None:
    line.insert(0, last[member])
    member = last[member]['parent']
  return line


def _changed(line: list[Row], run: dict[str, Any]) -> list[str]:
  """Free parameters that ever changed, those the champion moved most first."""
  space = space_lib.Space.from_json(run['space'])
  baseline, end = run['baseline'], line[-1]['configuration']

  def moved(name: str) -> float:
    unit = space.by_name[name].unit
    return abs(unit(end[name]) - unit(baseline[name]))

  names = [
    name
    for name in space.free_names
    if any(row['configuration'][name] != baseline[name] for row in line)
  ]
  return sorted(names, key=moved, reverse=True)


def _view(
  search: list[Row],
  line: list[Row],
  result: dict[str, Any],
  run: dict[str, Any],
) -> dict[str, Any]:
  """What is drawn in every panel.

  Returns:
    `label` of the x axis, `title`, and as (x from, x to, configuration):
    `line` of the champion and `others` behind it; `ticks` as (x, text).
  """
  if run['finds_schedules']:
    return _schedule_view(search, line, result)
  if len(line) > 1:
    return _generations_view(search, line)
  metric = run['metric']
  ends = [(r[metric], r) for r in result_lib.finished(search, run)]
  own = line[0][metric]
  return {
    'title': f'The champion, member {line[0]["member"]}, has no ancestors',
    'label': f'{metric} (lower is better)',
    'line': [(own, own, line[0]['configuration'])],
    'others': [(loss, loss, row['configuration']) for loss, row in ends],
    'ticks': None,
  }


def _schedule_view(
  search: list[Row], line: list[Row], result: dict[str, Any]
) -> dict[str, Any]:
  """Over training steps."""
  return {
    'title': f'Schedule that led to the champion, member {line[-1]["member"]}',
    'label': 'training steps behind the weights',
    'line': [
      (piece['start'], piece['stop'], piece['configuration'])
      for piece in result['champion']['schedule']
    ],
    'others': [
      (row['start'], row['lineage_step'], row['configuration'])
      for row in search
      if row['lineage_step'] > row['start']
    ],
    'ticks': None,
  }


def _generations_view(search: list[Row], line: list[Row]) -> dict[str, Any]:
  """Over the generations, each member behind at its own."""
  last = {row['member']: row for row in search}
  depth: dict[int | None, int] = {None: -1}
  for member in sorted(last):
    depth[member] = depth[last[member]['parent']] + 1
  champion = line[-1]['member']
  return {
    'title': f'From the first ancestor to the champion, member {champion}',
    'label': 'ancestors by member id, by generation',
    'line': [(i, i, row['configuration']) for i, row in enumerate(line)],
    'others': [
      (depth[member], depth[member], row['configuration'])
      for member, row in last.items()
      if depth[member] < len(line)
    ],
    'ticks': [(i, str(row['member'])) for i, row in enumerate(line)],
  }


def _draw_parameter(
  ax: 'axes.Axes', p: Parameter, view: dict[str, Any], baseline: Any
) -> None:
  """One panel: a parameter's values."""
  _plain(ax)

  def number(value: Any) -> float:
    return p.choices.index(value) if p.choices else value

  for start, stop, configuration in view['others']:
    y = number(configuration[p.name])
    if start == stop:
      ax.plot(start, y, 'o', color=_OTHER, alpha=0.6, ms=5, mew=0)
    else:
      ax.plot((start, stop), (y, y), color=_OTHER, alpha=0.6, lw=1.4)
  ax.axhline(number(baseline), color=_BASELINE, ls='--', lw=1.1)
  line = view['line']
  y = [number(configuration[p.name]) for *_, configuration in line]
  if line[0][0] < line[0][1]:
    ax.stairs(
      y,
      [line[0][0], *(stop for _, stop, _ in line)],
      baseline=None,
      color=_BEST,
      lw=2.6,
      zorder=4,
    )
  else:
    ax.plot(
      [start for start, *_ in line], y, 'o-', color=_BEST, lw=2, ms=6, zorder=4
    )
  before, after = short(baseline, 3), short(line[-1][2][p.name], 3)
  ax.set_title(
    f'{p.name}: {before} → {after}',
    fontsize=11,
    loc='left',
    color=_TEXT,
    parse_math=False,
  )
  _scale(ax, p)
  if view['ticks']:
    every = math.ceil(len(view['ticks']) / 8)
    ticks = view['ticks'][::-1][::every]  # The champion always has its tick.
    ax.set_xticks([x for x, _ in ticks], [text for _, text in ticks])
    ax.set_xlim(-0.4, len(view['ticks']) - 0.6)


def _scale(ax: 'axes.Axes', p: Parameter) -> None:
  """Spans the parameter's range, on its scale."""
  if p.choices:
    ax.set_ylim(-0.5, len(p.choices) - 0.5)
    labels = [short(choice) for choice in p.choices]
    ax.set_yticks(range(len(labels)), labels, parse_math=False)
  elif p.kind == 'log_float':
    ax.set_yscale('log')
    margin = (p.high / p.low) ** 0.04
    ax.set_ylim(p.low / margin, p.high * margin)
  else:
    margin = 0.04 * (p.high - p.low)
    ax.set_ylim(p.low - margin, p.high + margin)


def short(value: Any, digits: int = 4) -> str:
  """A value with so many digits that count."""
  return f'{value:.{digits}g}' if isinstance(value, float) else str(value)


def _figure() -> 'figure.Figure':
  from matplotlib import figure

  return figure.Figure(figsize=(12, 7), dpi=100, layout='constrained')


def _plain(ax: 'axes.Axes') -> None:
  ax.spines[['top', 'right']].set_visible(False)
  ax.spines[['left', 'bottom']].set_color('#8a8a8a')
  ax.tick_params(colors=_TEXT, labelsize=10.5)
  ax.grid(axis='y', color='#ececec', lw=0.8)
  ax.set_axisbelow(True)
  ax.xaxis.label.set(fontsize=12, color=_TEXT)
  ax.yaxis.label.set(fontsize=12, color=_TEXT)


def _limit(ax: 'axes.Axes', shown: list[float]) -> None:
  """Room above for what failed, below for the champion's name."""
  low, high = min(shown), max(shown)
  span = (high - low) or abs(high) or 1.0
  ax.set_ylim(low - 0.14 * span, high + 0.12 * span)


def _title(figure: 'figure.Figure', text: str) -> None:
  figure.text(
    0.012,
    0.985,
    text,
    va='top',
    fontsize=15,
    fontweight='bold',
    color=_TEXT,
    parse_math=False,
  )
  # The layout leaves a band for it.
  figure.get_layout_engine().set(rect=(0.004, 0.004, 0.992, 0.935), h_pad=0.09)


def _legend(figure: 'figure.Figure') -> None:
  """What the lines of a lineage are, beside the title."""
  from matplotlib import lines

  kinds = {
    'champion': {'color': _BEST, 'lw': 2.6},
    'other members': {'color': _OTHER, 'marker': 'o', 'ms': 5, 'lw': 1.4},
    'baseline': {'color': _BASELINE, 'ls': '--', 'lw': 1.1},
  }
  figure.legend(
    [lines.Line2D([], [], **style) for style in kinds.values()],
    list(kinds),
    loc='upper right',
    ncols=3,
    frameon=False,
    fontsize=11,
  )


def _say(ax: 'axes.Axes', text: str) -> None:
  """A message in place of data."""
  ax.set(xticks=[], yticks=[])
  ax.text(
    0.5,
    0.5,
    text,
    transform=ax.transAxes,
    ha='center',
    fontsize=16,
    color='#6a6a6a',
  )


def _save(figure: 'figure.Figure', path: epath.PathLike) -> None:
  buffer = io.BytesIO()
  figure.savefig(buffer, format='png')
  epath.Path(path).write_bytes(buffer.getvalue())
