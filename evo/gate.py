"""The gate: is the champion better than the baseline at all?"""

from evo import sequential, trial

PHASE = 'confirm'
ARMS = BASELINE, CHAMPION = 'baseline', 'champion'
# One-sided: the champion passes where its two-sided 95% interval excludes 0.
LEVEL = 0.025

# What a cycle after the first starts from: then the champion has to be better
# than that, and the first baseline only stands beside.
STACK = 'stack'
TOTAL = 'total'


def contrasts(first: bool = True) -> dict[str, trial.Contrast]:
  """What is compared; whether the champion passes is told by `CHAMPION`.

  Args:
    first: whether the search started from the first baseline.
  """
  total = trial.Contrast(treatment=CHAMPION, control=BASELINE)
  if first:
    return {CHAMPION: total}
  return {CHAMPION: trial.Contrast(CHAMPION, control=STACK), TOTAL: total}


def looks(pairs: int) -> tuple[int, ...]:
  """Numbers of pairs at which the gate looks, given the most there may be.

  Six is the least at which a t-test of one in twenty or more tests has power;
  with fewer there is one look, at all of them.
  """
  return (*(n for n in sequential.LOOKS if n < pairs), pairs)


def passed(evidence: trial.Evidence) -> bool:
  """Whether the champion is better."""
  return evidence.n > 0 and evidence.p <= LEVEL


def settled(worth: float = 0.0, decides: str = CHAMPION) -> trial.Settled:
  """Ends the gate where it is passed, or where nothing worth having is left.

  What stands beside it ends with it.

  Args:
    worth: the smallest gain worth having.
    decides: name of the contrast that does; all have reached a look.
  """

  def names(evidence: dict[str, trial.Evidence]) -> set[str]:
    return set(evidence) if _settled(evidence[decides], worth) else set()

  return names


def finished(evidence: trial.Evidence, worth: float = 0.0) -> bool:
  """Whether no more pairs are needed, or none are left to look at."""
  if not evidence.n:
    return False
  return evidence.n == evidence.looks[-1] or _settled(evidence, worth)


def _settled(evidence: trial.Evidence, worth: float) -> bool:
  interval = evidence.interval
  hopeless = interval is not None and interval.high <= worth
  return passed(evidence) or hopeless
