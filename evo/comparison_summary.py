"""The end of a comparison, in plain text for a terminal."""

from typing import Any

Record = dict[str, Any]


def summary(value: Record) -> str:
  """The headline and a line for each strategy, the lowest loss first.

  Args:
    value: content of comparison.json, as `comparison.compare` gives it.
  """
  width = max(map(len, value['strategies']))
  lines = [f'{value["headline"]}.', '']
  head = f'{"":{width}} {value["metric"]:>9}  95% interval'
  lines.append(head + f', {len(value["seeds"])} seeds')
  for name, entry in value['strategies'].items():
    mean = entry['mean']
    if mean is None:
      lines.append(f'{name:{width}} {"-":>9}  no confirmed loss')
      continue
    interval = ''
    if mean['low'] is not None:
      interval = f'[{mean["low"]:.4f}, {mean["high"]:.4f}]'
    line = f'{name:{width}} {mean["mean"]:9.4f}  {interval:20}'
    lines.append(f'{line}  {entry["verdict"]}')
  return '\n'.join(lines)
