"""Words for results, shared by the report, the summary and the status."""

from typing import Any

# Reasons to stop after which the same command goes on.
CONTINUABLE = ('stop_file', 'interrupted', 'sigterm', 'max_disk')
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


def headline(result: dict[str, Any]) -> str:
  """What was found and how sure it is, in one sentence.

  Args:
    result: content of result.json.
  """
  champion, metric = result['champion'], result['metric']
  baseline = result['baseline'][f'search_{metric}']
  if champion is None:
    failed = result['diverged'] + result['infeasible']
    if failed and failed == result['members']:
      return f'No champion: all {failed} members failed.'
    return f'No champion: {no_gain(result)}.'
  if champion['configuration'] == result['baseline']['configuration']:
    if result['finished'] > 1:
      return (
        f'No better champion than the baseline ({loss(baseline)} {metric}) was'
        f' found among {result["finished"]} finished members.'
      )
    return f'The baseline alone was trained: {loss(baseline)} {metric}.'
  if result['gain']:
    return _verdict(result['gain'], result)
  against = (
    '' if baseline is None else f', against {baseline:.4f} for the baseline'
  )
  return (
    f'Not confirmed, because {no_gain(result)}: the champion has'
    f' {champion[f"search_{metric}"]:.4f} {metric} on the search'
    f' split{against}.'
  )


def verified(
  result: dict[str, Any], improvements: dict[str, Any]
) -> str | None:
  """What a whole campaign showed, in a sentence or two; None without a headline.

  Args:
    result: content of result.json.
    improvements: content of improvements.json.
  """
  summary, metric = improvements['summary'], result['metric']
  found = summary['locked']
  if summary['locked_failed']:
    return (
      f'{headline(result)} On the locked split a run failed, so there is no gain'
      ' to tell.'
    )
  if not found:
    return None
  share = 100 * found['mean'] / abs(found['baseline'])
  low, high = found['low'], found['high']
  text = (
    f'Verified: {found["mean"]:+.4f} {metric} ({share:.1f}%) over the baseline'
    f' on the locked split (95% interval {interval(low, high)},'
    f' {found["n"]} fresh seeds)'
  )
  scale = summary['stack_at_scale']
  if scale and scale['effect'] is None:
    text += ', though a run failed at a larger scale'
  elif scale:
    text += (
      f', and {signed(-scale["effect"])}'
      f' {interval(-scale["high"], -scale["low"])} at a larger scale'
    )
  return f'{text}; {counts(summary)}; stopped, because' + (
    f' {reason(result["stop_reason"])}.'
  )


def locked_read(improvements: dict[str, Any]) -> bool:
  """Whether the locked split was read, which is done once and last."""
  summary = improvements['summary']
  return bool(summary['locked'] or summary.get('locked_failed'))


def counts(summary: dict[str, Any]) -> str:
  """How many changes got which verdict."""
  return (
    f'{summary["confirmed"]} confirmed, {summary["refuted"]} refuted and'
    f' {summary["undecided"]} undecided of'
    f' {count(summary["changes"], "change")} tried'
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


def no_gain(result: dict[str, Any]) -> str:
  """Why a result has no gain."""
  return _MISSING[result['gain_missing']]


def reason(stop_reason: str | None) -> str:
  """Why a run stopped, in words."""
  if stop_reason is None:
    return 'it is still running'
  return _REASONS.get(stop_reason, stop_reason)


def losses(result: dict[str, Any]) -> list[tuple[str, str, str]]:
  """(arm, loss on the search split, on the confirm split) of each arm."""
  splits, metric = ('search', 'confirm'), result['metric']
  return [
    (arm, *(loss(result[arm][f'{split}_{metric}']) for split in splits))
    for arm in ('baseline', 'champion')
    if result[arm]
  ]


def larger(flags: dict[str, Any]) -> str:
  """The bounds that a run has, doubled, as flags."""
  names = ('max_members', 'max_minutes', 'max_flops')
  given = [name for name in names if flags.get(name)]
  if not given:
    return '--max_members=N'
  if flags.get('max_members') == 1:
    return '--max_members=32'
  return ' '.join(f'--{name}={2 * flags[name]:.12g}' for name in given)


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


def loss(value: float | None) -> str:
  """A loss, or a dash."""
  return '-' if value is None else f'{value:.4f}'


def signed(value: float | None) -> str:
  """A difference, or a dash."""
  return '-' if value is None else f'{value:+.4f}'


def interval(low: float | None, high: float | None) -> str:
  """An interval of differences, or a dash."""
  if low is None or high is None:
    return '-'
  return f'[{low:+.4f}, {high:+.4f}]'


def short(value: Any, digits: int = 4) -> str:
  """A value with so many digits that count."""
  return f'{value:.{digits}g}' if isinstance(value, float) else str(value)
