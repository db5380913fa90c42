"""Attempts: how often a species may fail before it counts as infeasible.

What fails on the devices takes the states there with it, so the process ends
and the round is tried again by the next one. Failures are no matter of the
ledger: they are counted in the events, and only what they lead to is recorded.
"""

import contextlib
from collections.abc import Iterator

from evo import failure as failure_lib
from evo import hosts as hosts_lib
from evo import ledger as ledger_lib
from evo import member as member_lib
from evo import seats as seats_lib
from evo import species as species_lib

EVENT = 'failed'
_MOST = 2


class Attempts:
  """Failures of species in the round that comes next."""

  def __init__(
    self,
    events: ledger_lib.Events,
    hosts: hosts_lib.Hosts,
    catalogue: species_lib.Catalogue,
    ledger: ledger_lib.Ledger,
  ):
    """Counts what earlier processes noted.

    Args:
      events: of the workdir.
      hosts: of the run.
      catalogue: of the species.
      ledger: of the workdir.
    """
    self._events, self._hosts = events, hosts
    self._catalogue, self._ledger = catalogue, ledger
    self._round = len(ledger.records)

    def find() -> list[list]:
      here = [e for e in events.read() if e['event'] == EVENT]
      return [
        [e['species'], e['reason']] for e in here if e['round'] == self._round
      ]

    self._failures: list[tuple[int, str]] = hosts.once(find)

  def retire(
    self, seats: seats_lib.Seats, ended: list[member_lib.Result] | None
  ) -> None:
    """Refuses the species that fail in a round that is about to be trained.

    After the legs have started: a replay, which refuses them with their
    results, must find the others in the same slots.

    Args:
      seats: of the species.
      ended: results of the round that stand; None where there are none yet, and
        what failed twice is refused.
    """
    if ended is None:
      reasons = self._spent({seats.species(leg).id for leg in seats.legs})
    else:
      lost = [r.leg for r in ended if r.status == member_lib.INFEASIBLE]
      reasons = {seats.species(leg).id: 'it failed here before' for leg in lost}
    for id, reason in sorted(reasons.items()):
      if not self._catalogue.species[id].refusal:
        seats.refuse(id, reason)

  @contextlib.contextmanager
  def failing(self) -> Iterator[None]:
    """Notes a failure within, on whichever host.

    Raises:
      failure.Failed: that it may be tried again.
      Exception: what the devices said, where nothing is gained by that: the
        baseline failed twice, or what was to be refused did before it was.
    """
    self._hosts.note = lambda failure: self._events.write(EVENT, **failure)
    try:
      yield
    except failure_lib.Failed as failed:
      most = _MOST - self._catalogue.is_baseline(failed.species)
      if self._count(failed.species) >= most:
        raise failed.__cause__ from None
      self._hosts.fail(
        {
          'round': len(self._ledger.records),
          'species': failed.species,
          'reason': failed.reason,
        }
      )
      raise

  def _spent(self, working: set[int]) -> dict[int, str]:
    """Why, by species, those at work are refused that failed twice here."""
    return {
      id: f'it failed twice: {dict(self._failures)[id]}'
      for id in working
      if self._count(id) >= _MOST and not self._catalogue.is_baseline(id)
    }

  def _count(self, id: int) -> int:
    """How often a species failed in the round that comes next."""
    here = len(self._ledger.records) == self._round
    return [x for x, _ in self._failures].count(id) if here else 0
