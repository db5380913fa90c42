"""Retention: the checkpoints of rounds, and what stays for them.

A round's checkpoint notes which kept states whoever goes on from there may
need, and the digest of the record that it belongs to. So the newest one is
found from which a run can go on to its end, and the rest may go.
"""

from typing import Any

from evo import checkpoint as checkpoint_lib
from evo import engine as engine_lib
from evo import ledger as ledger_lib
from evo import member as member_lib

Kept = set[member_lib.Weights]


class Retention:
  """The checkpoints of the rounds of a ledger.

  Attributes:
    newest: round of the newest one to go on from, or -1.
    passed_over: what was wrong with newer ones, in words, by name.
  """

  def __init__(
    self,
    checkpoints: checkpoint_lib.Checkpoints,
    ledger: ledger_lib.Ledger,
    keep: int,
  ):
    """Looks for the newest one; removes nothing yet.

    Args:
      checkpoints: of the workdir.
      ledger: of the same.
      keep: rounds whose checkpoints stay.
    """
    self._checkpoints, self._ledger, self._keep = checkpoints, ledger, keep
    self.passed_over: dict[str, str] = {}
    self.newest = self._find()

  def note(self, number: int, record: Any, needed: Kept) -> dict[str, Any]:
    """What the checkpoint of a round notes.

    Args:
      number: of the round.
      record: of it, not yet committed.
      needed: states that later legs may inherit; those that are there by then.
    """
    names = sorted(map(engine_lib.kept_name, needed))
    return {
      'record': self._ledger.digest(number, record),
      'needs': [name for name in names if self._checkpoints.written(name)],
    }

  def begin(self) -> None:
    """Removes all that is of no use to who goes on from the newest one."""
    self._sweep(self.newest, self._keep, set())

  def prune(self, number: int, needed: Kept, keep: int | None = None) -> None:
    """Removes what no checkpoint of the last rounds needs.

    Args:
      number: of the newest round.
      needed: states that later legs may inherit.
      keep: rounds whose checkpoints stay, if not as many as usual.
    """
    self._sweep(number, keep or self._keep, needed)

  def _sweep(self, number: int, keep: int, needed: Kept) -> None:
    stay = set(map(engine_lib.kept_name, needed))
    past = [n for n in self._numbers() if n <= number]
    for name in map(checkpoint_name, past[-keep:]):
      stay |= {name, *(self._checkpoints.note(name) or {}).get('needs', ())}
    self._checkpoints.sweep(stay.__contains__)

  def _find(self) -> int:
    for number in reversed(self._numbers()):
      if number >= len(self._ledger.records):
        continue
      if damage := self._damage(number):
        self.passed_over[checkpoint_name(number)] = damage
      else:
        return number
    return -1

  def _numbers(self) -> list[int]:
    """Rounds that have a checkpoint; also those where a run was stopped."""
    names = self._checkpoints.names()
    return [
      int(n.removeprefix(_PREFIX)) for n in names if n.startswith(_PREFIX)
    ]

  def _damage(self, number: int) -> str | None:
    name = checkpoint_name(number)
    note = self._checkpoints.note(name)
    if note and note['record'] != self._ledger.digests[number]:
      return (
        f'checkpoint {name} belongs to another record than that of its round'
      )
    needs = note['needs'] if note else []
    damages = map(self._checkpoints.damage, [name, *needs])
    return next((damage for damage in damages if damage), None)


_PREFIX = 'round-'


def checkpoint_name(number: int) -> str:
  """Name of the checkpoint of a round."""
  return f'{_PREFIX}{number:08d}'
