"""Tests of rows and of the content of result.json."""

import csv
import json
import math

import jax.numpy as jnp
import pytest

from evo import campaign as campaign_lib
from evo import ledger, space, strategies
from evo import result as result_lib
from models import quadratic

BASE, OTHER, THIRD = {'x': 0.1}, {'x': 0.7}, {'x': 0.9}
X = {'kind': 'float', 'low': 0, 'high': 1, 'default': 0.1}
SPACE = {'name': 'line', 'parameters': {'x': X | {'tier': 'configuration'}}}
RUN = {
  'flags': {'confirm_seeds': 2},
  'metric': 'bpb',
  'segments': 10,
  'steps_per_segment': 5,
  'finds_schedules': False,
  'space': SPACE,
  'baseline': BASE,
  'data_digest': 'd',
}
NOTHING = {'seconds': {}, 'compilations': {}, 'stop_reason': 'done'}


class Fragile(quadratic.Quadratic):
  """Diverges where h0 is above a half."""

  def step(self, structure, data, h, *rest):
    theta, loss = super().step(structure, data, h, *rest)
    return theta, jnp.where(h['h0'] > 0.5, jnp.nan, loss)


class Dead(quadratic.Quadratic):
  """Always diverges."""

  def step(self, *args):
    theta, loss = super().step(*args)
    return theta, loss * jnp.nan


def describe(campaign, workdir, **flags):
  """The content of run.json for a campaign of the quadratic trainee."""
  engine, strategy = campaign.engine, campaign.strategy
  return {
    'flags': {
      'workdir': str(workdir),
      'strategy': 'evolution',
      'max_members': 12,
      'confirm_seeds': 3,
    }
    | flags,
    'metric': 'negative_q',
    'segments': 10,
    'steps_per_segment': engine.steps,
    'tokens_per_step': 1,
    'flops_per_member': engine.member_flops,
    'finds_schedules': strategy.finds_schedules,
    'space': strategy.space.to_json(),
    'baseline': strategy.space.baseline,
    'data_digest': 'none',
    'command': f'python -m launch.search --workdir={workdir}',
    'versions': {'jax': '1'},
  }


def outcome(campaign, workdir, **flags):
  """Runs a campaign; returns its result, rows and run."""
  campaign.run()
  run = describe(campaign, workdir, **flags)
  records = ledger.Ledger(workdir / 'ledger').records
  kinds = ('', '_compiling', '_training', '_evaluating', '_searching')
  result = result_lib.result(
    records,
    run,
    seconds={f'seconds{kind}': 1.0 for kind in kinds},
    compilations={'compilations': 3, 'compilations_cached': 0},
    stop_reason=campaign.stop_reason,
  )
  return result, result_lib.leg_rows(records, run), run


def finds_schedules(campaign):
  campaign.strategy.finds_schedules = campaign.strategy.takes_over = True
  return campaign


def leg(member, configuration=BASE, start=0, stop=10, **values):
  splits = ('search',) if stop == 10 else ()
  return {
    'member': member,
    'parent': None,
    'configuration': configuration,
    'source': [member, start] if start else None,
    'start': start,
    'stop': stop,
    'seed': 1,
    'keep': False,
    'splits': list(splits),
  } | values


def ended(leg, loss=None, confirm=None, stop=None):
  """The result of a leg; one without a loss, at its end, diverged."""
  metrics = {} if loss is None else {'search': loss}
  if confirm is not None:
    metrics = {'confirm': confirm, **metrics}
  ok = bool(metrics) or not leg['splits']
  return {
    'member': leg['member'],
    'status': 'ok' if ok else 'diverged',
    'metrics': metrics,
    'flops': 7.0,
    'tokens': 3,
    'stop': leg['stop'] if stop is None else stop,
  }


def records(*rounds):
  """Records of (phase, legs, results)."""
  return [
    {'round': i, 'phase': phase, 'legs': legs, 'results': results}
    for i, (phase, legs, results) in enumerate(rounds)
  ]


def searched(*pairs):
  """A round in which (leg, loss) begin and end."""
  return 'search', [p[0] for p in pairs], [ended(*p) for p in pairs]


def confirmed(first, losses, champion=OTHER):
  """A round with a confirmation: (baseline, champion) losses by seed."""
  legs, results = [], []
  for i, pair in enumerate(losses):
    for j, loss in enumerate(pair):
      configuration = champion if j else BASE
      splits = ['confirm', 'search']
      run = leg(first + 2 * i + j, configuration, seed=90 + i, splits=splits)
      legs.append(run)
      # The search split of the toy is a tenth above.
      results.append(ended(run, loss and loss + 0.1, loss))
  return 'confirm', legs, results


def test_rows_count_in_training_steps():
  begun = leg(0, stop=3, keep=True)
  later = leg(0, start=3)
  rows = result_lib.leg_rows(
    records(
      ('search', [begun], []),
      ('search', [], [ended(begun)]),
      ('search', [later], [ended(later, 1.5)]),
    ),
    RUN,
  )
  assert [(r['start'], r['stop'], r['lineage_step']) for r in rows] == [
    (0, 15, 15),
    (15, 50, 50),
  ]
  assert [row['bpb'] for row in rows] == [None, 1.5]
  assert [row['status'] for row in rows] == ['ok', 'ok']
  assert [row['source'] for row in rows] == [None, [0, 15]]
  assert [row['round'] for row in rows] == [1, 2]


def test_a_culled_member_ends_before_its_stop():
  lost = leg(0)
  (row,) = result_lib.leg_rows(
    records(('search', [lost], [ended(lost, stop=4)])), RUN
  )
  assert (row['status'], row['bpb']) == ('diverged', None)
  assert (row['lineage_step'], row['stop']) == (20, 50)


def test_a_leg_at_work_when_the_run_stopped_is_stopped_and_free():
  (row,) = result_lib.leg_rows(
    records(('search', [leg(0)], []), ('search', [], [])), RUN
  )
  assert (row['status'], row['bpb'], row['flops']) == ('stopped', None, 0)
  assert row['lineage_step'] == 10  # Two rounds of five steps.


def test_species_are_structures_by_first_appearance():
  shape = {'kind': 'int', 'low': 1, 'high': 4, 'tier': 'architecture'}
  depth = shape | {'default': 2, 'structural': True}
  run = RUN | {
    'space': {
      'name': 's',
      'parameters': SPACE['parameters'] | {'depth': depth},
    }
  }
  legs = [leg(i, {'x': i / 9, 'depth': d}) for i, d in enumerate((3, 2, 3, 1))]
  rows = result_lib.leg_rows(records(('search', legs, [])), run)
  assert [row['species'] for row in rows] == [0, 1, 0, 2]


def test_the_first_of_equals_that_reached_the_end_is_the_best():
  half = leg(0, stop=5, splits=['search'])
  content = records(
    searched((half, 0.1), (leg(1), 1.0), (leg(2), 0.9), (leg(3), 0.9))
  )
  assert result_lib.best_member(content, RUN)['member'] == 2
  assert result_lib.best_member([], RUN) is None


def test_gain_is_baseline_minus_champion_over_the_pairs():
  content = records(
    searched((leg(0), 2.0), (leg(1, OTHER), 1.0)),
    confirmed(2, [(2.0, 1.5), (2.2, 1.9)]),
  )
  result = result_lib.result(content, RUN, **NOTHING)
  gain = result['gain']
  assert gain['mean'] == pytest.approx(0.4)
  # The standard error is .1, and Student's 97.5% quantile at 1 is 12.706.
  assert gain['high'] - gain['mean'] == pytest.approx(1.2706, rel=1e-4)
  assert gain['n'] == 2
  assert result['baseline']['confirm_bpb'] == pytest.approx(2.1)
  assert result['champion']['confirm_bpb'] == pytest.approx(1.7)
  assert result['champion']['search_bpb'] == 1.0
  # Over seeds 1, 90 and 91.
  assert result['baseline']['search_bpb'] == pytest.approx((2 + 2.1 + 2.3) / 3)
  assert result['confirm_seeds'] == [90, 91]
  assert result['gain_missing'] is None


def test_the_last_confirmation_counts():
  content = records(
    searched((leg(0), 2.0), (leg(1, OTHER), 1.0)),
    confirmed(2, [(2.0, 1.5), (2.2, 1.9)]),
    searched((leg(6), 2.0), (leg(7, THIRD), 0.8)),
    confirmed(8, [(2.0, 1.0), (2.0, 1.0)], THIRD),
  )
  result = result_lib.result(content, RUN, **NOTHING)
  assert result['gain']['mean'] == 1.0
  # Members 0 and 6 are one run; both confirmations used seeds 90 and 91.
  assert result['baseline']['search_bpb'] == pytest.approx((2 + 2.1 + 2.3) / 3)
  assert result['members'] == 4
  stale = result_lib.result(content[:3], RUN, **NOTHING)
  assert stale['gain'] is None
  assert stale['gain_missing'] == 'champion changed'
  assert stale['champion']['confirm_bpb'] is None


def test_an_inherited_run_of_the_baseline_does_not_speak_for_it():
  root = leg(1, OTHER, stop=3)
  child = leg(2, start=3, source=[1, 3])
  content = records(
    searched((root, None)),
    searched((child, 0.2), (leg(0), 2.0)),
  )
  result = result_lib.result(content, RUN, **NOTHING)
  assert result['baseline']['search_bpb'] == 2.0


def test_a_failed_run_of_the_confirmation_leaves_no_gain():
  content = records(
    searched((leg(0), 2.0), (leg(1, OTHER), 1.0)),
    confirmed(2, [(2.0, None), (2.2, 1.9)]),
  )
  result = result_lib.result(content, RUN, **NOTHING)
  assert (result['gain'], result['gain_missing']) == (None, 'run failed')
  assert result['champion']['confirm_bpb'] is None
  assert result['baseline']['confirm_bpb'] == pytest.approx(2.1)


@pytest.mark.parametrize('cut', ['a run at work', 'a pair not asked'])
def test_half_a_confirmation_is_none(cut):
  phase, legs, results = confirmed(2, [(2.0, 1.5), (2.2, 1.9)])
  if cut == 'a run at work':
    results = results[:-1]
  else:
    legs, results = legs[:2], results[:2]
  content = records(
    searched((leg(0), 2.0), (leg(1, OTHER), 1.0)), (phase, legs, results)
  )
  result = result_lib.result(content, RUN, **NOTHING)
  assert (result['gain'], result['gain_missing']) == (None, 'unfinished')
  assert result['baseline']['confirm_bpb'] is None


def test_details_describe_the_confirm_loss_where_there_is_one():
  content = records(
    searched((leg(0), 2.0), (leg(1, OTHER), 1.0)),
    confirmed(2, [(2.0, 1.5), (2.0, 1.5)]),
  )

  def details(loss, split):
    return {'said': f'{split} {loss}'}

  sure = result_lib.result(content, RUN, **NOTHING, details=details)
  assert sure['baseline']['said'] == 'confirm 2.0'
  assert sure['champion']['said'] == 'confirm 1.5'
  unsure = result_lib.result(content[:1], RUN, **NOTHING, details=details)
  assert unsure['champion']['said'] == 'search 1.0'


def test_the_result_agrees_with_the_campaign(make_campaign, tmp_path):
  campaign = make_campaign(tmp_path, trainee=Fragile(), inherit_at=0.3)
  result, rows, _ = outcome(campaign, tmp_path)
  best, gain = campaign.best, campaign.confirmation.gain()
  assert result['champion']['member'] == best.leg.member
  assert result['champion']['configuration'] == best.leg.configuration
  assert result['champion']['search_negative_q'] == best.loss
  assert result['gain']['mean'] == gain.mean
  assert (result['gain']['low'], result['gain']['n']) == (gain.low, gain.n)
  assert result['flops'] == pytest.approx(campaign.flops, rel=1e-12)
  assert result['tokens'] == campaign.tokens
  assert result['finished'] == campaign.finished
  assert result['diverged'] > 0
  assert result['ok'] + result['diverged'] == result['members'] == 12
  assert sum(row['status'] == 'stopped' for row in rows) == 0
  assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_exported_ledger_sums_to_the_result(make_campaign, tmp_path):
  result, rows, _ = outcome(make_campaign(tmp_path, inherit_at=0.3), tmp_path)
  result_lib.write_exports(tmp_path, rows)
  lines = (tmp_path / 'ledger.jsonl').read_text().splitlines()
  read = [json.loads(line) for line in lines]
  assert read == rows
  assert sum(row['flops'] for row in read) == result['flops']
  with (tmp_path / 'ledger.csv').open() as file:
    cells = list(csv.DictReader(file))
  assert len(cells) == len(rows)
  for cell, row in zip(cells, rows, strict=True):
    assert float(cell['configuration.h0']) == row['configuration']['h0']
    assert cell['negative_q'] == str(
      '' if row['negative_q'] is None else row['negative_q']
    )


@pytest.mark.parametrize('strategy', ['evolution', 'pbt'])
def test_a_run_that_was_cut_gives_the_result_of_an_unbroken_one(
  make_campaign, tmp_path, strategy
):
  whole, rows, _ = outcome(
    finds_schedules(make_campaign(tmp_path / 'a', strategy)), tmp_path / 'a'
  )
  rounds = iter(range(1000))
  cut = finds_schedules(
    make_campaign(
      tmp_path / 'b',
      strategy,
      stop=lambda: 'sigterm' if next(rounds) == 16 else None,
    )
  )
  partial, *_ = outcome(cut, tmp_path / 'b')
  assert partial['stop_reason'] == 'sigterm'
  assert partial['gain'] is None
  resumed, again, _ = outcome(
    finds_schedules(make_campaign(tmp_path / 'b', strategy)), tmp_path / 'b'
  )
  assert resumed == whole
  assert again == rows


def test_the_schedule_of_pbt_covers_the_budget(make_campaign, tmp_path):
  campaign = finds_schedules(make_campaign(tmp_path, 'pbt'))
  result, _, run = outcome(campaign, tmp_path)
  schedule = result['champion']['schedule']
  assert schedule[0]['start'] == 0
  assert schedule[-1]['stop'] == result_lib.budget_steps(run)
  assert [(p['stop'], p['configuration']) for p in schedule] == [
    (piece.stop * campaign.engine.steps, piece.configuration)
    for piece in campaign.champion_schedule()
  ]
  assert result['gain']['n'] == 3


def test_a_baseline_alone_is_its_own_champion(make_campaign, tmp_path):
  campaign = make_campaign(
    tmp_path, bounds=campaign_lib.Bounds(members=1), pairs=0
  )
  result, *_ = outcome(campaign, tmp_path, max_members=1, confirm_seeds=0)
  assert (
    result['champion']['configuration'] == result['baseline']['configuration']
  )
  assert result['champion']['search_negative_q'] == campaign.best.loss
  assert result['gain'] is None
  assert (result['members'], result['gain_missing']) == (1, 'left out')


def test_where_all_diverged_there_is_no_champion(make_campaign, tmp_path):
  campaign = make_campaign(tmp_path, 'random', trainee=Dead())
  result, *_ = outcome(campaign, tmp_path)
  assert (result['champion'], result['gain']) == (None, None)
  assert result['diverged'] == result['members'] == 12
  assert result['flops'] > 0


def test_an_unscored_population_gives_rows_for_any_strategy():
  shape = space.Space.from_json(SPACE)
  for name in strategies.NAMES:
    legs = strategies.make(name, shape, population=4).ask(4)
    content = records(('search', [leg.to_json() for leg in legs], []))
    rows = result_lib.leg_rows(content, RUN)
    assert len(rows) == 4
    assert all(math.isfinite(row['stop']) for row in rows)
