"""Configurations as features: what models of the loss see."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from evo import parameter
from evo import space as space_lib


class Encoding:
  """Turns configurations into rows of numbers whose distances make sense.

  A number, or a choice among numbers, is one column: its place on its scale
  (`Parameter.unit`). A choice that holds text, true or false is a column per
  choice, one-hot, so that no order is made up; scaled by sqrt(1/2), which puts
  any two choices 1 apart, as far as the ends of a range.

  An inactive parameter has no effect, so all of its values must look alike: it
  is at the middle, 1/2 or equally far from every choice. From there to an
  active value is at most half of its range (Hutter and Osborne, "A Kernel for
  Hierarchical Parameter Spaces", arXiv 1310.5738, discuss others).

  Attributes:
    groups: int32 [column], the free parameter that a column belongs to,
      counted in order: columns of one parameter share a length scale.
  """

  def __init__(self, space: space_lib.Space):
    """Sets up; what is not free has no column."""
    self._space = space
    self._parameters = [space.by_name[name] for name in space.free_names]
    self._tables = [_table(p) for p in self._parameters]
    sizes = [len(_middle(p)) for p in self._parameters]
    self.groups = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)

  def features(
    self, configurations: Sequence[space_lib.Configuration]
  ) -> np.ndarray:
    """Features of canonical configurations: float64 [configuration, column]."""
    rows = np.empty((len(configurations), len(self.groups)))
    for row, configuration in zip(rows, configurations):
      row[:] = self._row(configuration)
    return rows

  def _row(self, configuration: space_lib.Configuration) -> list[float]:
    active = set(self._space.active(configuration))
    row: list[float] = []
    for p, table in zip(self._parameters, self._tables):
      if p.name not in active:
        row += _middle(p)
      elif table:
        row += table[configuration[p.name]]
      else:
        row.append(p.unit(configuration[p.name]))
    return row


def _middle(p: parameter.Parameter) -> list[float]:
  """Where an inactive parameter is."""
  if p.has_scale:
    return [0.5]
  n = len(p.choices)
  return [0.5**0.5 / n] * n


def _table(p: parameter.Parameter) -> dict[Any, list[float]]:
  """Columns by choice; empty for the other kinds."""
  if p.has_scale:
    return {choice: [p.unit(choice)] for choice in p.choices}
  hot = 0.5**0.5 * np.eye(len(p.choices))
  return dict(zip(p.choices, hot.tolist()))
