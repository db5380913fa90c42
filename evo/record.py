"""The form of a ledger's records: what may be read from one of others.

Digests say that a record is the one that was committed, not that it makes
sense. What is checked here is what replaying, counting and reporting rely on.
"""

from collections.abc import Sequence
from typing import Any

from evo import document, form
from evo import member as member_lib

Record = dict[str, Any]

# Losses are float32; FLOPs stay far below this.
_LOSS = form.number(-3.5e38, 3.5e38)
_COST = form.number(0, 1e36)
# Those of a calibration count down from -1.
_MEMBER = form.whole(-(2**53))
_SEED = form.whole(0, 2**31 - 1)

_LEG = form.fields(
  member=_MEMBER,
  parent=form.optional(_MEMBER),
  configuration=form.mapping(form.scalar),
  source=form.optional(form.listed(_MEMBER, size=2)),
  start=form.whole(),
  stop=form.whole(),
  seed=_SEED,
  keep=form.boolean,
  splits=form.listed(form.text),
  arm=form.optional(form.text),
  species=form.whole(),
  steps_per_segment=form.whole(),
  weights=form.optional(form.whole()),
  flops_per_token=form.optional(_COST),
  inherited=form.optional(form.number(0, 1)),
)
_RESULT = form.fields(
  member=_MEMBER,
  status=form.one_of(
    member_lib.OK,
    member_lib.DIVERGED,
    member_lib.INFEASIBLE,
    member_lib.STOPPED,
  ),
  metrics=form.mapping(_LOSS),
  flops=_COST,
  tokens=form.whole(),
  stop=form.whole(),
)
_RECORD = form.fields(
  round=form.whole(),
  phase=form.text,
  cycle=form.whole(),
  turn=form.whole(),
  legs=form.listed(_LEG),
  results=form.listed(_RESULT),
)


def _tested(path: str, value: Any) -> None:
  """Names of changes, and whether each is also made alone."""
  form.listed(form.anything, size=2)(path, value)
  form.listed(form.text)(f'{path}[0]', value[0])
  form.boolean(f'{path}[1]', value[1])


# What a run goes on by, beside that.
_DECISIONS = form.fields(
  decided=form.given(names=form.listed(form.text), ablate=_tested),
  asked=form.fields(
    n=form.whole(),
    fresh=form.optional(form.whole()),
    species=form.whole(1),
  ),
  split=form.mapping(form.whole(1)),
  plan=form.optional(form.fields(minutes=form.number(0), flops=form.number(0))),
  checkpoint=form.optional(form.text),
)


def check(records: Sequence[Record], segments: int) -> None:
  """Raises ValueError unless records make sense, one by one and together.

  Every leg goes on from a state that some leg before it left, or begins
  afresh, and has a result by the time that it ends.

  Args:
    records: of a ledger.
    segments: of a member's budget.

  Raises:
    ValueError: one line; an earlier version wrote them, or nobody did.
  """
  for name in ('cycle', 'turn'):
    if records and name not in records[0]:
      raise ValueError(
        f'the records of this ledger have no {name!r}, since an earlier version'
        ' wrote them; expected another --workdir, or that version'
      )
  book = _Book(segments)
  for number, record in enumerate(records):
    path = f'round {number}'
    _RECORD(path, record)
    document.require(
      record['round'] == number, f'{path}.round', record['round'], str(number)
    )
    for i, leg in enumerate(record['legs']):
      book.begin(f'{path}.legs[{i}]', leg)
    for i, result in enumerate(record['results']):
      book.end(f'{path}.results[{i}]', result)
    book.advance(path)


def check_decisions(records: Sequence[Record]) -> None:
  """Raises ValueError unless a run can go on by what records decided."""
  for number, record in enumerate(records):
    _DECISIONS(f'round {number}', record)


class _Book:
  """Which legs are at work, and which states were left."""

  def __init__(self, segments: int):
    self._segments = segments
    self._working: dict[int, Record] = {}
    self._done: dict[int, int] = {}  # Segments behind each leg at work.
    self._trained: dict[int, list[tuple[int, int]]] = {}

  def begin(self, path: str, leg: Record) -> None:
    member, source, start = leg['member'], leg['source'], leg['start']
    ok = start < leg['stop'] <= self._segments
    words = f'more than {start} and at most {self._segments}'
    document.require(ok, f'{path}.stop', leg['stop'], words)
    ok = member not in self._working
    document.require(ok, f'{path}.member', member, 'a member not at work')
    if source is None:
      document.require(start == 0, f'{path}.start', start, '0')
    else:
      spans = self._trained.get(source[0], [])
      ok = any(a < source[1] <= b for a, b in spans) and source[1] == start
      words = f'a state that a leg before left, after {start} segments'
      document.require(ok, f'{path}.source', source, words)
    self._working[member], self._done[member] = leg, start
    self._trained.setdefault(member, []).append((start, leg['stop']))

  def end(self, path: str, result: Record) -> None:
    member, status = result['member'], result['status']
    ok = member in self._working
    document.require(ok, f'{path}.member', member, 'a member at work')
    leg = self._working.pop(member)
    low = leg['start'] if status != member_lib.OK else leg['stop']
    ok = low <= result['stop'] <= leg['stop']
    words = f'from {low} to {leg["stop"]}'
    document.require(ok, f'{path}.stop', result['stop'], words)
    scored = set(leg['splits']) if status == member_lib.OK else set()
    ok = set(result['metrics']) == scored
    words = f'losses on {sorted(scored)}'
    document.require(ok, f'{path}.metrics', result['metrics'], words)

  def advance(self, path: str) -> None:
    """After a round, which trained all legs at work for a segment."""
    for member, leg in self._working.items():
      self._done[member] += 1
      ok = self._done[member] < leg['stop']
      words = f'a result of member {member}, which ended'
      document.require(ok, f'{path}.results', None, words)
