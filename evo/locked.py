"""The locked split: the headline, read last and once.

Neither the search nor any verdict has read it, and the number of pairs is
fixed beforehand: nothing about it was chosen.
"""

from typing import Any

from evo import space as space_lib
from evo import verification

PHASE = 'locked'
SPLIT = 'locked'
PAIRS = 8
ARMS = BASELINE, STACK = 'baseline', 'stack'


def make(
  space: space_lib.Space,
  stack: space_lib.Configuration,
  segments: int,
  **options: Any,
) -> verification.Confirmation:
  """Plans the runs: the stack that was found against the first baseline.

  Args:
    space: with the baseline of the whole campaign.
    stack: what its last cycle kept.
    segments: of the budget.
    **options: of `Confirmation`: `PAIRS` seeds and the first member.
  """
  arms = {BASELINE: space.canonical(space.baseline), STACK: stack}
  return verification.Confirmation(
    verification.constants(arms, segments), splits=(SPLIT,), **options
  )
