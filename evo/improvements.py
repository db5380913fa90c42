"""The improvements of a campaign: the content of improvements.json.

A pure function of the ledger and of `run`, as `result` is.
"""

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from evo import ablation, gate, locked, statistics, transfer, trial
from evo import cycles as cycles_lib
from evo import member as member_lib
from evo import rows as rows_lib
from evo import space as space_lib

Record = dict[str, Any]
Row = rows_lib.Row


def improvements(
  rows: Sequence[Row],
  run: Record,
  result: Record,
  larger: Sequence[Row] = (),
) -> dict[str, Any]:
  """A verdict on every change that a cycle's champion made.

  `effect` is the loss after the change minus that before, with all other
  changes in place (leave-one-out): negative is better. Intervals are repeated
  95% intervals, valid at whichever look the test stopped. `p_adjusted` is
  Benjamini and Hochberg's over the changes of a cycle, `p_holm` Holm's. What
  was not tested is undecided, without numbers. `screen` is what the search
  saw: the loss of the member that brought the change in minus its parent's.
  `kept` says whether the stack still has the change, be it changed further
  since. Changes are sorted by effect, the best first.

  Args:
    rows: of `rows.leg_rows`.
    run: content of run.json.
    result: content of result.json.
    larger: rows of the runs at a larger scale, from the ledger of those.
  """
  space = space_lib.Space.from_json(run['space'])
  cycles = cycles_lib.cycles(rows, run)
  found = [entry for cycle in cycles for entry in _changes(cycle, rows, run)]
  stack = next((c.stack for c in reversed(cycles) if c.stack), None)
  stack = stack and space.canonical(stack)
  if stack and not ablation.changes(space, stack):
    stack = None  # All of it was put back.
  confirmed = [x['parameter'] for x in found if x['verdict'] == 'confirmed']
  base = space.canonical(space.baseline)
  for entry in found:
    # A later cycle may have put it back, or changed it further.
    name = entry['parameter']
    entry['kept'] &= stack is not None and (
      stack[name] == entry['after'] or stack[name] != base[name]
    )
  scale = _at_scale(larger, list(dict.fromkeys(confirmed)))
  # Of a parameter that changed twice the stack has the last change.
  last = {x['parameter']: x for x in found if x['kept']}
  for entry in found:
    name = entry['parameter']
    own = scale.get(ablation.without(name)) if entry is last.get(name) else None
    entry['at_scale'] = own
  found.sort(key=lambda x: (x['effect'] is None, x['effect'] or 0.0))
  summary = (
    _summary(found, result, cycles)
    | _untested(cycles, run)
    | {
      'stack': stack,
      'stack_at_scale': scale.get(ablation.STACK),
      'locked': _locked(rows),
      'locked_failed': _locked_failed(rows),
      'early_stopping': _saved(rows, run, cycles),
      'cycles': [_cycle(cycle, found) for cycle in cycles],
    }
  )
  return {'summary': summary, 'improvements': found}


def _changes(
  cycle: cycles_lib.Cycle, rows: Sequence[Row], run: Record
) -> list[Record]:
  """What is said of the changes of one cycle."""
  before, after = cycle.space.baseline, cycle.champion
  screens = _screens(cycle, rows, run) if after else {}
  return [
    {
      'parameter': name,
      'tier': cycle.space.by_name[name].tier,
      'cycle': cycle.number,
      'before': before[name],
      'after': after[name],
      'screen': screens.get(name),
      'kept': bool(cycle.stack) and cycle.stack[name] == after[name],
    }
    | ablation.improvement(
      name, cycle.rule, cycle.evidence, passed=cycle.passed
    )
    for name in cycle.rule.names
  ]


def _screens(
  cycle: cycles_lib.Cycle, rows: Sequence[Row], run: Record
) -> dict[str, float]:
  """By parameter, the step in search loss at which a lineage took its value.

  Whatever changed at the same step shares it.
  """
  ends = {row['member']: row for row in rows_lib.finished(rows)}
  # The gate's champion has an id of its own; the search's has its values.
  same = (m for m, r in ends.items() if r['configuration'] == cycle.champion)
  child = ends.get(next(same, None))
  found: dict[str, float] = {}
  while child and child['parent'] in ends:
    parent = ends[child['parent']]
    step = child[run['metric']] - parent[run['metric']]
    for name in cycle.rule.names:
      after = child['configuration'][name]
      if after == cycle.champion[name] != parent['configuration'][name]:
        found.setdefault(name, step)
    child = parent
  return found


def _at_scale(
  larger: Sequence[Row], confirmed: Sequence[str]
) -> dict[str, Record]:
  """What the runs at a larger scale say, by contrast."""
  found = {}
  for name, contrast in transfer.contrasts(confirmed).items():
    evidence = cycles_lib.pairs(larger, contrast, transfer.looks(name))
    if evidence.n:
      found[name] = ablation.effect(evidence) | {
        'n': evidence.n,
        'sign': transfer.sign(evidence),
      }
  return found


def _locked(rows: Sequence[Row]) -> Record | None:
  """The headline: losses and gain (positive is better) on the locked split."""
  legs = [row for row in rows if row['phase'] == locked.PHASE]
  contrast = trial.Contrast(locked.STACK, control=locked.BASELINE)
  looks = (locked.PAIRS,)
  evidence = cycles_lib.pairs(legs, contrast, looks, locked.SPLIT)
  if not evidence.n or not evidence.sound:
    return None
  gain = dataclasses.asdict(statistics.t_interval(evidence.gains))
  for arm in locked.ARMS:
    losses = [r['metrics'][locked.SPLIT] for r in legs if r['arm'] == arm]
    gain[arm] = sum(losses) / len(losses)
  return gain


def _locked_failed(rows: Sequence[Row]) -> bool:
  """Whether there is no headline because a run of it failed."""
  legs = [row for row in rows if row['phase'] == locked.PHASE]
  return any(
    row['status'] in (member_lib.DIVERGED, member_lib.INFEASIBLE)
    for row in legs
  )


def _untested(cycles: list[cycles_lib.Cycle], run: Record) -> Record:
  """Whether ablations were left out, and why none was reached if they were not."""
  left_out, untested = None, None
  if not any(cycle.evidence for cycle in cycles):
    asked = ablation.PHASE in run['flags'].get('phases', ())
    passed = any(cycle.passed for cycle in cycles)
    left_out = None if asked else 'ablation'
    untested = 'no room' if passed else 'no gate passed'
  return {'left_out': left_out, 'untested': untested}


def _saved(
  rows: Sequence[Row], run: Record, cycles: list[cycles_lib.Cycle]
) -> Record | None:
  """Runs of gates and ablations, and how many without looking early.

  All pairs of what came to its end before; as many as there are of what the
  bounds, or somebody, ended.
  """
  runs = fixed = 0
  for cycle in cycles:
    for legs, evidence in cycle.gates:
      own = _runs(legs)
      ended = gate.finished(evidence, cycle.rule.worth)
      runs += own.total()
      fixed += evidence.looks[-1] * len(own) if ended else own.total()
    own = _runs(
      row
      for row in rows
      if (row['cycle'], row['phase']) == (cycle.number, ablation.PHASE)
    )
    runs += own.total()
    fixed += (own | _planned(cycle, run)).total()
  return (
    {'runs': runs, 'fixed': fixed, 'saved': 1 - runs / fixed} if runs else None
  )


def _runs(legs: Iterable[Row]) -> collections.Counter[str]:
  """By arm."""
  return collections.Counter(
    arm for arm, _ in {(row['arm'], row['member']) for row in legs}
  )


def _planned(cycle: cycles_lib.Cycle, run: Record) -> collections.Counter[str]:
  """Runs of the arms of those contrasts of an ablation that are settled."""
  planned: collections.Counter[str] = collections.Counter()
  looks = ablation.looks(run['flags']['confirm_seeds'])
  settled = cycle.rule.settled(cycle.evidence)
  for name, contrast in cycle.contrasts.items():
    found = cycle.evidence[name]
    if found.n and (name in settled or found.n == looks[-1]):
      # A change made alone gets the pairs of the first look by design.
      alone = name.startswith(ablation.only(''))
      most = looks[0] if alone else looks[-1]
      planned |= dict.fromkeys((contrast.treatment, contrast.control), most)
  return planned


def _cycle(cycle: cycles_lib.Cycle, found: Sequence[Record]) -> Record:
  """What a cycle came to: its verified gain, and whether single gains add up.

  Gains are losses before minus after: positive is better. `measured` is what
  the pairs of its gate say, passed or not; `gain` only what was verified, over
  where the cycle started from; `total` that of what is kept over the first
  baseline.
  """
  own = [x for x in found if x['cycle'] == cycle.number]
  singles = [x['add_one_in']['effect'] for x in own]
  # Of some alone the sum would mislead.
  whole = bool(singles) and None not in singles
  gain = _interval(cycle.verified)
  return {
    'cycle': cycle.number,
    'champion': cycle.member,
    'members': cycle.members,
    'greedy_kept': cycle.greedy,
    'passed': cycle.passed,
    'gates': len(cycle.gates),
    'changes': len(own),
    'confirmed': len(cycle.confirmed),
    'kept': sum(cycle.stack[x['parameter']] == x['after'] for x in own)
    if cycle.stack
    else 0,
    'measured': _interval(cycle.gate and cycle.gate.interval),
    'gain': gain,
    'total': _interval(cycle.total and cycle.total.interval),
    'flops': cycle.flops,
    'gain_per_exaflop': gain and gain['mean'] / cycle.flops * 1e18,
    'sum_of_single_gains': -sum(singles) if whole else None,
  }


def _interval(found: statistics.Interval | None) -> Record | None:
  return dataclasses.asdict(found) if found else None


def _summary(
  found: Sequence[Record], result: Record, cycles: list[cycles_lib.Cycle]
) -> Record:
  """Counts, the gate, and whether the single gains add up to the stack's."""
  verdicts = [x['verdict'] for x in found]
  gain = result['gain']
  totals = [c.total.interval for c in cycles if c.total]
  singles = [
    _cycle(c, found)['sum_of_single_gains'] for c in cycles if c.passed
  ]
  whole = bool(singles) and None not in singles
  return {
    'changes': len(found),
    **{
      verdict: verdicts.count(verdict)
      for verdict in (ablation.CONFIRMED, ablation.REFUTED, ablation.UNDECIDED)
    },
    'tested': sum(x['n'] > 0 for x in found),
    'level': ablation.LEVEL,
    'gate': {
      'passed': any(cycle.passed for cycle in cycles),
      'asked': sum(len(cycle.gates) for cycle in cycles),
      'level': 2 * gate.LEVEL,
      'gain': gain,
      'missing': result['gain_missing'],
    },
    'sum_of_single_effects': -sum(singles) if whole else None,
    'stack_effect': -totals[-1].mean if totals and totals[-1] else None,
  }
