"""The clock of a campaign: where its seconds went, over all its sessions.

Nothing here reaches the ledger; clocks only stop runs and inform people.
"""

import collections
import contextlib
import time
from collections.abc import Iterator

from evo import ledger as ledger_lib
from evo import program

# Rounds that a speed is taken from: conditions change in a long run.
_RECENT = 30


class Clock:
  """Seconds and speed, from the monotonic clock.

  Attributes:
    asking: seconds that asking for legs took, replayed asks included.
  """

  def __init__(self, meter: program.Meter, events: ledger_lib.Events):
    """Starts; earlier sessions count up to their last round."""
    self._meter, self._events = meter, events
    self._begin = time.monotonic()
    # A transfer has rounds of its own elsewhere, and notes the time here.
    timed = ('round', 'transfer')
    rounds = [event for event in events.read() if event['event'] in timed]
    self._before = rounds[-1] if rounds else {}
    self._first_dispatch: float | None = None
    self._compiling = 0.0  # Seconds by then.
    self._last_result = 0.0
    self._rounds = 0
    self.asking = 0.0
    # (second, FLOPs, tokens) so far, at the end of the last rounds.
    self._marks = collections.deque([(0.0, 0.0, 0)], maxlen=_RECENT + 1)

  @property
  def seconds(self) -> float:
    """Of wall clock, earlier sessions included."""
    earlier = self._before.get('seconds', 0.0)
    return earlier + time.monotonic() - self._begin

  def rounds(self) -> dict[int, float]:
    """Seconds of wall clock at the end of each committed round."""
    events = self._events.read()
    return {e['round']: e['seconds'] for e in events if e['event'] == 'round'}

  def dispatched(self) -> None:
    """Notes that a round is about to start."""
    if self._first_dispatch is None:
      self._first_dispatch = time.monotonic()
      self._compiling = self._meter.compiling

  @property
  def running(self) -> bool:
    """Whether a round of this session was started."""
    return self._first_dispatch is not None

  @contextlib.contextmanager
  def asked(self) -> Iterator[None]:
    """Meters the asking of a strategy."""
    begin = time.monotonic()
    yield
    self.asking += time.monotonic() - begin

  def collected(self, flops: float, tokens: int) -> None:
    """Notes the end of a round that trained so many FLOPs and tokens."""
    self._last_result = time.monotonic()
    if not self._rounds:
      # What a session has to compile before it runs says nothing of its speed.
      self._first_dispatch += self._meter.compiling - self._compiling
      self._marks[0] = (self._first_dispatch, 0.0, 0)
    _, flops_before, tokens_before = self._marks[-1]
    self._marks.append(
      (self._last_result, flops_before + flops, tokens_before + tokens)
    )
    self._rounds += 1

  def speed(self) -> float | None:
    """FLOPs trained a second in the last rounds; None before two of them.

    Evaluation, compiling and overhead are included.
    """
    return self._rate(1)

  def tokens_per_second(self) -> float | None:
    """Trained in the last rounds, likewise."""
    return self._rate(2)

  def spent(self) -> dict[str, float]:
    """Seconds by what they were spent on, for results and events.

    Beside them stand the programs that were compiled, `compilations`, and those
    of them that the cache had.

    `seconds_searching` runs from the first dispatch to the last result, less
    what was compiled in the first round; what of it is not training, evaluating
    or compiling is overhead.
    """
    searching = 0.0
    if self._rounds:
      searching = self._last_result - self._first_dispatch
    session = {
      'seconds_compiling': self._meter.compiling,
      'seconds_training': self._meter.training,
      'seconds_evaluating': self._meter.evaluating,
      'seconds_searching': searching,
      'compilations': self._meter.compilations,
      'compilations_cached': self._meter.cached,
    }
    return {'seconds': self.seconds} | {
      name: self._before.get(name, 0) + value for name, value in session.items()
    }

  def _rate(self, column: int) -> float | None:
    if self._rounds < 2:
      return None
    first, last = self._marks[0], self._marks[-1]
    return (last[column] - first[column]) / (last[0] - first[0])
