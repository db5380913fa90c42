"""The report of a comparison, in Markdown."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from evo import markdown as markdown_lib
from evo import standing, wording

Record = dict[str, Any]
Form = Callable[[float | None], str]


def markdown(value: Record, command: str) -> str:
  """The content of comparison.md, beside comparison.png.

  Args:
    value: content of comparison.json, as `comparison.compare` gives it.
    command: that made it.
  """
  members = f'{value["budget"]:g} members of compute'
  again = command.replace(' --', ' \\\n  --')
  parts = [
    '# Comparison',
    f'**{markdown_lib.cell(value["headline"])}.**',
    _summary(value),
    '![Confirmed loss over the charge, ranks and differences](comparison.png)',
    f'## Losses after {members}',
    _losses(value),
    f'## Against {markdown_lib.cell(value["reference"])}, seed by seed',
    _paired(value),
  ]
  if value['friedman']:
    parts += ['## Ranks of all strategies', _ranks(value)]
  parts += ['## Cost', _costs(value)]
  for earlier in value['at']:
    parts.append(f'## After {earlier["charge"]:g} members')
    parts.append(_standing(earlier, value))
  if any(entry['rows'] for entry in value['strategies'].values()):
    parts += ['## What population-based training is worth', _rows(value)]
  parts += ['## How it was done', _method(value)]
  parts += ['## Reproduce', f'```\n{again}\n```']
  return '\n\n'.join(parts) + '\n'


def _summary(value: Record) -> str:
  """The lowest mean, and how far it is from the reference."""
  strategies, metric = value['strategies'], value['metric']
  name, best = next(iter(strategies.items()))
  if best['mean'] is None:
    return 'No run has a confirmed loss.'
  mean, paired = _number(best['mean']['mean']), best['paired']
  text = f'Lowest mean: {markdown_lib.cell(name)}, {mean} {metric}'
  if paired and paired['n'] > 1:
    difference = f'{_signed(paired["mean"])} {_interval(paired, _signed)}'
    reference, p = (
      markdown_lib.cell(value['reference']),
      _p(paired['p_adjusted']),
    )
    text += f'; {difference} against {reference}, adjusted p {p}'
  return text + '. Lower is better.'


def _losses(value: Record) -> str:
  n = len(value['seeds'])
  lines = []
  for name, entry in value['strategies'].items():
    rank, loss = f'{entry["median_rank"]:g}', _mean(entry['mean'], n)
    observed, area = (_middle(entry[key], n) for key in ('observed', 'area'))
    optimism = _middle(entry['optimism'], n, _signed)
    lines.append(
      (markdown_lib.cell(name), loss, rank, observed, optimism, area)
    )
  header = ('strategy', f'{value["metric"]} [95% interval]', 'median rank')
  text = _table((*header, 'observed', 'optimism', 'area'), lines)
  text += (
    '\n\nOptimism is the confirmed loss minus the one that the search had'
    ' observed; a part of it is that the splits differ, the same for all.'
  )
  if value['area_from'] is not None and value['area_from'] < value['budget']:
    text += (
      ' The area is the mean confirmed loss over the search, from a charge of'
      f' {value["area_from"]:.3g} on, where every run has one.'
    )
  if any(entry['failed'] for entry in value['strategies'].values()):
    text += (
      f' Where a figure is of fewer than {n} runs, the others have no confirmed'
      ' loss: they are left out of means, and are the worst of their seed in'
      ' ranks and tests.'
    )
  return text


def _standing(standing: Record, value: Record) -> str:
  """How the strategies stand, each against the reference."""
  n = len(value['seeds'])
  lines = []
  for name, entry in standing['strategies'].items():
    paired, tests = entry['paired'], ('-', '-', '-')
    if paired:
      p, adjusted = _p(paired['p']), _p(paired['p_adjusted'])
      tests = (_signed(paired['bound']), p, adjusted)
    means = _mean(entry['mean'], n), _mean(paired, n, _signed)
    said = markdown_lib.cell(entry['verdict'])
    lines.append((markdown_lib.cell(name), *means, *tests, said))
  header = ('strategy', value['metric'], 'difference [95% interval]')
  return _table((*header, '95% bound', 'p', 'adjusted p', 'verdict'), lines)


def _paired(value: Record) -> str:
  n, tests = len(value['seeds']), len(value['strategies']) - 1
  text = _standing(value, value)
  text += (
    '\n\nDifferences are strategy minus reference on the same seed: negative is'
    ' better. Intervals are Student’s; with 95% confidence the mean difference'
    ' is below the bound (bootstrap over seeds, expanded percentile; five seeds'
    ' or more). p is two-sided, of Wilcoxon’s signed-rank test, in which equal'
    f' losses do not count; adjusted by Holm for {wording.count(tests, "test")}.'
    f' Significant is below {standing.LEVEL:g}.'
  )
  if value['smallest_p'] >= standing.LEVEL:
    return text + (
      f' With {n} seeds no adjusted p can be below'
      f' {_p(value["smallest_p"])}: a verdict takes at'
      f' least {value["seeds_needed"]}.'
    )
  return text


def _ranks(value: Record) -> str:
  test, groups, found = (
    value[key] for key in ('friedman', 'cliques', 'strategies')
  )
  order = sorted(found, key=lambda name: found[name]['average_rank'])
  text = (
    'Average ranks: '
    + ', '.join(
      f'{markdown_lib.cell(name)} {found[name]["average_rank"]:.2f}'
      for name in order
    )
    + f'. Friedman’s test of whether any differ: p {_p(test["p"])} (Iman and'
    ' Davenport). Ranks that are'
    f' {value["critical_difference"]:.2f} apart differ significantly'
    ' (Nemenyi, all pairs).'
  )
  if groups:
    named = [', '.join(map(markdown_lib.cell, group)) for group in groups]
    text += ' Not told apart: ' + '; '.join(named) + '.'
  return text


def _costs(value: Record) -> str:
  lines = []
  for name, entry in value['strategies'].items():
    charge = entry['charge']
    share = entry['failures'] / max(entry['members'], 1)
    lines.append(
      (
        markdown_lib.cell(name),
        f'{charge["mean"]:.4g} ({charge["min"]:.4g} to {charge["max"]:.4g})',
        f'{entry["members"]:,}',
        f'{100 * share:.1f}%',
        wording.short(entry['seconds_per_ask'], 2),
      )
    )
  header = ('strategy', 'charge, in members', 'members started', 'failed')
  return _table((*header, 's per ask'), lines)


def _rows(value: Record) -> str:
  """One line per strategy that finds schedules."""
  n = len(value['seeds'])
  found = {k: v for k, v in value['strategies'].items() if v['rows']}
  names = list(dict.fromkeys(n for e in found.values() for n in e['rows']))
  lines = [
    (
      markdown_lib.cell(strategy),
      *(_mean(entry['rows'].get(name), n) for name in names),
    )
    for strategy, entry in found.items()
  ]
  text = _table(('strategy', *names), lines) + (
    '\n\nFinal weights are scored as the search left them. A schedule that is'
    ' replayed is trained from scratch on fresh seeds, and is what the tables'
    ' above count: what the weights are better by did not come from the'
    ' schedule. The last configuration is trained from scratch as well, held'
    ' from start to end: what the schedule is better by came from changing'
    ' configurations on the way.'
  )
  if any('without mutation' in name for name in found):
    text += (
      ' Without mutation weights are copied and configurations never change:'
      ' what copying is worth alone.'
    )
  return text


def _method(value: Record) -> str:
  seeds = ', '.join(map(str, value['seeds']))
  lines = [
    'Every strategy had the same space, the same first configurations, as many'
    f' slots and a charge of {value["budget"]:g} members; failures and'
    ' evaluations are charged too. What ended later is not counted.',
    'Each incumbent was trained from scratch on fresh seeds, the same for all'
    ' strategies of one search seed, and scored on a split that no search read.'
    ' These runs are charged to nobody.',
    f'Searches are paired by their seeds: {seeds}.',
  ]
  if value['seeds_left_out']:
    out = ', '.join(map(str, value['seeds_left_out']))
    lines.append(f'Left out, since not every strategy ran with them: {out}.')
  return '\n'.join(f'- {line}' for line in lines)


def _number(value: float | None) -> str:
  return '-' if value is None else f'{value:.5g}'


def _signed(value: float | None) -> str:
  return '-' if value is None else f'{value:+.3g}'


def _mean(found: Record | None, n: int, form: Form = _number) -> str:
  """A mean with its interval, and of how many where they are not `n`."""
  interval = ''
  if found and found['low'] is not None:
    interval = _interval(found, form)
  return _middle(found, n, form, interval)


def _middle(
  found: Record | None, n: int, form: Form = _number, interval: str = ''
) -> str:
  if found is None or found['mean'] is None:
    return '-'
  of = f'(of {found["n"]})' if found['n'] < n else ''
  return ' '.join(filter(None, (form(found['mean']), interval, of)))


def _interval(found: Record, form: Form) -> str:
  return rf'\[{form(found["low"])}, {form(found["high"])}\]'


def _p(value: float) -> str:
  return f'{value:.2g}' if value >= 0.0001 else '< .0001'


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
  """A Markdown table of cells that are Markdown."""
  ruler = '| --- |' + ' ---: |' * (len(header) - 1)
  rows = ['| ' + ' | '.join(line) + ' |' for line in (header, *lines)]
  return '\n'.join([rows[0], ruler, *rows[1:]])
