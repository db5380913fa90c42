"""Figures of a benchmark: what was measured, turn by turn, or why it was not."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Observe = Callable[[str, float], None]


@dataclasses.dataclass(frozen=True)
class Figure:
  """One line of a benchmark's table.

  Attributes:
    name: of what was measured.
    unit: of the values; empty for a ratio.
    values: one per turn; none where it was not measured.
    note: what to compare it with, or why it was not measured.
  """

  name: str
  unit: str
  values: tuple[float, ...] = ()
  note: str = ''

  @property
  def median(self) -> float | None:
    """Of the turns; None where it was not measured."""
    return statistics.median(self.values) if self.values else None

  def over(self, other: 'Figure', name: str, note: str = '') -> 'Figure':
    """This one divided by another, turn by turn."""
    if not (self.values and other.values):
      missing = other if self.values else self
      return Figure(name, '', note=missing.note)
    pairs = zip(self.values, other.values, strict=True)
    return Figure(name, '', tuple(a / b for a, b in pairs), note)

  def to_json(self) -> dict[str, Any]:
    """Its values, their median and their range."""
    return dataclasses.asdict(self) | {
      'median': self.median,
      'low': min(self.values, default=None),
      'high': max(self.values, default=None),
    }


def in_turn(
  measures: Mapping[str, Callable[[], float]], turns: int, observe: Observe
) -> dict[str, tuple[float, ...]]:
  """Takes each measure once, all of them in a row, so many times.

  What disturbs the machine for a while then disturbs all of them.

  Args:
    measures: by name.
    turns: how many times.
    observe: told what comes next, and the share that is done.
  """
  found = {name: [] for name in measures}
  total = turns * len(measures)
  for turn in range(turns):
    for i, (name, measure) in enumerate(measures.items()):
      observe(name, (turn * len(measures) + i) / total)
      found[name].append(measure())
  return {name: tuple(values) for name, values in found.items()}


def table(figures: Sequence[Figure]) -> str:
  """A line for each figure: its median, its range over the turns, its note."""
  heads = ('', 'median', 'range', 'turns', '')
  rows = [heads, *(_row(figure) for figure in figures)]
  widths = [max(map(len, column)) for column in zip(*rows)]
  lines = []
  for name, median, spread, turns, note in rows:
    numbers = zip((median, spread, turns), widths[1:])
    cells = [name.ljust(widths[0]), *(x.rjust(width) for x, width in numbers)]
    lines.append('  '.join([*cells, note]).rstrip())
  return '\n'.join(lines)


def _row(figure: Figure) -> tuple[str, ...]:
  if not figure.values:
    return figure.name, 'not measured', '', '', figure.note
  low, high = _number(min(figure.values)), _number(max(figure.values))
  unit = f' {figure.unit}' if figure.unit else ''
  return (
    figure.name,
    _number(figure.median) + unit,
    f'{low} to {high}',
    str(len(figure.values)),
    figure.note,
  )


def _number(value: float) -> str:
  return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.3g}'
