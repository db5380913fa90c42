"""What a person reads when a campaign has ended."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from evo import member as member_lib
from evo import plots
from evo import space as space_lib

Row = dict[str, Any]

_REASONS = {
  'done': 'the strategy had nothing more to try',
  'max_members': 'the bound on members was reached (--max_members)',
  'max_minutes': 'the bound on time was reached (--max_minutes)',
  'max_flops': 'the bound on FLOPs was reached (--max_flops)',
  'max_disk': 'the bound on storage was reached (--max_disk_gb)',
  'stop_file': 'a file named STOP was found in the workdir',
  'interrupted': 'it was interrupted (Ctrl-C)',
  'sigterm': 'the machine asked for it (SIGTERM)',
}
_MISSING = {
  'no member finished': 'no member reached the end of its budget',
  'left out': 'no confirmation was run',
  'champion changed': 'a better member was found after the last confirmation',
  'unfinished': 'the confirmation has not ended',
  'run failed': 'a run of the confirmation failed',
  'one seed': 'one seed gives no interval',
}
_SPLITS = ('search', 'confirm')
_CONTINUABLE = ('stop_file', 'interrupted', 'sigterm', 'max_disk')


def markdown(
  result: dict[str, Any], rows: Sequence[Row], run: dict[str, Any]
) -> str:
  """The content of report.md; its paths are relative to the workdir.

  Args:
    result: content of result.json.
    rows: of `result.leg_rows`.
    run: content of run.json.
  """
  parts = ['# Report', f'**{headline(result)}**']
  parts.append('![Best loss so far over the members tried](staircase.png)')
  if result['champion']:
    parts += ['## What changed', _changes(result, run)]
    parts.append('![Parameters of the champion and its ancestors](lineage.png)')
  parts += ['## How sure', _evidence(result)]
  parts += ['## Cost', _cost(result)]
  parts += ['## Failures', _failures(rows)]
  parts += ['## Stopped', f'Because {reason(result["stop_reason"])}.']
  parts += ['## Next', _bullets(_next_steps(result, run))]
  again = run['command'].replace(' --', ' \\\n  --')
  parts += [
    '## Reproduce',
    'Give another `--workdir` to run it anew; with this one the same command'
    ' goes on where the run stopped.',
    f'```\n{again}\n```',
    f'Data `{code(result["data_digest"])}`'
    + ''.join(
      f', {name} {version}' for name, version in run['versions'].items()
    )
    + '.',
  ]
  return '\n\n'.join(parts) + '\n'


def summary(result: dict[str, Any], run: dict[str, Any]) -> str:
  """At most 24 lines of 80 columns for a terminal."""
  lines = textwrap.wrap(headline(result), 80) + ['']
  champion, metric = result['champion'], result['metric']
  if champion:
    lines.append(
      f'{"":16}{"search":>10}{"confirm":>10}  {metric}, lower is better'
    )
    for arm in ('baseline', 'champion'):
      losses = [result[arm][f'{split}_{metric}'] for split in _SPLITS]
      lines.append(f'{arm:16}' + ''.join(f'{_loss(x):>10}' for x in losses))
    changed = changes(result, run)
    shown = [
      f'{name}: {plots.short(before)} -> {plots.short(after)}'
      for name, before, after in changed[:6]
    ]
    shown += [f'and {len(changed) - 6} more'] * (len(changed) > 6)
    if shown:
      lines += ['', *('  ' + textwrap.shorten(line, 78) for line in shown)]
    lines.append('')
  lines += textwrap.wrap(_cost_sentence(result), 80)
  lines.append(f'Stopped: {reason(result["stop_reason"])}.')
  lines.append('')
  return '\n'.join((lines + _next_lines(result, run))[:24])


def headline(result: dict[str, Any]) -> str:
  """What was found and how sure it is, in one sentence."""
  champion, metric = result['champion'], result['metric']
  baseline = result['baseline'][f'search_{metric}']
  if champion is None:
    failed = result['diverged'] + result['infeasible']
    if failed and failed == result['members']:
      return f'No champion: all {failed} members failed.'
    return f'No champion: {_MISSING["no member finished"]}.'
  if champion['configuration'] == result['baseline']['configuration']:
    if result['finished'] > 1:
      return (
        f'Nothing better than the baseline ({_loss(baseline)} {metric}) was'
        f' found among {result["finished"]} finished members.'
      )
    return f'The baseline alone was trained: {_loss(baseline)} {metric}.'
  if result['gain']:
    return _verdict(result['gain'], result)
  against = (
    '' if baseline is None else f', against {baseline:.4f} for the baseline'
  )
  return (
    f'Not confirmed, because {_MISSING[result["gain_missing"]]}: the best'
    f' member has {champion[f"search_{metric}"]:.4f} {metric} on the search'
    f' split{against}.'
  )


def _verdict(gain: dict[str, float], result: dict[str, Any]) -> str:
  """What a confirmation says, in one sentence."""
  metric = result['metric']
  interval = (
    f'95% interval [{gain["low"]:+.4f}, {gain["high"]:+.4f}], {gain["n"]} fresh'
    ' seeds'
  )
  if gain['low'] > 0:
    share = gain['mean'] / abs(result['baseline'][f'confirm_{metric}'])
    return (
      f'The champion improves on the baseline by {gain["mean"]:.4f} {metric}'
      f' ({100 * share:.1f}%; {interval}), trained from scratch.'
    )
  if gain['high'] < 0:
    return (
      f'The champion is worse than the baseline by {-gain["mean"]:.4f} {metric}'
      f' when trained from scratch (gain {gain["mean"]:+.4f}, {interval}).'
    )
  return (
    f'No improvement was shown: trained from scratch the champion gains'
    f' {gain["mean"]:+.4f} {metric}, and the {interval}, does not exclude zero.'
  )


def changes(
  result: dict[str, Any], run: dict[str, Any]
) -> list[tuple[str, Any, Any]]:
  """(parameter, before, after) of the champion, largest change first.

  Sizes are compared on the parameters' scales, as shares of their ranges.
  """
  space = space_lib.Space.from_json(run['space'])
  before = result['baseline']['configuration']
  after = result['champion']['configuration']

  def size(name: str) -> float:
    unit = space.by_name[name].unit
    return abs(unit(after[name]) - unit(before[name]))

  names = [name for name in space.by_name if after[name] != before[name]]
  names.sort(key=size, reverse=True)
  return [(name, before[name], after[name]) for name in names]


def reason(stop_reason: str | None) -> str:
  """Why a run stopped, in words."""
  if stop_reason is None:
    return 'it is still running'
  return _REASONS.get(stop_reason, stop_reason)


def count(number: int, noun: str) -> str:
  """A number of things, in words that agree."""
  return f'{number:,} {noun}' + 's' * (number != 1)


def duration(seconds: float) -> str:
  """A time for people: seconds, minutes, or hours and minutes."""
  if seconds < 60:
    return f'{seconds:.0f} s'
  if seconds < 5400:
    return f'{seconds / 60:.1f} min'
  hours, minutes = divmod(round(seconds / 60), 60)
  return f'{hours} h {minutes:02d} min'


def cell(value: Any) -> str:
  """Text from outside, so that it is only text in a Markdown table."""
  text = ' '.join(plots.short(value).split())
  text = text.replace('&', '&amp;').replace('<', '&lt;')
  return re.sub(r'([\\`*_\[\]|~$])', r'\\\1', text)


def code(text: str) -> str:
  """Text from outside, so that it can stand between backticks."""
  return ' '.join(str(text).replace('`', "'").split())


def _changes(result: dict[str, Any], run: dict[str, Any]) -> str:
  changed = changes(result, run)
  if not changed:
    return 'Nothing: the champion has the configuration of the baseline.'
  tiers = {n: p['tier'] for n, p in run['space']['parameters'].items()}
  table = _table(
    ('parameter', 'tier', 'baseline', 'champion'),
    [(name, tiers[name], before, after) for name, before, after in changed],
  )
  note = 'Sorted by the size of the change, as a share of the range searched.'
  if 'schedule' in result['champion']:
    pieces = len(result['champion']['schedule'])
    note += (
      f' The champion is a schedule of {pieces} pieces; the table shows the'
      ' last one, `result.json` all of them.'
    )
  untested = (
    'Which of the changes matter (ablation), and whether they hold for a larger'
    ' model (transfer), was left out.'
  )
  return f'{table}\n\n{note} {untested}'


def _evidence(result: dict[str, Any]) -> str:
  metric = result['metric']
  header = ('', f'search {metric}', f'confirm {metric}')
  lines = [
    (arm, *(_loss(result[arm][f'{split}_{metric}']) for split in _SPLITS))
    for arm in ('baseline', 'champion')
    if result[arm]
  ]
  text = _table(header, lines) + '\n\nLower is better. '
  if result['gain'] is None:
    return text + f'There is no gain: {_MISSING[result["gain_missing"]]}.'
  return text + (
    'The search figure of the champion is the best of many and so flatters it;'
    f' the confirm figures are means over {result["gain"]["n"]} seeds that the'
    ' search did not use, on text that it did not read. Both arms share each'
    ' seed, so the interval is that of paired differences (Student t).'
  )


def _cost(result: dict[str, Any]) -> str:
  seconds = result['seconds']
  kinds = ('training', 'evaluating', 'compiling')
  spent = [(kind, result[f'seconds_{kind}']) for kind in kinds]
  spent.append(('other', max(0.0, seconds - sum(s for _, s in spent))))
  lines = [
    ('members started', f'{result["members"]:,}'),
    ('members finished', f'{result["finished"]:,}'),
    ('tokens', f'{result["tokens"]:,}'),
    ('FLOPs', f'{result["flops"]:.3g}'),
    ('time', duration(seconds)),
  ]
  lines += [
    (f'of these {kind}', f'{100 * s / seconds:.0f}%' if seconds else '-')
    for kind, s in spent
  ]
  counts = (
    f'{result["compilations"]} programs compiled,'
    f' {result["compilations_cached"]} read from the cache.'
  )
  return (
    _table(('cost', ''), lines)
    + f'\n\nTokens and FLOPs include the confirmation. {counts}'
  )


def _failures(rows: Sequence[Row]) -> str:
  failed = [
    row
    for row in rows
    if row['status'] in (member_lib.DIVERGED, member_lib.INFEASIBLE)
  ]
  if not failed:
    return 'None.'
  listed = [
    (row['member'], row['phase'], row['status'], row['lineage_step'])
    for row in failed[:10]
  ]
  text = f'{count(len(failed), "run")} failed.\n\n'
  text += _table(('member', 'phase', 'status', 'after steps'), listed)
  if len(failed) > 10:
    text += f'\n\nAnd {len(failed) - 10} more, in `ledger.csv`.'
  return text


def _next_steps(result: dict[str, Any], run: dict[str, Any]) -> list[str]:
  """What to do now, the most useful first; Markdown."""
  workdir = code(run['flags']['workdir'])
  if result['stop_reason'] in _CONTINUABLE:
    return ['Start the same command again: it goes on where it stopped.']
  if result['champion'] is None:
    return [
      'Every member failed. Narrow the ranges of the space, the learning rate'
      ' first, or check the baseline with `--max_members=1` and another'
      ' `--workdir`.'
    ]
  steps = []
  gain = result['gain']
  if gain and gain['low'] <= 0 <= gain['high']:
    steps.append(
      'Give members a larger budget (`--member_tokens`) or the confirmation'
      ' more seeds (`--confirm_seeds`), in another `--workdir`: this interval'
      ' is wider than the effect.'
    )
  steps.append(
    f'Read what it writes: `python -m launch.sample --workdir={workdir}`.'
  )
  steps.append(
    f'Search on with a larger bound: the same command with'
    f' `{_larger(run["flags"])}`. It confirms again when it ends.'
  )
  steps.append('Use `champion/configuration.json` and `champion/weights/`.')
  return steps


def _next_lines(result: dict[str, Any], run: dict[str, Any]) -> list[str]:
  """What to do now, for the terminal."""
  workdir = run['flags']['workdir']
  lines = [('report', f'{workdir}/report.md')]
  if result['stop_reason'] in _CONTINUABLE:
    lines.append(('go on', 'start the same command again'))
  else:
    if result['champion'] is None:
      lines.append(('then', 'narrow the space: every member failed'))
      return _aligned(lines)
    lines.append(('sample', f'python -m launch.sample --workdir={workdir}'))
    lines.append(('search on', f'the same command, {_larger(run["flags"])}'))
  return _aligned(lines)


def _aligned(lines: Iterable[tuple[str, str]]) -> list[str]:
  return [f'{name:12}{text}' for name, text in lines]


def _larger(flags: dict[str, Any]) -> str:
  """The bounds that a run has, doubled, as flags."""
  names = ('max_members', 'max_minutes', 'max_flops')
  given = [name for name in names if flags.get(name)]
  if not given:
    return '--max_members=N'
  if flags.get('max_members') == 1:
    return '--max_members=32'
  return ' '.join(f'--{name}={2 * flags[name]:.12g}' for name in given)


def _cost_sentence(result: dict[str, Any]) -> str:
  seconds = result['seconds']
  share = 100 * result['seconds_training'] / seconds if seconds else 0
  failed = result['diverged'] + result['infeasible']
  return (
    f'{count(result["members"], "member")}, {failed} failed;'
    f' {result["tokens"]:,} tokens, {result["flops"]:.3g} FLOPs,'
    f' {duration(seconds)}, {share:.0f}% of it training.'
  )


def _loss(value: float | None) -> str:
  return '-' if value is None else f'{value:.4f}'


def _bullets(lines: Iterable[str]) -> str:
  return '\n'.join(f'- {line}' for line in lines)


def _table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
  """A Markdown table; its cells are escaped."""
  rows = ['| ' + ' | '.join(map(cell, line)) + ' |' for line in lines]
  ruler = '|' + ' --- |' * len(header)
  return '\n'.join(['| ' + ' | '.join(map(cell, header)) + ' |', ruler, *rows])
