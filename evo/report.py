"""The report of a campaign, in Markdown."""

from collections.abc import Sequence
from typing import Any

from evo import gate, verdicts, wording
from evo import markdown as markdown_lib
from evo import member as member_lib
from evo import pace as pace_lib
from evo import result as result_lib

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
  verified = wording.verified(result, improvements)
  parts = ['# Report', f'**{verified or wording.headline(result)}**']
  tested = not improvements['summary']['left_out']
  if tested:
    parts.append('![Claimed and verified gain over the compute](pace.png)')
    parts += _tested(rows, run, result, improvements)
  parts.append('![Best loss so far over the members tried](staircase.png)')
  if result['champion']:
    parts += ['## The champion', _changes(result, run)]
    if not tested:
      parts.append(verdicts.verdicts(improvements, run['metric']))
    parts.append('![Parameters of the champion and its ancestors](lineage.png)')
  parts += ['## How sure', _evidence(result, run)]
  if result['noise']:
    parts.append(_noise(result['noise'], result['metric']))
  parts += ['## Cost', _cost(result)]
  parts += ['## Failures', _failures(rows)]
  if damaged := result.get('damaged'):
    parts.append(
      f'{wording.count(damaged, "damaged checkpoint")} passed over: the rounds'
      ' after an older one were trained again, to the same records.'
    )
  parts += ['## Stopped', f'Because {wording.reason(result["stop_reason"])}.']
  parts += ['## Next', _next(result, run, improvements)]
  again = run['command'].replace(' --', ' \\\n  --')
  parts += [
    '## Reproduce',
    'Give another `--workdir` to run it anew; with this one the same command'
    ' goes on where the run stopped.',
    f'```\n{again}\n```',
    f'Data `{markdown_lib.code(result["data_digest"])}`'
    + ''.join(
      f', {name} {version}' for name, version in run['versions'].items()
    )
    + '.',
  ]
  return '\n\n'.join(parts) + '\n'


def _tested(
  rows: Sequence[Row],
  run: dict[str, Any],
  result: dict[str, Any],
  improvements: dict[str, Any],
) -> list[str]:
  """What the verification of the changes came to."""
  metric = run['metric']
  pace = verdicts.pace(pace_lib.pace(rows, run), improvements, result, metric)
  parts = ['## What changed', verdicts.verdicts(improvements, metric)]
  parts += ['## When, and where', pace]
  commands = verdicts.commands(improvements, run)
  return [*parts, '## Use it', commands] if commands else parts


def _changes(result: dict[str, Any], run: dict[str, Any]) -> str:
  changed = result_lib.changes(result, run)
  if not changed:
    return 'Nothing: the champion has the configuration of the baseline.'
  tiers = {n: p['tier'] for n, p in run['space']['parameters'].items()}
  table = markdown_lib.table(
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
  return f'{table}\n\n{note}'


def _evidence(result: dict[str, Any], run: dict[str, Any]) -> str:
  metric = result['metric']
  header = ('', f'search {metric}', f'confirm {metric}')
  text = (
    markdown_lib.table(header, wording.losses(result)) + '\n\nLower is better. '
  )
  if result['gain'] is None:
    return text + f'There is no gain: {wording.no_gain(result)}.'
  looks = gate.looks(run['flags']['confirm_seeds'])
  kind = 'Student t'
  if len(looks) > 1:
    ways = ', '.join(map(str, looks))
    kind = f'a repeated one, which pays for looking after {ways} pairs'
  return text + (
    'The search figure of the champion is the best of many and so flatters it;'
    f' the confirm figures are means over {result["gain"]["n"]} seeds that the'
    ' search did not use, on text that it did not read. Both arms share each'
    ' seed, so the interval is that of paired differences'
    f' ({kind}).'
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
    markdown_lib.table(('cost', ''), lines)
    + f'\n\nTokens and FLOPs include all verification. {counts}'
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
  text += markdown_lib.table(
    ('member', 'phase', 'status', 'after steps'), listed
  )
  if len(failed) > _MOST_FAILURES:
    more = len(failed) - _MOST_FAILURES
    text += f'\n\nAnd {more} more, in `ledger.csv`.'
  return text


def _next(
  result: dict[str, Any], run: dict[str, Any], improvements: dict[str, Any]
) -> str:
  """What to do now, the most useful first."""
  workdir, gain = markdown_lib.code(run['flags']['workdir']), result['gain']
  if result['stop_reason'] in wording.CONTINUABLE:
    return '- Start the same command again: it goes on where it stopped.'
  if not result['members']:
    larger = wording.larger(run['flags'])
    return (
      f'- Give it a larger bound, which leaves room for a search: `{larger}`.'
    )
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
  further = (
    'Search on with a larger bound: the same command with'
    f' `{wording.larger(run["flags"])}`. It confirms again when it ends.'
  )
  if wording.locked_read(improvements):
    # Read once: with a second look it would be no headline.
    further = 'Begin a further campaign in another `--workdir`, on other text.'
  steps += [
    f'Read what it writes: `python -m launch.sample --workdir={workdir}`.',
    further,
    'Use `champion/configuration.json` and `champion/weights/`.',
  ]
  return '\n'.join(f'- {step}' for step in steps)
