"""The plan of a search: what it is going to do, and what that costs."""

from typing import Any

from evo import (
  ablation,
  calibration,
  gate,
  locked,
  mesh,
  sequential,
  transfer,
  wording,
)
from evo import phases as phases_lib

_PHASES = {
  calibration.PHASE: 'the noise of the loss',
  ablation.PHASE: 'which of the changes matter',
  transfer.PHASE: 'whether they hold at a larger scale',
  locked.PHASE: 'the headline on the locked split',
}


def pairs(given: dict[str, Any]) -> int:
  """The most that the gate may take; one member alone is not confirmed."""
  alone = given['max_members'] == 1 or gate.PHASE not in given['phases']
  return 0 if alone else given['confirm_seeds']


def phases(given: dict[str, Any]) -> phases_lib.Phases:
  """What a campaign of these flags does."""
  ablates = ablation.PHASE in given['phases']
  alone = given['max_members'] == 1
  return phases_lib.Phases(
    pairs=pairs(given),
    calibrates=calibration.PHASE in given['phases'] and not alone,
    ablates=ablates,
    locks=locked.PHASE in given['phases'],
    cycles=given['cycles'] if ablates else 1,
    search_share=given['search_share'],
  )


def plan(
  given: dict[str, Any],
  run: dict[str, Any],
  rounds: int,
  calibrates: bool = True,
) -> str:
  """What is going to be done and what it costs, in a few lines.

  Args:
    given: the flags.
    run: content of run.json.
    rounds: that stand in the ledger.
    calibrates: whether the bounds allow for a calibration.
  """
  steps = run['segments'] * run['steps_per_segment']
  lines = [
    f'{given["strategy"]} over {given["space"]}: members of'
    f' {run["weights"] / 1e6:.2f}M weights, {steps} steps of'
    f' {run["tokens_per_step"]} tokens, {run["flops_per_member"]:.2g} FLOPs each',
    f'mesh {mesh.describe(run["mesh"])}: {run["mesh_reason"]}',
  ]
  lines += _cost(given, run['flops_per_member'])
  if given['max_members'] != 1:
    lines += _extent(given)
  if given['max_flops'] and ablation.PHASE in given['phases']:
    lines += _reach(given, given['max_flops'] / run['flops_per_member'])
  if calibration.PHASE in given['phases'] and not calibrates:
    lines.append(
      'the noise is not measured, which would take more than half of that:'
      ' without it nothing is refuted or put back but what does harm'
    )
  if rounds:
    lines.append(f'resuming after round {rounds - 1}')
  return '\n'.join(lines)


def _cost(given: dict[str, Any], member: float) -> list[str]:
  """What the bounds amount to."""
  lines = []
  if runs := given['max_members']:
    own = 2 * pairs(given)
    lines.append(
      f'at most {runs} members and {own} runs to confirm:'
      f' {(runs + own) * member:.2g} FLOPs'
    )
    if ablation.PHASE in given['phases']:
      lines[-1] += ', and what the verification of the changes takes'
  if given['max_flops']:
    worth = int(given['max_flops'] / member)
    lines.append(
      f"at most {given['max_flops']:.3g} FLOPs, {worth} members' worth"
    )
  if given['max_minutes']:
    lines.append(
      f'at most {wording.duration(60 * given["max_minutes"])}, which become FLOPs'
      ' once the speed is known'
    )
  return lines


def _extent(given: dict[str, Any]) -> list[str]:
  """The phases, and what they leave open."""
  text = ', '.join(given['phases'])
  if ablation.PHASE in given['phases']:
    text += f'; {wording.count(given["cycles"], "cycle")}, or more where the bounds have room'
  missing = [
    what for name, what in _PHASES.items() if name not in given['phases']
  ]
  lines = [f'phases: {text}']
  return lines + ([f'left out: {", ".join(missing)}'] if missing else [])


def _reach(given: dict[str, Any], members: float) -> list[str]:
  """How far a bound in FLOPs goes, if not through all phases."""
  looks = sequential.LOOKS[0]
  needs = {
    calibration.PHASE: calibration.RUNS,
    locked.PHASE: 2 * locked.PAIRS,
    gate.PHASE: 2 * given['confirm_seeds'],
    'search': 4 * given['population'],
    # One change left out of a stack, and the elimination.
    ablation.PHASE: (2 + 1 + 2) * looks,
  }
  least = sum(runs for name, runs in needs.items() if name in given['phases'])
  if members >= least:
    return []
  return [
    f'that is less than the {least} that a search with all of these phases takes'
    ' at least: changes that are not reached stay undecided'
  ]
