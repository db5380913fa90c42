"""Shows a search space: its parameters, their ranges and conditions.

  python -m launch.space --space=nanochat
  python -m launch.space --space=mine.json --tiers=configuration

A space of your own is a JSON file; `launch/space.schema.json` tells an editor
its form, and `extends` makes it a few changes to a ready one.
"""

import textwrap

from absl import flags

from evo import condition, document, parameter
from evo import space as space_lib
from launch import cli, parameters

WIDTH = 100  # columns
_HEADINGS = ('name', 'kind', 'default', 'a new value', 'range and condition')
_GAP = '  '


def describe(space: space_lib.Space) -> str:
  """A table of the parameters by tier, then how many there are.

  At most `WIDTH` columns wide. Parameters that are not free say so in the
  place of their range, or that nothing which is free makes them active.
  """
  reached = condition.reachable(
    space.by_name, space.conditional_order, space.free
  )
  rows = {
    p.name: _row(p, p.name in space.free, p.name in reached)
    for p in space.parameters
  }
  cells = list(zip(_HEADINGS, *rows.values(), strict=True))[:-1]
  widths = [max(map(len, column)) for column in cells]
  lines = _lines(_HEADINGS, widths)
  for tier in parameter.TIERS:
    found = [p for p in space.parameters if p.tier == tier]
    lines += ['', tier] if found else []
    for p in found:
      lines += _lines(rows[p.name], widths)
  return '\n'.join([*lines, '', *_counts(space)])


def _row(p: parameter.Parameter, free: bool, reached: bool) -> tuple[str, ...]:
  """What each column says."""
  if not free:
    values = 'fixed' if reached else 'never active'
  elif p.kind == 'choice':
    values = ', '.join(map(_plain, p.choices))
  else:
    values = f'{_plain(p.low)} to {_plain(p.high)}'
  conditions = [
    f'{name} is {" or ".join(map(_plain, wanted))}'
    for name, wanted in (p.when or {}).items()
  ]
  if conditions:
    values += f'; when {" and ".join(conditions)}'
  if free and p.initial:
    values += '; acts at the start alone'
  compiles = 'structural' if p.structural else 'traced'
  return p.name, p.kind, _plain(p.default), compiles, values


def _lines(row: tuple[str, ...], widths: list[int]) -> list[str]:
  """A row, its last cell wrapped."""
  cells = zip(row, widths, strict=False)
  start = ''.join(f'{cell:{width}}{_GAP}' for cell, width in cells)
  indent = ' ' * len(start)
  return textwrap.wrap(
    row[-1],
    WIDTH,
    initial_indent=start,
    subsequent_indent=indent,
    break_on_hyphens=False,
  )


def _plain(value: parameter.Value) -> str:
  """Text without quotes, else as in JSON; numbers as short as they can be."""
  if isinstance(value, float):
    return f'{value:.6g}'
  return value if isinstance(value, str) else document.show(value)


def _counts(space: space_lib.Space) -> list[str]:
  """How many parameters of what kind there are, by tier and in all."""
  counts = {
    tier: [p for p in space.parameters if p.tier == tier]
    for tier in parameter.TIERS
  }
  counts |= {'in all': space.parameters}
  lines = []
  for name, found in counts.items():
    structural = sum(p.structural for p in found)
    traced = len(found) - structural
    fixed = sum(p.name not in space.free for p in found)
    lines.append(
      f'{name:13}  {len(found):3} parameters: {traced} traced,'
      f' {structural} structural' + (f'; {fixed} fixed' if fixed else '')
    )
  return lines


def main(argv: list[str]) -> int:
  """Prints the space of --space, or the part of it in --tiers."""
  del argv
  with cli.input_errors():
    space = parameters.load(flags.FLAGS.space)
    space = space.restrict(flags.FLAGS.tiers)
  print(describe(space))
  return 0


def run() -> None:
  """Entry point of the console script."""
  # Not at import: `launch.search` has flags of the same names.
  flags.DEFINE_string('space', 'nanogpt', 'A name or a JSON file.')
  flags.DEFINE_list('tiers', list(parameter.TIERS), 'Which tiers to show.')
  cli.run(main)


if __name__ == '__main__':
  run()
