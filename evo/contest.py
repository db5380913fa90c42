"""A contest: one strategy's search in a comparison, and what it found.

The search alone is charged. What follows measures it: every incumbent is
trained from scratch on fresh seeds, which are the same for all strategies that
searched with the same seed.
"""

import math

from evo import campaign as campaign_lib
from evo import comparison, simulation, verification
from evo import member as member_lib

WEIGHTS = 'final weights'
SCHEDULE = 'schedule replayed'
LAST = 'last configuration retrained'

Incumbents = list[tuple[float, member_lib.Result]]


def incumbents(campaign: campaign_lib.Campaign) -> Incumbents:
  """The best member after each round that brought a better one."""
  by_charge = {spent: result for spent, result in campaign.incumbents}
  return list(by_charge.items())


def arms(
  campaign: campaign_lib.Campaign,
) -> dict[str, verification.Schedule]:
  """What is trained from scratch after the search.

  Every incumbent by its member's id; of a strategy that finds schedules the
  last configuration of the best one too, from start to end.
  """
  found = {
    str(result.leg.member): campaign.schedule(result)
    for _, result in incumbents(campaign)
  }
  if campaign.strategy.finds_schedules:
    found[LAST] = verification.constant(
      campaign.best.leg.configuration, campaign.engine.budget.segments
    )
  return found


def run(
  campaign: campaign_lib.Campaign, strategy: str, seed: int
) -> comparison.Run:
  """The record of a contest that is over."""
  member = campaign.engine.member_flops
  results = campaign.results
  return comparison.Run(
    strategy=strategy,
    seed=seed,
    charge=sum(result.flops for result in results) / member,
    members=campaign.allowance.started,
    failures=sum(not result.ok for result in results),
    asks=campaign.strategy.asks,
    seconds_asking=campaign.loop.clock.asking,
    incumbents=tuple(
      comparison.Incumbent(
        charge=spent / member,
        member=result.leg.member,
        observed=result.loss,
        confirmed=_confirmed(campaign, str(result.leg.member)),
      )
      for spent, result in incumbents(campaign)
    ),
    rows=_rows(campaign) if campaign.strategy.finds_schedules else {},
  )


def simulated(
  found: simulation.Simulation, strategy: str, seed: int, segments: int
) -> comparison.Run:
  """The record of a contest on a function, whose truth confirms it.

  Args:
    found: what came of it.
    strategy: its name in the comparison.
    seed: of the search.
    segments: of a member's budget.
  """
  ended = zip(found.results, found.truths, found.charges, strict=True)
  by_charge, best = {}, math.inf
  for result, truth, charge in ended:
    if result.ok and result.stop == segments and result.loss < best:
      best = result.loss
      by_charge[charge] = comparison.Incumbent(
        charge, result.leg.member, best, truth
      )
  trained = sum(r.stop - r.leg.start for r in found.results)
  return comparison.Run(
    strategy=strategy,
    seed=seed,
    charge=trained / segments,
    members=len({leg.member for leg in found.legs}),
    failures=sum(not result.ok for result in found.results),
    asks=found.asks,
    seconds_asking=found.seconds,
    incumbents=tuple(by_charge.values()),
  )


def _rows(campaign: campaign_lib.Campaign) -> dict[str, float]:
  """What became of the best member's weights, schedule and configuration."""
  best = campaign.best
  if best is None or campaign.confirmation is None:
    return {}
  rows = {
    WEIGHTS: campaign.engine.kept.score(best.leg, best.stop, 'confirm'),
    SCHEDULE: _confirmed(campaign, str(best.leg.member)),
    LAST: _confirmed(campaign, LAST),
  }
  return {name: loss for name, loss in rows.items() if loss is not None}


def _confirmed(campaign: campaign_lib.Campaign, arm: str) -> float | None:
  """Mean loss of an arm over the fresh seeds; None where one failed."""
  if campaign.confirmation is None:
    return None
  losses = campaign.confirmation.losses(arm)
  mean = sum(losses) / len(losses)
  return mean if math.isfinite(mean) else None
