"""The loop: rounds of legs, committed to a ledger and repeated from it.

A round is one segment of all slots and the unit of commit. The same loop runs
and replays: while the ledger already has the next record, whoever is asked is
asked and told again as it was then. Rounds up to the newest checkpoint need no
device; later ones are computed again and must come out the same.
"""

from collections.abc import Callable
from typing import Any, Protocol

from etils import epath

from evo import allowance as allowance_lib
from evo import attempts as attempts_lib
from evo import clock as clock_lib
from evo import engine as engine_lib
from evo import ledger as ledger_lib
from evo import lull
from evo import member as member_lib
from evo import record as record_lib
from evo import retention as retention_lib

Record = dict[str, Any]
Account = Callable[[list[member_lib.Leg], list[member_lib.Result]], None]

SEARCH = 'search'


class Asker(Protocol):
  """What a phase asks for legs: a strategy or a confirmation."""

  def ask(self, n: int, fresh: int | None) -> list[member_lib.Leg]:
    """Legs for at most `n` free slots; see `Strategy.ask`."""
    ...

  def tell(self, results: list[member_lib.Result]) -> None:
    """Takes results of legs that were asked."""
    ...


class Loop:
  """Rounds of one workdir.

  Attributes:
    engine: runs the legs.
    allowance: what may still start.
    keep: rounds whose checkpoints stay.
    clock: where the time went.
    phase: of the current round, such as `search` or `confirm`.
    cycle: of the campaign, counted from 0.
    turn: number of the search that runs, or whose findings are verified; a
      cycle has several where a champion did not pass.
    round: number of the next round.
    resume_at: round up to which nothing is trained again, or -1.
    flops: charged so far.
    tokens: trained on so far.
    stop_reason: why the loop ended before its phases did, or None.
  """

  def __init__(
    self,
    engine: engine_lib.Engine,
    workdir: epath.PathLike,
    allowance: allowance_lib.Allowance,
    *,
    stop: Callable[[], str | None] = lambda: None,
    observe: Callable[[], None] = lambda: None,
    pinned: Callable[[], set[member_lib.Weights]] = set,
    keep: int = 2,
  ):
    """Reads the ledger of the workdir, if there is one; nothing runs yet.

    Args:
      engine: runs the legs.
      workdir: holds, or will hold, the ledger and the checkpoints.
      allowance: of the search.
      stop: asked after each round for a reason to stop there.
      observe: called after each round.
      pinned: states that must not be removed.
      keep: rounds whose checkpoints stay.

    Raises:
      ValueError: the ledger is damaged, or makes no sense.
    """
    self.engine, self.allowance, self.keep = engine, allowance, keep
    self.phase, self.round = SEARCH, 0
    self.cycle, self.turn = 0, 0
    self.stop_reason: str | None = None
    self.flops, self.tokens = 0.0, 0
    folder, self._hosts = epath.Path(workdir), engine.hosts
    self._ledger = ledger_lib.Ledger(folder / 'ledger', self._hosts)
    record_lib.check(self._ledger.records, engine.budget.segments)
    record_lib.check_decisions(self._ledger.records)
    self._events = ledger_lib.Events(folder / 'events.jsonl', self._hosts)
    self._checkpoints = engine.checkpoints
    self._stop, self._observe, self._pinned = stop, observe, pinned
    self._pending: Record | None = None
    self._over: str | None = None  # Why to stop after this round.
    self._decided: dict[str, Any] = {}  # Before the next round.
    self._ran: tuple[str, int] | None = None  # Phase and turn of the last run.
    self._retention = retention_lib.Retention(
      engine, self._ledger, keep, allowance.disk
    )
    self.resume_at, self._begun = self._retention.newest, False
    self.clock = clock_lib.Clock(engine.meter, self._events)
    self._attempts = attempts_lib.Attempts(
      self._events, self._hosts, engine.catalogue, self._ledger
    )

  @property
  def records(self) -> list[Record]:
    """All committed records."""
    return self._ledger.records

  @property
  def replaying(self) -> bool:
    """Whether the next round is already in the ledger."""
    return self.round < len(self._ledger.records)

  @property
  def live(self) -> bool:
    """Whether the states of the current round are on the devices."""
    return self.round > self.resume_at

  def decide(self, name: str, make: Callable[[], Any]) -> Any:
    """What was decided before the next round: as it stands there, or now.

    For decisions that hang on the bounds, which may be others by the time that
    a ledger is replayed.

    Args:
      name: of the decision.
      make: decides; gives what is JSON-able.
    """
    if standing := self._standing():
      self._same(name in standing['decided'])
      self._decided[name] = standing['decided'][name]
    else:
      self._decided[name] = make()
    return self._decided[name]

  def late(self, share: float = 1.0) -> str | None:
    """`max_minutes` once this share of the minutes is over."""
    minutes = self.allowance.minutes
    late = minutes is not None and self.clock.seconds > 60 * minutes * share
    return 'max_minutes' if late else None

  def log(self, event: str, **values: Any) -> None:
    """Notes in `events.jsonl` what happened, for people."""
    self._events.write(event, **values)

  def noted(self, event: str) -> list[Record]:
    """Events of a kind, of all sessions."""
    return [e for e in self._events.read() if e['event'] == event]

  def run(self, phase: str, asker: Asker, account: Account) -> int:
    """Runs a phase until nothing is left to do in it, or a reason to stop.

    Args:
      phase: its name; only a search draws on the allowance.
      asker: gives the legs and takes their results.
      account: told what began and what ended in each round.

    Returns:
      How many rounds there were.
    """
    self.phase = phase
    own, rounds = (phase, self.turn), 0
    while self.stop_reason is None:
      if self.live and not self._begun:
        self._begin()
        continue
      standing = self._standing()
      if standing and _owner(standing) != own:
        self._taken(standing)
        break
      asked = self._standing_asked(standing) if standing else self._offer()
      with self.clock.asked():
        legs = asker.ask(asked['n'], asked['fresh']) if asked['n'] else []
      legs = self.engine.seats.admit(
        legs, limit=asked['species'], repair=phase == SEARCH
      )
      if not legs and self.engine.idle():
        break  # What stands may be of who is asked next in this phase.
      if standing:
        self._compare(legs, standing)
      results = self._advance(legs, standing)
      asker.tell(results)
      self._account(results)
      account(legs, results)
      self._record(asked, legs, results, standing)
      rounds += 1
      self._observe()
    self._ran = own
    return rounds

  def finish(self) -> None:
    """Commits the last round and waits for storage."""
    if self.stop_reason is None and (standing := self._standing()):
      self._taken(standing)
    with lull.expected():
      self.engine.rounds.check()
      self._flush()
      self._checkpoints.wait()

  def _begin(self) -> None:
    """Before the first round that is trained."""
    self._begun = True
    for name, why in self._retention.passed_over.items():
      self.log('damaged', checkpoint=name, reason=why)
    self.stop_reason = self._retention.begin(self._needed())

  def _advance(
    self, legs: list[member_lib.Leg], standing: Record | None
  ) -> list[member_lib.Result]:
    """One round, on the devices or from the ledger."""
    replay = self.round <= self.resume_at
    self.engine.start(legs, replay=replay)
    if not replay:
      ended = self._recorded_results(standing) if standing else None
      self._attempts.retire(self.engine.seats, ended)
    flops, tokens = self.engine.work()
    self.allowance.executed += flops
    if replay:
      results = self._recorded_results(standing)
      self.engine.settle(results, replay=True)
      if self.round == self.resume_at:
        self.engine.restore(retention_lib.checkpoint_name(self.round))
      return results
    with self._attempts.failing():
      results = self._standing_results(self._train(), standing)
    self.clock.collected(flops, tokens)
    self.engine.settle(results)
    return results

  def _train(self) -> list[member_lib.Result]:
    """One round on the devices."""
    if not self.clock.running:
      # One is enough to begin with: the others are compiled while it trains.
      self.engine.rounds.compile(1)
      self.log('compiled', round=self.round)
    self.clock.dispatched()
    try:
      self.engine.rounds.dispatch()
    finally:
      # The last round, if it ended well, is committed while this one trains,
      # and whatever becomes of it.
      self.engine.rounds.check()
      self._flush()
    return self.engine.rounds.collect()

  def _standing_results(
    self, results: list[member_lib.Result], standing: Record | None
  ) -> list[member_lib.Result]:
    """Those of the record, where members were split otherwise back then.

    Sums over devices come out a little different then; what was decided by
    them stands. Otherwise recomputed records are equal or something is wrong.
    """
    if standing is None or standing['split'] == self.engine.split:
      return results
    recorded = self._recorded_results(standing)
    alike = len(results) == len(recorded) and all(
      map(member_lib.Result.agrees, results, recorded)
    )
    return recorded if alike else results

  def _account(self, results: list[member_lib.Result]) -> None:
    for result in results:
      self.flops += result.flops
      self.tokens += result.tokens
      if result.status == member_lib.INFEASIBLE:
        why = self.engine.seats.species(result.leg).refusal
        self.log('infeasible', member=result.leg.member, reason=why)

  def _record(
    self,
    asked: dict[str, Any],
    legs: list[member_lib.Leg],
    results: list[member_lib.Result],
    standing: Record | None,
  ) -> None:
    live, number = self.live, self.round
    stop, late = None, None
    if live:
      stop, late = self._hosts.agree([self._stop(), self.late()])
    due = self._retention.due(self.round)
    if standing:
      due = standing['checkpoint'] is not None
    self._plan(standing)
    self._flush()
    name = retention_lib.checkpoint_name(number)
    self._pending = record = {
      'phase': self.phase,
      'cycle': self.cycle,
      'turn': self.turn,
      'decided': self._decided,
      'asked': asked,
      'legs': [leg.to_json() | self.engine.facts(leg) for leg in legs],
      'results': [result.to_json() for result in results],
      'split': standing['split'] if standing else self.engine.split,
      'plan': self.allowance.plan,
      'checkpoint': name if due else None,
    }
    if live and (due or stop):
      # Where the run is stopped from outside it will go on: from here.
      needed = self._needed()
      self.engine.save(
        name, lambda: self._retention.note(number, record, needed)
      )
    self._decided = {}
    self.round += 1
    if live:
      self.stop_reason = stop or self._over or late
      self._hosts.moved()

  def _flush(self) -> None:
    """Commits the last round, once all that it names is on storage."""
    record, self._pending = self._pending, None
    if record is None:
      return
    number = self.round - 1
    if number < len(self._ledger.records):
      self._ledger.check(number, record)
    else:
      self._checkpoints.wait()
      self._ledger.append(record)
      self._events.write(
        'round', round=number, phase=record['phase'], **self.clock.spent()
      )
    if record['checkpoint'] and number > self.resume_at:
      self._over = self._retention.prune(number, self._needed())

  def _needed(self) -> set[member_lib.Weights]:
    """States that legs may inherit, asked or not yet."""
    sources = {leg.source for leg in self.engine.legs if leg.source}
    return self._pinned() | sources

  def revise(self) -> None:
    """Plans anew where the minutes are others than when they were planned."""
    plan, allowance = self.allowance.plan, self.allowance
    changed = plan is not None and plan['minutes'] != allowance.minutes
    if changed and not self.replaying:
      seconds = self._hosts.agree(self.clock.seconds)
      self._replan(seconds, allowance.executed / seconds)

  def replan(self) -> None:
    """Plans the minutes that are left by the speed of the last rounds."""
    if self.replaying or self.allowance.minutes is None:
      return
    seconds, speed = self._hosts.agree([self.clock.seconds, self.clock.speed()])
    if speed:
      self._replan(seconds, speed)

  def _replan(self, seconds: float, speed: float) -> None:
    charged = self.flops + self.engine.in_flight
    self.allowance.replan(seconds, speed, charged)

  def _offer(self) -> dict[str, Any]:
    """What is asked for, and how many species may be live."""
    n = self.engine.free()
    self.revise()
    if self.phase == SEARCH:
      n, fresh = self.allowance.offer(n)
    else:
      fresh = self.allowance.verifications()
    return {'n': n, 'fresh': fresh, 'species': self.engine.max_species}

  def _plan(self, standing: Record | None) -> None:
    """Takes the plan of the ledger, or makes one once the speed is known.

    Once for each member's length of rounds it is made anew, since species
    differ in speed and have to be compiled.
    """
    if standing:
      self.allowance.plan = standing['plan']
      return
    plan, minutes = self.allowance.plan, self.allowance.minutes
    due = (
      plan is None
      or plan['minutes'] != minutes
      or self.round % self.engine.budget.segments == 0
    )
    if (self.phase == SEARCH or self.allowance.shares) and due:
      self.replan()

  def _standing_asked(self, standing: Record) -> Record:
    """What was asked for, if there was room for it."""
    self._same(standing['asked']['n'] <= self.engine.free())
    return standing['asked']

  def _compare(self, legs: list[member_lib.Leg], standing: Record) -> None:
    """Refuses a record whose legs are not those that were asked just now."""
    asked = [leg.to_json() for leg in legs]
    recorded = [
      {key: leg[key] for key in own}
      for leg, own in zip(standing['legs'], asked)
    ]
    self._same(len(standing['legs']) == len(asked) and recorded == asked)

  def _taken(self, standing: Record) -> None:
    """Refuses a record that nobody in the phase that just ended asked for."""
    self._same(_owner(standing) != self._ran)

  def _same(self, same: bool) -> None:
    if not same:
      raise self._ledger.differs(self.round)

  def _standing(self) -> Record | None:
    """The record that already stands for the next round."""
    return self._ledger.records[self.round] if self.replaying else None

  def _recorded_results(self, record: Record) -> list[member_lib.Result]:
    legs = {leg.member: leg for leg in self.engine.legs}
    return [member_lib.Result.from_json(r, legs) for r in record['results']]


def _owner(record: Record) -> tuple[str, int]:
  """Phase and turn of a record."""
  return record['phase'], record['turn']
