"""Says where a run stands, while it runs or after. Only reads.

python -m launch.status --workdir=runs/quick
"""

import dataclasses
import itertools
import time
from typing import Any

from absl import flags
from etils import epath

from evo import ledger as ledger_lib
from evo import record as record_lib
from evo import result as result_lib
from evo import rows as rows_lib
from evo import wording
from launch import cli, description, files, owner

Record = dict[str, Any]

# Ledgers of the runs at a larger scale; `evo.transfer` itself needs JAX.
_LARGER = 'transfer/*/ledger'

# A run that is silent for this many of its longest rounds, and for at least
# this many seconds, is taken for dead.
_SILENT_ROUNDS = 10
_SILENT_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Run:
  """What a workdir holds.

  Attributes:
    run: content of run.json.
    records: of the ledger.
    events: of events.jsonl.
    result: as result.json would be now.
    rows: of the ledger's legs.
    holder: the process that holds the workdir, if there is one.
  """

  run: Record
  records: list[Record]
  events: list[Record]
  result: Record
  rows: list[Record]
  holder: owner.Holder | None = None


def read(workdir: epath.PathLike) -> Run:
  """Reads a workdir, which may be written to meanwhile.

  Raises:
    ValueError: it is none, or its ledger is damaged.
  """
  folder = epath.Path(workdir)
  files.check_kinds(folder)
  if not (folder / 'run.json').exists():
    raise ValueError(f'workdir is {workdir}; expected a folder with run.json')
  run = description.read_search(
    workdir,
    f'workdir is {workdir}, which holds no search; expected a search, such as'
    ' those of a comparison in its folder runs',
  )
  records = _records(folder / 'ledger', run)
  events = ledger_lib.Events(folder / 'events.jsonl').read()
  stop = events[-1] if events and events[-1]['event'] == 'stop' else {}
  result = result_lib.result(
    records,
    run,
    spent={},
    stop_reason=stop.get('reason'),
    larger=[
      row
      for path in folder.glob(_LARGER)
      for row in rows_lib.leg_rows(_records(path, run), run)
    ],
  )
  rows = rows_lib.leg_rows(records, run)
  holder = owner.read(folder)
  return Run(run, records, events, result, rows, holder)


def _records(folder: epath.Path, run: Record) -> list[Record]:
  """Of a ledger, which may be another's."""
  records = ledger_lib.Ledger(folder).records
  record_lib.check(records, run['segments'])
  return records


def describe(state: Run, now: float) -> str:
  """Where a run stands, in about ten lines.

  Args:
    state: of the run.
    now: seconds since the epoch, as in the events.
  """
  result, flags_ = state.result, state.run['flags']
  lines = [
    ('run', f'{flags_["workdir"]}, {flags_["strategy"]}'),
    ('state', _state(state, now)),
  ]
  if state.holder:
    lines.append(('holder', _holder(state.holder)))
  if state.records:
    phase = state.records[-1]['phase']
    lines.append(('phase', f'{phase}, {len(state.records)} rounds done'))
    lines.append(('members', _members(state)))
    lines += _losses(result)
    lines.append(
      ('spent', f'{result["tokens"]:,} tokens, {result["flops"]:.3g} FLOPs')
    )
  lines.append(('time', wording.duration(_seconds(state.events))))
  if alive(state.events, now) and (left := remaining(state)) is not None:
    lines.append(('left', f'about {wording.duration(left)}'))
  lines.append(('next', _next(state, now)))
  return '\n'.join(f'{name:10}{text}' for name, text in lines)


def alive(events: list[Record], now: float) -> bool:
  """Whether a process seems to be at work: its last event is no stop, nor old.

  A process that was killed leaves no event, so only silence tells.
  """
  if not events or events[-1]['event'] == 'stop':
    return False
  times = [event['time'] for event in events]
  rounds = [
    after['time'] - before['time']
    for before, after in itertools.pairwise(events)
    if after['event'] == 'round'
  ]
  patience = max(_SILENT_SECONDS, _SILENT_ROUNDS * max(rounds, default=0.0))
  return now - times[-1] < patience


def remaining(state: Run) -> float | None:
  """Seconds left until a bound, at the speed so far; None where none is known.

  Of a bound on members it counts what they and the confirmation will cost; of
  several bounds the first to be reached decides.
  """
  given, result = state.run['flags'], state.result
  seconds = _seconds(state.events)
  left = []
  if given.get('max_minutes'):
    left.append(60 * given['max_minutes'] - seconds)
  rounds = [e for e in state.events if e['event'] == 'round']
  speed = result['flops'] / seconds if len(rounds) > 1 else 0.0
  if speed:
    if given.get('max_members'):
      left.append((_expected_flops(state) - result['flops']) / speed)
    if given.get('max_flops'):
      left.append((given['max_flops'] - result['flops']) / speed)
  return max(0.0, min(left)) if left else None


def _expected_flops(state: Run) -> float:
  """What --max_members will cost in all, judging by the members so far."""
  run, given = state.run, state.run['flags']
  search = [row for row in state.rows if row['phase'] == 'search']
  whole = run['flops_per_member']
  # An heir of an evolution trains a part of the budget only. In a population
  # of schedules one takes over the rest of another's run, and is not counted.
  shares = {}
  for row in search:
    first = row['member'] not in shares
    if first and not (run['finds_schedules'] and row['source']):
      shares[row['member']] = 1 - row['start'] / row['budget']
  mean = sum(shares.values()) / len(shares) if shares else 1.0
  pairs = given.get('confirm_seeds', 0) if given['max_members'] > 1 else 0
  return whole * (given['max_members'] * mean + 2 * pairs)


def _state(state: Run, now: float) -> str:
  if not state.events:
    return 'starting: nothing has been done yet'
  last = state.events[-1]
  age = wording.duration(max(0.0, now - last['time']))
  if last['event'] == 'stop':
    return f'stopped {age} ago: {wording.reason(last["reason"])}'
  if alive(state.events, now):
    return f'running; last sign of life {age} ago'
  return f'silent for {age}: killed, or stuck'


def _holder(holder: owner.Holder) -> str:
  words = {True: 'at work', False: 'dead', None: 'on another host, or stopped'}
  return f'{holder}: {words[holder.works()]}'


def _members(state: Run) -> str:
  result, bound = state.result, state.run['flags'].get('max_members')
  text = f'{result["members"]} started, {result["finished"]} finished'
  failed = result['diverged'] + result['infeasible']
  text += f', {failed} failed'
  return text + (f'; at most {bound}' if bound else '')


def _losses(result: Record) -> list[tuple[str, str]]:
  """Best against baseline at the end of the budget, and the gain."""
  metric, champion = result['metric'], result['champion']
  if champion is None:
    return [('best', 'no member has reached the end of its budget')]
  baseline = result['baseline'][f'search_{metric}']
  text = f'{champion[f"search_{metric}"]:.4f} {metric}'
  text += f' (member {champion["member"]})'
  if baseline is not None:
    text += f'; baseline {baseline:.4f}; lower is better'
  gain = result['gain']
  if gain is None:
    return [('best', text)]
  interval = f'[{gain["low"]:+.4f}, {gain["high"]:+.4f}]'
  confirmed = f'{gain["mean"]:+.4f} {interval} from {gain["n"]} fresh seeds'
  return [('best', text), ('gain', f'{confirmed}; positive is better')]


def _next(state: Run, now: float) -> str:
  workdir = state.run['flags']['workdir']
  stopped = bool(state.events) and state.events[-1]['event'] == 'stop'
  if not stopped:
    if alive(state.events, now) or not state.events:
      return f'to stop it after this round: touch {workdir}/STOP'
    return f'to go on: {state.run["command"]}'
  reason = state.events[-1]['reason']
  if reason == 'stop_file':
    return f'to go on: rm {workdir}/STOP, then {state.run["command"]}'
  if reason in wording.CONTINUABLE:
    return f'to go on: {state.run["command"]}'
  return f'finished: read {workdir}/report.md'


def _seconds(events: list[Record]) -> float:
  """Wall clock of all sessions, up to the last event that tells."""
  return max((event.get('seconds', 0.0) for event in events), default=0.0)


def main(argv: list[str]) -> int:
  """Prints where the run of --workdir stands."""
  del argv
  with cli.input_errors():
    state = read(cli.workdir(flags.FLAGS.workdir))
  print(describe(state, time.time()))
  return 0


def run() -> None:
  """Entry point of the console script."""
  # Not at import: `launch.search` has a flag of the same name.
  flags.DEFINE_string('workdir', 'runs/quick', 'Of the run to look at.')
  cli.run(main)


if __name__ == '__main__':
  run()
