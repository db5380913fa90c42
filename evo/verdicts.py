"""The part of a report that is about changes: verdicts, pace, tiers, scale."""

import shlex
from collections.abc import Sequence
from typing import Any

from evo import ablation, wording
from evo import markdown as markdown_lib
from evo import pace as pace_lib

Record = dict[str, Any]

_LEFT_OUT = (
  'Which of the changes matter (ablation), and whether they hold for a larger'
  ' model (transfer), was left out.'
)
_UNTESTED = {
  'no gate passed': 'No champion passed the gate, so none of its changes was'
  ' tested one by one.',
  'no room': 'The bounds left no room to test the changes one by one.',
}
_TOLD = (1, 5, 10)


def verdicts(improvements: Record, metric: str) -> str:
  """A table of all changes that were put to the test, and how to read it.

  Args:
    improvements: content of improvements.json.
    metric: name of the loss.
  """
  summary = improvements['summary']
  if summary['left_out']:
    return _LEFT_OUT
  header = ('parameter', 'tier', 'cycle', 'before', 'after', 'screen')
  header += (f'effect ({metric})', '95% interval', 'pairs', 'p adjusted')
  header += ('alone', 'at scale', 'verdict', 'kept')
  table = markdown_lib.table(header, map(_line, improvements['improvements']))
  parts = [f'**{_capital(wording.counts(summary))}.**']
  if summary['untested']:
    parts.append(_UNTESTED[summary['untested']])
  parts += [table, _note(summary)] if improvements['improvements'] else []
  return '\n\n'.join(parts)


def pace(
  found: pace_lib.Pace, improvements: Record, result: Record, metric: str
) -> str:
  """Tables of what came when, and in which tier.

  Args:
    found: pace of the campaign.
    improvements: content of improvements.json.
    result: content of result.json.
    metric: name of the loss.
  """
  quarters = found.quarters()
  lines = ('verified', 'screen', 'null')
  names = [name for name in lines if name in quarters[0]]
  parts = [
    markdown_lib.table(
      ('share of the compute', *(f'{name} gain ({metric})' for name in names)),
      [
        (f'{100 * q["share"]:.0f}%', *(wording.signed(q[n]) for n in names))
        for q in quarters
      ],
    ),
    'Verified: the gain over the first baseline, on the fresh seeds of the last'
    ' gate by then, of what had been kept; of a champion with all its changes.'
    ' Screen: what keeping the best so far would claim. Null: what that would'
    ' claim if nothing were better than anything.',
    _cycles(improvements['summary']['cycles'], metric),
    _tiers(pace_lib.tiers(improvements['improvements']), metric),
  ]
  if saved := improvements['summary']['early_stopping']:
    parts.append(
      f'Gates and ablations took {saved["runs"]} runs; without looking early they'
      f' would have taken {saved["fixed"]}: {100 * saved["saved"]:.0f}% were saved.'
    )
  seconds = result.get('seconds_to_confirmed') or {}
  if said := [
    f'the {_ordinal(n)} after {wording.duration(seconds[str(n)])}'
    for n in _TOLD
    if seconds.get(str(n)) is not None
  ]:
    parts.append(f'Confirmed changes: {", ".join(said)}.')
  return '\n\n'.join(parts)


def commands(improvements: Record, run: Record) -> str | None:
  """How to train with the stack and to test each change of it again."""
  if improvements['summary']['stack'] is None:
    return None
  flags = run['flags']
  own = ('data', 'tokenizer', 'splits', 'evaluation_tokens', 'space')
  own += ('member_tokens', 'member_flops', 'segments')

  def quoted(name: str) -> str:
    value = flags[name]
    text = ','.join(map(str, value)) if isinstance(value, list) else value
    return shlex.quote(markdown_lib.code(text))

  folder = quoted('workdir')
  given = [
    f'--{name}={quoted(name)}'
    for name in own
    if flags.get(name) not in (None, '')
  ]
  train = ' \\\n  '.join(
    ['python -m launch.train', f'--configuration={folder}/stack.json', *given]
  )
  return (
    'Train with what is left of the changes, at any budget and on any text'
    ' (`--member_tokens`, `--data`):\n\n'
    f'```\n{train} \\\n  --workdir={folder}/trained\n```\n\n'
    'Test one change again, on new seeds, the others in place:\n\n'
    f'```\n{train} \\\n  --against={folder}/without/PARAMETER.json'
    f' --seeds=6 \\\n  --workdir={folder}/again/PARAMETER\n```'
  )


def _line(x: Record) -> Sequence[Any]:
  return (
    x['parameter'],
    x['tier'],
    x['cycle'],
    x['before'],
    x['after'],
    wording.signed(x['screen']),
    wording.signed(x['effect']),
    wording.interval(x['low'], x['high']),
    x['n'],
    '-' if x['p_adjusted'] is None else f'{x["p_adjusted"]:.2g}',
    wording.signed(x['add_one_in']['effect']),
    _scale(x['at_scale']),
    x['verdict'],
    'yes' if x['kept'] else 'no',
  )


def _scale(found: Record | None) -> str:
  """An effect at the larger scale, and whether its sign is clear there."""
  if not found:
    return '-'
  sign = found['sign'] or 'mixed'
  return f'{wording.signed(found["effect"])} ({sign})'


def _note(summary: Record) -> str:
  """How to read the table."""
  note = (
    'Effect: the loss with the change minus that without it, all others in'
    ' place, over pairs from scratch on fresh seeds; negative is better.'
    ' Confirmed: the whole passed the gate, and p, adjusted by Benjamini and'
    f' Hochberg, is at most {summary["level"]}. Refuted: the interval leaves'
    ' nothing worth having. Screen: what the search saw when the change came'
    ' in, with whatever came with it. Alone: the change made to the baseline of'
    ' its cycle. Kept: it is part of the stack; what carries nothing was put'
    ' back.'
  )
  stack = summary['stack_at_scale']
  if stack is None:
    return note + ' Whether it holds at a larger scale (transfer) was left out.'
  return note + (
    ' At scale: left out of the stack there, over three pairs; `same` where'
    ' each of them gains. The whole stack has'
    f' {wording.signed(stack["effect"])}'
    f' {wording.interval(stack["low"], stack["high"])} there, over'
    f' {stack["n"]} pairs.'
  )


def _cycles(cycles: Sequence[Record], metric: str) -> str:
  header = ('cycle', 'gate', f'verified gain ({metric})', '95% interval')
  header += (
    'total',
    'FLOPs',
    'gain per EFLOP',
    'members',
    'greedy',
    'confirmed',
    'kept',
  )
  header += ('sum of single gains',)
  lines = [
    (
      c['cycle'],
      _gate(c),
      wording.signed(c['gain'] and c['gain']['mean']),
      _interval(c['gain']),
      wording.signed(c['total'] and c['total']['mean']),
      f'{c["flops"]:.3g}',
      '-' if c['gain'] is None else f'{c["gain_per_exaflop"]:.3g}',
      c['members'],
      c['greedy_kept'],
      f'{c["confirmed"]} of {c["changes"]}',
      c['kept'],
      wording.signed(c['sum_of_single_gains']),
    )
    for c in cycles
  ]
  return markdown_lib.table(header, lines) + (
    '\n\nA cycle starts from what the one before it kept, and its gain is over'
    ' that. Gate: each champion is put to it once, at .05; of several the last'
    ' that passed counts. Total: of what is kept, over the first baseline, on the seeds of the'
    ' same gate. Greedy: members that a rule would have kept as improvements'
    ' that keeps the best so far. Where the sum of single gains is larger than'
    " the gain, changes do each other's work; where it is smaller, they need"
    ' each other.'
  )


def _gate(cycle: Record) -> str:
  if not cycle['gates']:
    return '-'
  said = 'passed' if cycle['passed'] else 'not passed'
  return said if cycle['gates'] == 1 else f'{said}, of {cycle["gates"]}'


def _interval(gain: Record | None) -> str:
  return wording.interval(gain['low'], gain['high']) if gain else '-'


def _tiers(found: Sequence[Record], metric: str) -> str:
  header = ('tier', 'changes', *ablation.VERDICTS)
  lines = [
    (x['tier'], x['changes'], *(x[v] for v in ablation.VERDICTS))
    + (wording.signed(x['gain']),)
    for x in found
  ]
  return markdown_lib.table(
    (*header, f'gain of the confirmed ({metric})'), lines
  )


def _ordinal(number: int) -> str:
  return {1: 'first', 5: 'fifth', 10: 'tenth'}[number]


def _capital(text: str) -> str:
  return text[:1].upper() + text[1:]
