"""The picture of a campaign's pace: claimed and verified gain over compute."""

from typing import TYPE_CHECKING, Any

from etils import epath

from evo import figure as figure_lib
from evo import pace as pace_lib

if TYPE_CHECKING:
  from matplotlib import axes

Line = list[tuple[float, float]]

_VERIFIED = '#2e7d4f'


def draw(
  pace: pace_lib.Pace, improvements: dict[str, Any], metric: str, path: Any
) -> None:
  """Draws what the search claimed, what held, and what chance alone claims.

  Args:
    pace: of the campaign.
    improvements: content of improvements.json.
    metric: name of the loss.
    path: of the PNG file.
  """
  figure = figure_lib.new(_title(improvements['summary'], metric))
  ax = figure.add_subplot(111)
  figure_lib.plain(ax)
  if not pace.flops:
    figure_lib.say(ax, 'No run has ended yet')
    figure_lib.save(figure, epath.Path(path))
    return
  ax.set_xlabel('share of the compute, verification included (%)')
  ax.set_ylabel(f'gain over the first baseline, {metric} (higher is better)')
  if pace.null:
    x, high = _steps(pace.null_high, pace)
    label = 'claimed by chance alone, 95 of 100 times less'
    look = {'step': 'post', 'color': figure_lib.OTHER, 'alpha': 0.5}
    ax.fill_between(x, 0, high, label=label, **look)
  look = {'where': 'post', 'lw': 2}
  ax.step(
    *_steps(pace.screen, pace),
    color=figure_lib.BEST,
    label='claimed by the search (best so far)',
    **look,
  )
  ax.step(
    *_steps(pace.verified, pace),
    color=_VERIFIED,
    label='verified on fresh seeds',
    **(look | {'lw': 3}),
  )
  _mark_confirmed(ax, pace)
  _mark_locked(ax, improvements['summary']['locked'])
  ax.set_xlim(0, 104)
  ax.legend(loc='upper left', frameon=False, fontsize=11)
  figure_lib.save(figure, epath.Path(path))


def _title(summary: dict[str, Any], metric: str) -> str:
  counts = (
    f'{summary["confirmed"]} of {summary["changes"]} changes confirmed'
    if summary['tested']
    else 'No change was tested'
  )
  found = summary['locked']
  if not found:
    return counts
  return f'{counts}; {found["mean"]:+.4f} {metric} on the locked split'


def _steps(line: Line, pace: pace_lib.Pace) -> tuple[list[float], list[float]]:
  """Shares of the compute in percent, and gains; up to the end."""
  x = [100 * at / pace.flops for at, _ in line]
  return [*x, 100.0], [*(gain for _, gain in line), line[-1][1]]


def _mark_confirmed(ax: 'axes.Axes', pace: pace_lib.Pace) -> None:
  """Says how many changes are confirmed after each ablation."""
  for flops, _, count in pace.confirmed:
    reached = [gain for at, gain in pace.verified if at <= flops][-1]
    x = 100 * flops / pace.flops
    ax.plot([x], [reached], 'o', color=_VERIFIED, ms=8)
    ax.annotate(
      f'{count} confirmed',
      (x, reached),
      xytext=(0, 9),
      textcoords='offset points',
      ha='center',
      bbox={'facecolor': 'white', 'lw': 0, 'pad': 1, 'alpha': 0.8},
      color=_VERIFIED,
      fontsize=11,
      fontweight='bold',
    )


def _mark_locked(ax: 'axes.Axes', found: dict[str, Any] | None) -> None:
  """Draws the headline at the right."""
  if not found:
    return
  half = found['mean'] - found['low']
  ax.errorbar(
    [101.5],
    [found['mean']],
    [half],
    fmt='D',
    color=figure_lib.TEXT,
    capsize=5,
    lw=2,
    label='locked split, 95% interval',
  )
