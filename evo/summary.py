"""What the terminal shows when a campaign has ended."""

import textwrap
from typing import Any

from evo import result as result_lib
from evo import wording

_MOST_CHANGES = 6


def summary(
  result: dict[str, Any],
  run: dict[str, Any],
  improvements: dict[str, Any] | None = None,
) -> str:
  """At most 24 lines of 80 columns.

  Args:
    result: content of result.json.
    run: content of run.json.
    improvements: content of improvements.json.
  """
  verified = improvements and wording.verified(result, improvements)
  lines = [*textwrap.wrap(verified or wording.headline(result), 80), '']
  if result['champion']:
    header = f'{"":16}{"search":>10}{"confirm":>10}  '
    lines.append(f'{header}{result["metric"]}, lower is better')
    for arm, search, confirm in wording.losses(result):
      lines.append(f'{arm:16}{search:>10}{confirm:>10}')
    lines += [*_changes(result, run), '']
  lines += textwrap.wrap(_cost(result), 80)
  lines += [f'Stopped: {wording.reason(result["stop_reason"])}.', '']
  lines += [
    f'{name:12}{text}' for name, text in _next(result, run, improvements)
  ]
  return '\n'.join(lines[:24])


def _changes(result: dict[str, Any], run: dict[str, Any]) -> list[str]:
  """The champion's largest changes, after an empty line."""
  changed = result_lib.changes(result, run)
  lines = [
    f'{name}: {wording.short(before)} -> {wording.short(after)}'
    for name, before, after in changed[:_MOST_CHANGES]
  ]
  if len(changed) > _MOST_CHANGES:
    lines.append(f'and {len(changed) - _MOST_CHANGES} more')
  indented = ['  ' + textwrap.shorten(line, 78) for line in lines]
  return ['', *indented] if lines else []


def _cost(result: dict[str, Any]) -> str:
  seconds = result['seconds']
  share = 100 * result['seconds_training'] / seconds if seconds else 0
  failed = result['diverged'] + result['infeasible']
  return (
    f'{wording.count(result["members"], "member")}, {failed} failed;'
    f' {result["tokens"]:,} tokens, {result["flops"]:.3g} FLOPs,'
    f' {wording.duration(seconds)}, {share:.0f}% of it training.'
  )


def _next(
  result: dict[str, Any],
  run: dict[str, Any],
  improvements: dict[str, Any] | None,
) -> list[tuple[str, str]]:
  """What to do now."""
  workdir = run['flags']['workdir']
  read = ('report', f'{workdir}/report.md')
  if result['stop_reason'] in wording.CONTINUABLE:
    return [read, ('go on', 'start the same command again')]
  if not result['members']:
    return [read, ('then', 'a larger bound: it left no room for a search')]
  if result['champion'] is None:
    return [read, ('then', 'narrow the space: every member failed')]
  further = ('search on', f'the same command, {wording.larger(run["flags"])}')
  if improvements and wording.locked_read(improvements):
    further = ('search on', 'in another --workdir: the locked split was read')
  sample = ('sample', f'python -m launch.sample --workdir={workdir}')
  return [read, sample, further]
