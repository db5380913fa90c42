"""The report of a campaign, in Markdown."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from evo import member as member_lib
from evo import result as result_lib
from evo import wording

Row = dict[str, Any]

_MOST_FAILURES = 10


def markdown(
  result: dict[str, Any],
  rows: Sequence[Row],
  run: dict[str, Any],
  improvements: dict[str, Any],
) -> str:
  """The content of report.md; its paths are relative to the workdir.

  Args:
    result: content of result.json.
    rows: of `rows.leg_rows`.
    run: content of run.json.
    improvements: content of improvements.json.
  """
  parts = ['# Report', f'**{wording.headline(result)}**']
  parts.append('![Best loss so far over the members tried](staircase.png)')
  if result['champion']:
    parts += ['## What changed', _changes(result, run, improvements)]
    parts.append('![Parameters of the champion and its ancestors](lineage.png)')
  parts += ['## How sure', _evidence(result)]
  if result['noise']:
    parts.append(_noise(result['noise'], result['metric']))
  parts += ['## Cost', _cost(result)]
  parts += ['## Failures', _failures(rows)]
  parts += ['## Stopped', f'Because {wording.reason(result["stop_reason"])}.']
  parts += ['## Next', _next(result, run)]
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


def cell(value: Any) -> str:
  """Text from outside, so that it is only text in a Markdown table."""
  text = ' '.join(wording.short(value).split())
  text = text.replace('&', '&amp;').replace('<', '&lt;')
  return re.sub(r'([\\`*_\[\]|~$])', r'\\\1', text)


def code(text: str) -> str:
  """Text from outside, so that it can stand between backticks."""
  return ' '.join(str(text).replace('`', "'").split())


def _changes(
  result: dict[str, Any], run: dict[str, Any], improvements: dict[str, Any]
) -> str:
  changed = result_lib.changes(result, run)
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
  return f'{table}\n\n{note}\n\n{_verdicts(improvements, result["metric"])}'


def _verdicts(improvements: dict[str, Any], metric: str) -> str:
  """What the ablation says of each change."""
  summary = improvements['summary']
  if summary['left_out']:
    return (
      'Which of the changes matter (ablation), and whether they hold for a'
      ' larger model (transfer), was left out.'
    )
  table = _table(
    ('parameter', 'verdict', f'effect ({metric})', '95% interval', 'pairs')
    + ('p adjusted', 'alone', 'at scale'),
    [
      (
        x['parameter'],
        x['verdict'],
        wording.signed(x['effect']),
        wording.interval(x['low'], x['high']),
        x['n'],
        '-' if x['p_adjusted'] is None else f'{x["p_adjusted"]:.2g}',
        wording.signed(x['add_one_in']['effect']),
        wording.signed(x['at_scale'] and x['at_scale']['effect']),
      )
      for x in improvements['improvements']
    ],
  )
  counts = (
    f'{summary["confirmed"]} of {wording.count(summary["changes"], "change")}'
    f' confirmed, {summary["refuted"]} refuted, {summary["undecided"]}'
    ' undecided.'
  )
  note = (
    'Effect: the loss with the change minus that without it, all others in'
    ' place, over pairs from scratch on fresh seeds; negative is better.'
    ' Confirmed: the whole passed the gate, and p, adjusted by Benjamini and'
    f' Hochberg, is at most {summary["level"]}. Refuted: the interval leaves'
    ' nothing worth having. Alone: the change made to the baseline.'
  )
  if summary['sum_of_single_effects'] is not None:
    note += (
      f' The single effects add up to {summary["sum_of_single_effects"]:+.4f}'
      f' {metric}, the whole has {summary["stack_effect"]:+.4f}.'
    )
  stack = summary['stack_at_scale']
  if stack is None:
    note += ' Whether they hold for a larger model (transfer) was left out.'
  else:
    note += (
      ' At scale: the same at a larger scale, over three pairs; there the'
      f' confirmed changes together have {wording.signed(stack["effect"])}'
      f' {wording.interval(stack["low"], stack["high"])} {metric} over'
      f' {stack["n"]} pairs.'
    )
  return f'**{counts}**\n\n{table}\n\n{note}'


def _evidence(result: dict[str, Any]) -> str:
  metric = result['metric']
  header = ('', f'search {metric}', f'confirm {metric}')
  text = _table(header, wording.losses(result)) + '\n\nLower is better. '
  if result['gain'] is None:
    return text + f'There is no gain: {wording.no_gain(result)}.'
  return text + (
    'The search figure of the champion is the best of many and so flatters it;'
    f' the confirm figures are means over {result["gain"]["n"]} seeds that the'
    ' search did not use, on text that it did not read. Both arms share each'
    ' seed, so the interval is that of paired differences (Student t).'
  )


def _noise(noise: dict[str, Any], metric: str) -> str:
  """What the calibration measured, and what noise alone would have found."""
  text = (
    f'Noise: over {noise["n"]} seeds the baseline has'
    f' {noise["mean"]:.4f} {metric} with an sd of {noise["sd"]:.4f}, which is'
    ' taken for the smallest gain worth having.'
  )
  if noise['sd_paired'] is None:
    return text
  null = noise['null']
  return text + (
    ' Two runs of one seed whose configurations differ by as good as nothing'
    f' differ with an sd of {noise["sd_paired"]:.4f}. Were no configuration'
    ' better than any other, a rule that keeps whatever is the best so far'
    f' would have kept about {null["kept"]:.1f} of {null["members"]} members as'
    f' improvements, and reported a gain of {null["gain"]:.4f}.'
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
    ('time', wording.duration(seconds)),
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
    for row in failed[:_MOST_FAILURES]
  ]
  text = f'{wording.count(len(failed), "run")} failed.\n\n'
  text += _table(('member', 'phase', 'status', 'after steps'), listed)
  if len(failed) > _MOST_FAILURES:
    more = len(failed) - _MOST_FAILURES
    text += f'\n\nAnd {more} more, in `ledger.csv`.'
  return text


def _next(result: dict[str, Any], run: dict[str, Any]) -> str:
  """What to do now, the most useful first."""
  workdir, gain = code(run['flags']['workdir']), result['gain']
  if result['stop_reason'] in wording.CONTINUABLE:
    return '- Start the same command again: it goes on where it stopped.'
  if result['champion'] is None:
    return (
      '- Every member failed. Narrow the ranges of the space, the learning rate'
      ' first, or check the baseline with `--max_members=1` and another'
      ' `--workdir`.'
    )
  wider = (
    'Give members a larger budget (`--member_tokens`) or the confirmation'
    ' more seeds (`--confirm_seeds`), in another `--workdir`: this interval'
    ' is wider than the effect.'
  )
  steps = [wider] if gain and gain['low'] <= 0 <= gain['high'] else []
  steps += [
    f'Read what it writes: `python -m launch.sample --workdir={workdir}`.',
    'Search on with a larger bound: the same command with'
    f' `{wording.larger(run["flags"])}`. It confirms again when it ends.',
    'Use `champion/configuration.json` and `champion/weights/`.',
  ]
  return '\n'.join(f'- {step}' for step in steps)


def _table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
  """A Markdown table; its cells are escaped."""
  rows = ['| ' + ' | '.join(map(cell, line)) + ' |' for line in lines]
  ruler = '|' + ' --- |' * len(header)
  return '\n'.join(['| ' + ' | '.join(map(cell, header)) + ' |', ruler, *rows])
