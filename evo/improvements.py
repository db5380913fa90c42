"""The improvements of a campaign: the content of improvements.json.

A pure function of the ledger and of `run`, as `result` is.
"""

import math
from collections.abc import Sequence
from typing import Any

from evo import ablation, gate, transfer, trial
from evo import result as result_lib
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
  """A verdict on every change of the champion against the baseline.

  `effect` is the loss after the change minus that before, with all other
  changes in place (leave-one-out): negative is better. Intervals are repeated
  95% intervals, valid at whichever look the test stopped. `p_adjusted` is
  Benjamini and Hochberg's, `p_holm` Holm's. What was not tested is undecided,
  without numbers. Changes are sorted by effect, the best first.

  Args:
    rows: of `rows.leg_rows`.
    run: content of run.json.
    result: content of result.json.
    larger: rows of the runs at a larger scale, from the ledger of those.
  """
  space = space_lib.Space.from_json(run['space'])
  if result['champion'] is None:
    summary = _summary([], result, {}, passed=False)
    return {'summary': summary, 'improvements': []}
  stack = result['champion']['configuration']
  names = ablation.changes(space, stack)
  evidence = _evidence(rows, run, space, stack)
  noise = result['noise']
  rule = ablation.Rule(names, noise['worth'] if noise else 0.0)
  passed = _passed(rows, run, result)
  found = [
    {
      'parameter': name,
      'tier': space.by_name[name].tier,
      'before': result['baseline']['configuration'][name],
      'after': stack[name],
    }
    | ablation.improvement(name, rule, evidence, passed=passed)
    for name in names
  ]
  confirmed = [x['parameter'] for x in found if x['verdict'] == 'confirmed']
  scale = _at_scale(larger, confirmed)
  for entry in found:
    entry['at_scale'] = scale.get(ablation.without(entry['parameter']))
  found.sort(key=lambda x: (x['effect'] is None, x['effect'] or 0.0))
  summary = _summary(found, result, evidence, passed=passed)
  summary['stack_at_scale'] = scale.get(ablation.STACK)
  return {'summary': summary, 'improvements': found}


def _passed(rows: Sequence[Row], run: Record, result: Record) -> bool:
  """Whether the champion passed the gate, if only by the runs that failed."""
  if result['gain_missing'] not in (None, 'run failed'):
    return False
  pairs = result_lib.last_pairs(rows)
  looks = gate.looks(run['flags']['confirm_seeds'])
  return gate.passed(pairs.evidence(looks))


def _evidence(
  rows: Sequence[Row],
  run: Record,
  space: space_lib.Space,
  stack: ablation.Configuration,
) -> dict[str, trial.Evidence]:
  """Of each contrast of the last ablation, if it is one of this stack."""
  confirmed = [row['member'] for row in rows if row['phase'] == gate.PHASE]
  legs = [
    row
    for row in rows
    if row['phase'] == ablation.PHASE
    and row['member'] > max(confirmed, default=-1)
  ]
  first = next((row for row in legs if row['arm'] == ablation.STACK), None)
  if first is None or first['configuration'] != space.canonical(stack):
    return {}
  looks = ablation.looks(run['flags']['confirm_seeds'])
  return {
    name: _pairs(legs, contrast, looks)
    for name, contrast in ablation.contrasts(space, stack).items()
  }


def _at_scale(
  larger: Sequence[Row], confirmed: Sequence[str]
) -> dict[str, Record]:
  """What the runs at a larger scale say, by contrast."""
  found = {}
  for name, contrast in transfer.contrasts(confirmed).items():
    evidence = _pairs(larger, contrast, transfer.looks(name))
    if evidence.n:
      found[name] = ablation.effect(evidence) | {
        'n': evidence.n,
        'sign': transfer.sign(evidence),
      }
  return found


def _pairs(
  legs: Sequence[Row], contrast: trial.Contrast, looks: tuple[int, ...]
) -> trial.Evidence:
  """Gains of a contrast up to the last look that it reached."""
  ends = {(row['arm'], row['seed']): row for row in legs}
  by_member = sorted(ends, key=lambda key: ends[key]['member'])
  seeds = dict.fromkeys(seed for _, seed in by_member)
  gains = []
  for seed in seeds:
    pair = [
      ends.get((arm, seed)) for arm in (contrast.control, contrast.treatment)
    ]
    if not all(map(result_lib.ended, pair)):
      break
    before, after = (row['metrics'].get('confirm', math.inf) for row in pair)
    gains.append(before - after)
  evidence = trial.Evidence(tuple(gains), looks)
  return trial.Evidence(tuple(gains[: evidence.n]), looks)


def _summary(
  found: Sequence[Record],
  result: Record,
  evidence: dict[str, trial.Evidence],
  *,
  passed: bool,
) -> Record:
  """Counts, the gate, and whether the single gains add up to the stack's."""
  verdicts = [x['verdict'] for x in found]
  singles = [x['add_one_in']['effect'] for x in found]
  # Of some alone the sum would mislead.
  whole = bool(singles) and None not in singles
  gain = result['gain']
  return {
    'changes': len(found),
    **{
      verdict: verdicts.count(verdict)
      for verdict in (ablation.CONFIRMED, ablation.REFUTED, ablation.UNDECIDED)
    },
    'tested': sum(x['n'] > 0 for x in found),
    'level': ablation.LEVEL,
    'gate': {
      'passed': passed,
      'level': 2 * gate.LEVEL,
      'gain': gain,
      'missing': result['gain_missing'],
    },
    'left_out': None if evidence else 'ablation',
    'sum_of_single_effects': sum(singles) if whole else None,
    'stack_effect': -gain['mean'] if gain else None,
  }
