"""The campaign: search, then confirm what was found, round by round.

A round is one segment of all slots and the unit of commit. The same loop runs
a campaign and replays it: while the ledger already has the next record, the
strategy is asked and told again as it was then. Rounds up to the newest
checkpoint need no device; later ones are computed again and must come out the
same.
"""

from collections.abc import Callable
from typing import Any

from etils import epath

from evo import bounds as bounds_lib
from evo import clock as clock_lib
from evo import engine as engine_lib
from evo import ledger as ledger_lib
from evo import member as member_lib
from evo import strategy as strategy_lib
from evo import verification

Record = dict[str, Any]

# A population is saved once it has trained this many FLOPs per byte of state,
# so that saving stays far below a hundredth of the time on any machine.
_FLOPS_PER_BYTE = 5e4
_MOST_ROUNDS = 64


class Campaign:
  """A search with its confirmation.

  Attributes:
    legs: all legs of the search, in order of asking.
    results: all results of the search, in order.
    best: result of the best member that reached the end of its budget.
    confirmation: the last one, or None.
    phase: `search` or `confirm`.
    stop_reason: why the campaign ended, or None while it runs.
    clock: where the time went.
    flops: charged so far.
    tokens: trained on so far.
  """

  def __init__(
    self,
    engine: engine_lib.Engine,
    strategy: strategy_lib.Strategy,
    workdir: epath.PathLike,
    *,
    bounds: bounds_lib.Bounds,
    seed: int = 0,
    pairs: int = 4,
    stop: Callable[[], str | None] = lambda: None,
    observe: Callable[['Campaign'], None] = lambda campaign: None,
  ):
    """Reads the ledger of the workdir, if there is one; nothing runs yet.

    Args:
      engine: runs the legs.
      strategy: of the search.
      workdir: holds, or will hold, the ledger and the checkpoints.
      bounds: of the whole campaign.
      seed: from which the seeds of the confirmation are folded.
      pairs: of runs in a confirmation; 0 leaves it out.
      stop: asked after each round for a reason to stop there.
      observe: called after each round.

    Raises:
      ValueError: the ledger is damaged.
    """
    self.engine, self.strategy = engine, strategy
    self.legs, self.results, self.best = [], [], None
    self.confirmation, self.phase, self.stop_reason = None, 'search', None
    self.flops, self.tokens, self.round = 0.0, 0, 0
    self._ledger = ledger_lib.Ledger(epath.Path(workdir) / 'ledger')
    self._events = ledger_lib.Events(epath.Path(workdir) / 'events.jsonl')
    self._checkpoints = engine.checkpoints
    # What decides first; the search split beside it shows the screen's bias.
    self._confirm_splits = tuple(
      split for split in ('confirm', 'search') if split in engine.splits
    )
    pairs = pairs if 'confirm' in engine.splits else 0
    self._seed, self._pairs, self._minutes = seed, pairs, bounds.minutes
    self.allowance = bounds_lib.Allowance(
      bounds,
      engine,
      evaluations=strategy.evaluations,
      confirmation=2 * pairs,
      confirmation_evaluations=len(self._confirm_splits),
    )
    self._stop, self._observe = stop, observe
    self._needed: list[set[member_lib.Weights]] = [set(), set()]
    self._pending: Record | None = None
    self._resume_at = self._newest_checkpoint()
    self.clock = clock_lib.Clock(engine.meter, self._events)

  @property
  def records(self) -> list[Record]:
    """All committed records."""
    return self._ledger.records

  def log(self, event: str, **values: Any) -> None:
    """Notes in `events.jsonl` what happened, for people."""
    self._events.write(event, **values)

  @property
  def replaying(self) -> bool:
    """Whether the next round is already in the ledger."""
    return self.round < len(self._ledger.records)

  @property
  def finished(self) -> int:
    """Members of the search that reached the end of their budget."""
    segments = self.engine.budget.segments
    return sum(r.ok and r.stop == segments for r in self.results)

  @property
  def baseline_loss(self) -> float | None:
    """Search loss of the first member, the baseline, at the end."""
    segments = self.engine.budget.segments
    ends = (r for r in self.results if r.ok and r.stop == segments)
    return next((r.loss for r in ends if r.leg.member == 0), None)

  @property
  def tokens_per_second(self) -> float | None:
    """Trained in this session, evaluation and overhead included."""
    return self.clock.tokens_per_second()

  def progress(self) -> tuple[float, float | None]:
    """FLOPs trained so far, and about how many there will be if bounded."""
    return self.allowance.progress(self.phase == 'search')

  def run(self) -> None:
    """Runs until a bound, the strategy's end or a reason to stop."""
    number = 0
    while self.stop_reason is None:
      rounds = self._run_phase('search', self.strategy)
      if self.stop_reason or (number and not rounds):
        break
      if not (self._pairs and self.best):
        break
      self._confirm(number)
      number += 1
      if not self.replaying and self.allowance.fresh() == 0:
        break
    self._flush()
    self._checkpoints.wait()
    self.stop_reason = self.stop_reason or self.allowance.exhausted()

  def _confirm(self, number: int) -> None:
    self.confirmation = verification.Confirmation(
      verification.constant(
        self.strategy.space.baseline, self.engine.budget.segments
      ),
      self.champion_schedule(),
      seeds=[
        member_lib.fold(self._seed, 'confirm', number, i)
        for i in range(self._pairs)
      ],
      first_member=self.strategy.members,
      splits=self._confirm_splits,
    )
    self.allowance.confirm()
    self._run_phase('confirm', self.confirmation)
    self.strategy.members = self.confirmation.members

  def champion_schedule(self) -> verification.Schedule:
    """What is trained again from scratch in the champion's name.

    For a strategy that finds schedules (PBT) the configurations along the
    champion's lineage, else its own configuration from start to end.
    """
    segments = self.engine.budget.segments
    if self.strategy.finds_schedules:
      return verification.lineage_schedule(
        self.legs, self.best.leg.member, segments
      )
    return verification.constant(self.best.leg.configuration, segments)

  def _run_phase(self, phase: str, strategy: Any) -> int:
    """Rounds until nothing is left to do; returns how many there were."""
    self.phase = phase
    rounds = 0
    while self.stop_reason is None:
      standing = self._standing()
      if standing and standing['phase'] != phase:
        break
      asked = standing['asked'] if standing else self._offer()
      legs = strategy.ask(asked['n'], asked['fresh']) if asked['n'] else []
      legs = self.engine.seats.admit(
        legs, limit=asked['species'], repair=phase == 'search'
      )
      if not legs and self.engine.idle():
        break
      results = self._advance(legs, standing)
      strategy.tell(results)
      self._account(legs, results)
      self._record(asked, legs, results, standing)
      rounds += 1
      self._observe(self)
    return rounds

  def _advance(
    self, legs: list[member_lib.Leg], standing: Record | None
  ) -> list[member_lib.Result]:
    """One round, on the devices or from the ledger."""
    replay = self.round <= self._resume_at
    self.engine.start(legs, replay=replay)
    flops, tokens = self.engine.work()
    self.allowance.executed += flops
    if replay:
      results = self._recorded_results(standing)
      self.engine.settle(results, replay=True)
      if self.round == self._resume_at:
        self.engine.restore(checkpoint_name(self.round))
      return results
    if not self.clock.running:
      self.engine.compile()
    self.clock.dispatched()
    self.engine.dispatch()
    self._flush()  # The last round is committed while this one trains.
    results = self.engine.collect()
    self.clock.collected(flops, tokens)
    self.engine.settle(results)
    return results

  def _account(
    self, legs: list[member_lib.Leg], results: list[member_lib.Result]
  ) -> None:
    self.flops += sum(result.flops for result in results)
    self.tokens += sum(result.tokens for result in results)
    for result in results:
      if result.status == member_lib.INFEASIBLE:
        why = self.engine.seats.species(result.leg).refusal
        self.log('infeasible', member=result.leg.member, reason=why)
    if self.phase != 'search':
      return
    self.allowance.start(legs, self.strategy.takes_over)
    self.legs += legs
    self.results += results
    for result in results:
      whole = result.ok and result.stop == self.engine.budget.segments
      if whole and (self.best is None or result.loss < self.best.loss):
        self.best = result
        if self.round > self._resume_at:
          self.engine.keep((result.leg.member, result.stop))

  def _record(
    self,
    asked: dict[str, Any],
    legs: list[member_lib.Leg],
    results: list[member_lib.Result],
    standing: Record | None,
  ) -> None:
    live = self.round > self._resume_at
    due = self._checkpoint_due(standing)
    self._plan(standing)
    self._flush()
    self._pending = {
      'phase': self.phase,
      'asked': asked,
      'legs': [leg.to_json() | self.engine.facts(leg) for leg in legs],
      'results': [_result_json(result) for result in results],
      'plan': self.allowance.plan,
      'checkpoint': checkpoint_name(self.round) if due else None,
    }
    if due and live:
      self.engine.save(checkpoint_name(self.round))
    self.round += 1
    if live:
      self.stop_reason = self._stop() or self._brake()

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
    if record['checkpoint']:
      self._collect_garbage(number)

  def _collect_garbage(self, number: int) -> None:
    """Removes what neither this checkpoint nor the one before it needs."""
    needed = self.strategy.pinned() | {
      leg.source for leg in self.engine.legs if leg.source
    }
    if self.best:
      needed.add((self.best.leg.member, self.best.stop))
    self._needed = [self._needed[-1], needed]
    if number <= self._resume_at:
      return
    names = self._checkpoints.names()
    rounds = [name for name in names if name.startswith('round-')]
    keep = set(rounds[-2:])
    keep |= {engine_lib.kept_name(w) for w in set.union(*self._needed)}
    for name in names:
      if name not in keep:
        self._checkpoints.remove(name)

  def _offer(self) -> dict[str, Any]:
    """What the strategy is asked for, and how many species may be live."""
    fresh = self.allowance.fresh() if self.phase == 'search' else None
    seats = self.engine.max_species
    return {'n': self.engine.free(), 'fresh': fresh, 'species': seats}

  def _plan(self, standing: Record | None) -> None:
    """Takes the plan of the ledger, or makes one once the speed is known.

    Once for each member's length of rounds it is made anew, since species
    differ in speed and have to be compiled.
    """
    if standing:
      self.allowance.plan = standing['plan']
      return
    plan, speed = self.allowance.plan, self.clock.speed()
    due = (
      plan is None
      or plan['minutes'] != self._minutes
      or self.round % self.engine.budget.segments == 0
    )
    if self.phase == 'search' and speed and due:
      self.allowance.replan(self.clock.seconds, speed)

  def _brake(self) -> str | None:
    late = self._minutes is not None and self.clock.seconds > 60 * self._minutes
    return 'max_minutes' if late else None

  def _standing(self) -> Record | None:
    """The record that already stands for the next round."""
    return self._ledger.records[self.round] if self.replaying else None

  def _recorded_results(self, record: Record) -> list[member_lib.Result]:
    legs = {leg.member: leg for leg in self.engine.legs}
    return [
      member_lib.Result(leg=legs[r['member']], **_without(r, 'member'))
      for r in record['results']
    ]

  def _checkpoint_due(self, standing: Record | None) -> bool:
    if standing:
      return standing['checkpoint'] is not None
    flops = _FLOPS_PER_BYTE * self.engine.state_bytes
    baseline = self.engine.catalogue.baseline
    rounds = flops / (self.engine.size * baseline.segment_flops)
    every = min(_MOST_ROUNDS, max(1, round(rounds)))
    return (self.round + 1) % every == 0

  def _newest_checkpoint(self) -> int:
    """Round of the newest checkpoint that the ledger names, or -1."""
    saved = set(self._checkpoints.names())
    for number in reversed(range(len(self._ledger.records))):
      if self._ledger.records[number]['checkpoint'] in saved:
        return number
    return -1


def checkpoint_name(number: int) -> str:
  """Name of the checkpoint of a round."""
  return f'round-{number:08d}'


def _result_json(result: member_lib.Result) -> Record:
  return {
    'member': result.leg.member,
    'status': result.status,
    'metrics': result.metrics,
    'flops': result.flops,
    'tokens': result.tokens,
    'stop': result.stop,
  }


def _without(record: Record, key: str) -> Record:
  return {k: v for k, v in record.items() if k != key}
