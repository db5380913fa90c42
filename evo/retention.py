"""Retention: the checkpoints of rounds, and what stays for them.

A round's checkpoint notes which kept states whoever goes on from there may
need, and the digest of the record that it belongs to. So the newest one is
found from which a run can go on to its end, and the rest may go.
"""

from typing import Any

from evo import disk as disk_lib
from evo import engine as engine_lib
from evo import form
from evo import kept as kept_lib
from evo import ledger as ledger_lib
from evo import member as member_lib

Kept = set[member_lib.Weights]

# A population is saved once it has trained this many FLOPs per byte of state,
# so that saving stays far below a hundredth of the time on any machine.
_FLOPS_PER_BYTE = 5e4
_MOST_ROUNDS = 64
_PREFIX = 'round-'

# States are (member, segment), by species and slot.
_STATE = form.optional(form.listed(form.whole(-(2**53)), size=2))
_NOTE = form.fields(
  record=form.text,
  needs=form.listed(form.matching(r'[\w-]+')),
  dead=form.listed(form.whole(-(2**53))),
  states=form.mapping(form.listed(_STATE)),
)


class Retention:
  """The checkpoints of the rounds of a ledger.

  Attributes:
    newest: round of the newest one to go on from, or -1.
    passed_over: what was wrong with newer ones, in words, by name.
  """

  def __init__(
    self,
    engine: engine_lib.Engine,
    ledger: ledger_lib.Ledger,
    keep: int,
    disk: disk_lib.Disk | None = None,
  ):
    """Looks for the newest one; removes nothing yet.

    Args:
      engine: whose slots are saved.
      ledger: of the rounds.
      keep: rounds whose checkpoints stay.
      disk: what they have to fit into.
    """
    self._engine, self._checkpoints = engine, engine.checkpoints
    self._ledger, self._keep, self._disk = ledger, keep, disk
    self.passed_over: dict[str, str] = {}
    self.newest = self._find()

  def due(self, number: int) -> bool:
    """Whether a round is to have a checkpoint."""
    engine = self._engine
    flops = _FLOPS_PER_BYTE * engine.state_bytes
    rounds = flops / (engine.size * engine.catalogue.baseline.segment_flops)
    every = min(_MOST_ROUNDS, max(1, round(rounds)))
    return (number + 1) % every == 0

  def note(self, number: int, record: Any, needed: Kept) -> dict[str, Any]:
    """What the checkpoint of a round notes.

    Args:
      number: of the round.
      record: of it, not yet committed.
      needed: states that later legs may inherit; those that are there by then.
    """
    names = sorted(map(kept_lib.checkpoint_name, needed))
    return {
      'record': self._ledger.digest(number, record),
      'needs': [name for name in names if self._checkpoints.written(name)],
    }

  def begin(self, needed: Kept) -> str | None:
    """As `prune`, before going on from the newest one.

    States that later rounds kept are no longer there: they will be kept again.
    """
    self._sweep(self.newest, self._keep, set())
    return self._full(self.newest, needed)

  def prune(self, number: int, needed: Kept) -> str | None:
    """Removes what no checkpoint of the last rounds needs.

    Args:
      number: of the newest round.
      needed: states that later legs may inherit.

    Returns:
      `max_disk` where there is no room for another checkpoint, even with the
      newest one alone.
    """
    self._sweep(number, self._keep, needed)
    return self._full(number, needed)

  def _full(self, number: int, needed: Kept) -> str | None:
    if self._has_room():
      return None
    self._sweep(number, 1, needed)
    return None if self._has_room() else 'max_disk'

  def _has_room(self) -> bool:
    """For a checkpoint, and as much again: members are kept one by one."""
    disk, more = self._disk, 2 * self._engine.state_bytes
    return disk is None or self._engine.hosts.once(lambda: disk.has_room(more))

  def _sweep(self, number: int, keep: int, needed: Kept) -> None:
    stay = set(map(kept_lib.checkpoint_name, needed))
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
    if note is not None:
      try:
        _NOTE('its note', note)
      except ValueError as error:
        return f'checkpoint {name} is of no use: {error}'
      if note['record'] != self._ledger.digests[number]:
        return (
          f'checkpoint {name} belongs to another record than that of its round'
        )
    needs = note['needs'] if note else []
    damages = map(self._checkpoints.damage, [name, *needs])
    return next((damage for damage in damages if damage), None)


def checkpoint_name(number: int) -> str:
  """Name of the checkpoint of a round."""
  return f'{_PREFIX}{number:08d}'
