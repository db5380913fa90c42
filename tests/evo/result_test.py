"""Tests of the content of result.json."""

import json

import pytest

from evo import bounds as bounds_lib
from evo import result as result_lib

OTHER, THIRD = {'x': 0.7}, {'x': 0.9}


def test_the_first_of_equals_that_reached_the_end_is_the_best(
  made, leg, searched
):
  half = leg(0, stop=5, splits=['search'])
  result, *_ = made(
    searched((half, 0.1), (leg(1), 1.0), (leg(2), 0.9), (leg(3), 0.9))
  )
  assert result['champion']['member'] == 2
  assert made()[0]['champion'] is None


def test_gain_is_baseline_minus_champion_over_the_pairs(
  made, leg, searched, confirmed
):
  result, *_ = made(
    searched((leg(0), 2.0), (leg(1, OTHER), 1.0)),
    confirmed(2, [(2.0, 1.5), (2.2, 1.9)]),
  )
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


def test_the_last_confirmation_counts(made, leg, searched, confirmed):
  rounds = (
    searched((leg(0), 2.0), (leg(1, OTHER), 1.0)),
    confirmed(2, [(2.0, 1.5), (2.2, 1.9)]),
    searched((leg(6), 2.0), (leg(7, THIRD), 0.8)),
    confirmed(8, [(2.0, 1.0), (2.0, 1.0)], THIRD),
  )
  result, *_ = made(*rounds)
  assert result['gain']['mean'] == 1.0
  # Members 0 and 6 are one run; both confirmations used seeds 90 and 91.
  assert result['baseline']['search_bpb'] == pytest.approx((2 + 2.1 + 2.3) / 3)
  assert result['members'] == 4
  stale, *_ = made(*rounds[:3])
  assert stale['gain'] is None
  assert stale['gain_missing'] == 'champion changed'
  assert stale['champion']['confirm_bpb'] is None


def test_an_inherited_run_of_the_baseline_does_not_speak_for_it(
  made, leg, searched
):
  root = leg(1, OTHER, stop=3)
  child = leg(2, start=3, source=[1, 3])
  result, *_ = made(
    searched((root, None)),
    searched((child, 0.2), (leg(0), 2.0)),
  )
  assert result['baseline']['search_bpb'] == 2.0
  # Nor is it the champion, whose configuration has to be worth its loss.
  assert result['champion']['member'] == 0


def test_a_failed_run_of_the_confirmation_leaves_no_gain(
  made, leg, searched, confirmed
):
  result, *_ = made(
    searched((leg(0), 2.0), (leg(1, OTHER), 1.0)),
    confirmed(2, [(2.0, None), (2.2, 1.9)]),
  )
  assert (result['gain'], result['gain_missing']) == (None, 'run failed')
  assert result['champion']['confirm_bpb'] is None
  assert result['baseline']['confirm_bpb'] == pytest.approx(2.1)


@pytest.mark.parametrize('cut', ['a run at work', 'a pair not asked'])
def test_half_a_confirmation_is_none(cut, made, leg, searched, confirmed):
  phase, legs, results = confirmed(2, [(2.0, 1.5), (2.2, 1.9)])
  if cut == 'a run at work':
    results = results[:-1]
  else:
    legs, results = legs[:2], results[:2]
  result, *_ = made(
    searched((leg(0), 2.0), (leg(1, OTHER), 1.0)), (phase, legs, results)
  )
  assert (result['gain'], result['gain_missing']) == (None, 'unfinished')
  assert result['baseline']['confirm_bpb'] is None


def test_details_describe_the_confirm_loss_where_there_is_one(
  made, leg, searched, confirmed
):
  search = searched((leg(0), 2.0), (leg(1, OTHER), 1.0))
  trial = confirmed(2, [(2.0, 1.5), (2.0, 1.5)])

  def details(loss, split):
    return {'said': f'{split} {loss}'}

  sure, *_ = made(search, trial, details=details)
  assert sure['baseline']['said'] == 'confirm 2.0'
  assert sure['champion']['said'] == 'confirm 1.5'
  unsure, *_ = made(search, details=details)
  assert unsure['champion']['said'] == 'search 1.0'


def test_changes_are_sorted_on_their_scales(made, leg, searched, line_run):
  log = {'kind': 'log_float', 'low': 1e-4, 'high': 1.0, 'default': 1e-3}
  parameters = line_run['space']['parameters'] | {
    'rate': log | {'tier': 'configuration'}
  }
  run = line_run | {
    'space': {'name': 's', 'parameters': parameters},
    'baseline': {'x': 0.1, 'rate': 1e-3},
  }
  moved = {'x': 0.4, 'rate': 1e-1}  # By .3 and by a half of the range.
  result, *_ = made(searched((leg(1, moved), 1.0)), run=run)
  assert result_lib.changes(result, run) == [
    ('rate', 1e-3, 1e-1),
    ('x', 0.1, 0.4),
  ]


def test_the_result_agrees_with_the_campaign(
  make_campaign, tmp_path, outcome, fragile
):
  campaign = make_campaign(tmp_path, trainee=fragile, inherit_at=0.3)
  result, rows, _ = outcome(campaign, tmp_path)
  best, gain = campaign.best, campaign.confirmation.gain()
  assert result['champion']['member'] == best.leg.member
  assert result['champion']['configuration'] == best.leg.configuration
  assert result['champion']['search_negative_q'] == best.loss
  assert result['gain']['mean'] == gain.mean
  assert (result['gain']['low'], result['gain']['n']) == (gain.low, gain.n)
  assert result['flops'] == pytest.approx(campaign.loop.flops, rel=1e-12)
  assert result['tokens'] == campaign.loop.tokens
  assert result['finished'] == campaign.finished
  assert result['diverged'] > 0
  assert result['ok'] + result['diverged'] == result['members'] == 12
  assert sum(row['status'] == 'stopped' for row in rows) == 0
  assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize('strategy', ['evolution', 'pbt'])
def test_a_run_that_was_cut_gives_the_result_of_an_unbroken_one(
  make_campaign, tmp_path, strategy, outcome
):
  whole, rows, _ = outcome(
    make_campaign(tmp_path / 'a', strategy), tmp_path / 'a'
  )
  rounds = iter(range(1000))
  cut = make_campaign(
    tmp_path / 'b',
    strategy,
    stop=lambda: 'sigterm' if next(rounds) == 16 else None,
  )
  partial, *_ = outcome(cut, tmp_path / 'b')
  assert partial['stop_reason'] == 'sigterm'
  assert partial['gain'] is None
  resumed, again, _ = outcome(
    make_campaign(tmp_path / 'b', strategy), tmp_path / 'b'
  )
  assert resumed == whole
  assert again == rows


def test_the_schedule_of_pbt_covers_the_budget(
  make_campaign, tmp_path, outcome
):
  campaign = make_campaign(tmp_path, 'pbt')
  result, _, _ = outcome(campaign, tmp_path)
  schedule = result['champion']['schedule']
  assert schedule[0]['start'] == 0
  assert schedule[-1]['stop'] == 10 * campaign.engine.steps
  assert [(p['stop'], p['configuration']) for p in schedule] == [
    (piece.stop * campaign.engine.steps, piece.configuration)
    for piece in campaign.schedule(campaign.best)
  ]
  assert result['gain']['n'] == 3


def test_a_baseline_alone_is_its_own_champion(make_campaign, tmp_path, outcome):
  campaign = make_campaign(
    tmp_path, bounds=bounds_lib.Bounds(members=1), pairs=0
  )
  result, *_ = outcome(campaign, tmp_path, max_members=1, confirm_seeds=0)
  assert (
    result['champion']['configuration'] == result['baseline']['configuration']
  )
  assert result['champion']['search_negative_q'] == campaign.best.loss
  assert result['gain'] is None
  assert (result['members'], result['gain_missing']) == (1, 'left out')


def test_where_all_diverged_there_is_no_champion(
  make_campaign, tmp_path, outcome, dead
):
  campaign = make_campaign(tmp_path, 'random', trainee=dead)
  result, *_ = outcome(campaign, tmp_path)
  assert (result['champion'], result['gain']) == (None, None)
  assert result['diverged'] == result['members'] == 12
  assert result['flops'] > 0


def test_in_a_later_cycle_the_gate_is_against_where_it_started(
  made, leg, searched, ended
):
  """The gain is that over the first baseline all the same."""

  def gate(first, by_arm):
    legs, results = [], []
    for i in range(2):
      for j, (arm, loss) in enumerate(by_arm.items()):
        own = {'seed': 90 + i, 'arm': arm, 'splits': ['confirm', 'search']}
        made = leg(
          first + 3 * i + j, THIRD if arm == 'champion' else OTHER, **own
        )
        legs.append(made)
        results.append(ended(made, 9.0, loss[i]))
    return 'confirm', legs, results

  rounds = (
    searched((leg(0), 2.0), (leg(1, OTHER), 1.0), (leg(2, THIRD), 0.9)),
    gate(3, {'baseline': (2, 2.1), 'champion': (1, 1.2), 'stack': (1.1, 1.0)}),
  )
  result, rows, _ = made(*rounds)
  assert result['gain']['mean'] == pytest.approx(0.95)
  pairs = result_lib.last_pairs(rows)
  assert pairs.evidence((2,)).gains == pytest.approx((0.1, -0.2))


def test_the_champion_is_that_of_the_last_cycle_with_a_gate(
  made, leg, searched, confirmed, monkeypatch
):
  rounds = (
    searched((leg(0), 2.0), (leg(1, OTHER), 1.0)),
    confirmed(2, [(2.0, 1.5), (2.2, 1.9)]),
    searched((leg(6, OTHER), 1.1), (leg(7, THIRD), 0.8)),
  )
  result, rows, run = made(*rounds)
  assert result['champion']['member'] == 7
  later = [row | {'cycle': int(row['member'] > 5)} for row in rows]
  monkeypatch.setattr(result_lib.rows_lib, 'leg_rows', lambda *_: later)
  again = result_lib.result([], run, spent={}, stop_reason=None)
  assert again['champion']['member'] == 1
  assert again['gain']['mean'] == pytest.approx(0.4)
