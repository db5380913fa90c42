"""Members and their legs: the vocabulary between strategies and engines."""

import dataclasses
import hashlib
import math
from typing import Any

import numpy as np

Configuration = dict[str, Any]
Weights = tuple[int, int]  # (member, segment): the state kept there.

OK = 'ok'
DIVERGED = 'diverged'
INFEASIBLE = 'infeasible'
STOPPED = 'stopped'


def fold(seed: int, *names: int | str) -> int:
  """Folds names into a seed: a 31-bit integer, the same on every machine."""
  text = '/'.join(str(part) for part in (seed, *names))
  digest = hashlib.blake2b(text.encode(), digest_size=4).digest()
  return int.from_bytes(digest, 'big') >> 1


def generator(seed: int, *names: int | str) -> np.random.Generator:
  """The random generator of a name, independent of what was drawn before."""
  return np.random.default_rng(fold(seed, *names))


# Of losses that were summed over other devices.
_ROUNDING = 1e-3


@dataclasses.dataclass(frozen=True)
class Leg:
  """The unit of work: one member trained from `start` to `stop`.

  Attributes:
    member: id of the member, counted from 0 in the order of asking.
    parent: id of the member whose configuration it descends from, or None.
    configuration: the values in effect during this leg.
    source: where its weights come from: None is a fresh initialisation,
      (member, segment) the state of that member there. A member that goes on
      names itself.
    start: segments of the budget behind the lineage when the leg begins.
    stop: segments of the budget behind the lineage when it ends.
    seed: of initialisation and data windows, in [0, 2**31).
    keep: whether the state at `stop` is kept for heirs.
    splits: evaluated at `stop`; the first one gives the loss. May be empty.
    arm: what it stands for where a verification compares; None in a search.
  """

  member: int
  parent: int | None
  configuration: Configuration
  source: Weights | None
  start: int
  stop: int
  seed: int
  keep: bool = False
  splits: tuple[str, ...] = ('search',)
  arm: str | None = None

  @property
  def goes_on(self) -> bool:
    """Whether the member was trained before this leg."""
    return self.source is not None and self.source[0] == self.member

  @property
  def inherits(self) -> bool:
    """Whether its weights come from another member."""
    return self.source is not None and self.source[0] != self.member

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self) | {
      'source': self.source and list(self.source),
      'splits': list(self.splits),
    }

  @classmethod
  def from_json(cls, value: dict[str, Any]) -> 'Leg':
    """Reads what `to_json` gave; other keys are left alone."""
    source = value['source']
    own = {field.name: value[field.name] for field in dataclasses.fields(cls)}
    return cls(
      **own
      | {
        'source': None if source is None else tuple(source),
        'splits': tuple(value['splits']),
      }
    )


@dataclasses.dataclass(frozen=True)
class Result:
  """What came of a leg.

  Attributes:
    leg: the leg.
    status: `ok`, `diverged`, `infeasible` or `stopped`.
    metrics: one loss per split of the leg, lower is better; empty unless ok.
    flops: charged to the leg: training and evaluation.
    tokens: trained on during the leg.
    stop: segments behind the lineage at its end; less than `leg.stop` where
      the member was culled.
  """

  leg: Leg
  status: str
  metrics: dict[str, float]
  flops: float = 0.0
  tokens: int = 0
  stop: int = 0

  @property
  def loss(self) -> float:
    """The loss that selects; infinite for a failure, so that it ranks last.

    NaN where the leg ended well without being scored.
    """
    if not self.ok:
      return math.inf
    return self.metrics[self.leg.splits[0]] if self.leg.splits else math.nan

  @property
  def ok(self) -> bool:
    return self.status == OK

  def to_json(self) -> dict[str, Any]:
    """With the leg's member in place of the leg."""
    own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return {'member': own.pop('leg').member, **own}

  @classmethod
  def from_json(cls, value: dict[str, Any], legs: dict[int, Leg]) -> 'Result':
    """Reads what `to_json` gave.

    Args:
      value: of a result.
      legs: by member.
    """
    names = [f.name for f in dataclasses.fields(cls) if f.name != 'leg']
    own = {name: value[name] for name in names}
    return cls(leg=legs[value['member']], **own)

  def agrees(self, other: 'Result') -> bool:
    """Whether two results of a leg are the same but for rounding."""
    mine, others = (
      (r.leg.member, r.status, r.stop, sorted(r.metrics)) for r in (self, other)
    )
    return mine == others and all(
      math.isclose(loss, other.metrics[split], rel_tol=_ROUNDING)
      for split, loss in self.metrics.items()
    )
