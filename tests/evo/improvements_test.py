"""Tests of the content of improvements.json, on ledgers made by hand."""

import json
import math

import pytest

from evo import ablation, calibration, improvements, member, trial, verification
from evo import result as result_lib
from evo import rows as rows_lib
from evo import space as space_lib

BASE = {'x': 0.1, 'y': 0.2, 'z': 0.3}
STACK = {'x': 0.7, 'y': 0.9, 'z': 0.3}
ARMS = {
  'stack': STACK,
  'baseline': BASE,
  'without x': STACK | {'x': 0.1},
  'only x': BASE | {'x': 0.7},
  'without y': STACK | {'y': 0.2},
  'only y': BASE | {'y': 0.9},
}
# Losses without the noise: x is worth .5, y nothing, both together .4.
LOSSES = {
  'stack': 1.5,
  'baseline': 2.0,
  'without x': 2.0,
  'only x': 1.6,
  'without y': 1.5,
  'only y': 1.9,
}
NOTHING = {'effect': None, 'low': None, 'high': None}
NOISE = [0.01, -0.02, 0.03, 0.0, -0.01, -0.01]


@pytest.fixture
def run(line_run):
  """The content of run.json for a space of x, y and z."""
  shape = {'kind': 'float', 'low': 0, 'high': 1, 'tier': 'configuration'}
  parameters = {
    name: shape | {'default': value, 'tier': tier}
    for (name, value), tier in zip(
      BASE.items(), ('configuration', 'objective', 'architecture')
    )
  }
  return line_run | {
    'space': {'name': 'three', 'parameters': parameters},
    'baseline': BASE,
  }


@pytest.fixture
def ablated(leg, ended):
  """Makes a round with an ablation: losses by arm and seed."""

  def make(first, losses, stack=STACK, seed=70):
    legs, results = [], []
    arms = ARMS | {'stack': stack}
    for i in range(max(map(len, losses.values()))):
      for j, (arm, values) in enumerate(losses.items()):
        if i >= len(values):
          continue
        own = {'seed': seed + i, 'arm': arm, 'splits': ['confirm', 'search']}
        begun = leg(first + len(losses) * i + j, arms[arm], **own)
        legs.append(begun)
        if values[i] is not None:
          loss = None if math.isinf(values[i]) else values[i]
          results.append(ended(begun, loss and loss + 9.0 * j, loss))
    return 'ablate', legs, results

  return make


@pytest.fixture
def found(made, searched, confirmed, leg, run):
  """Makes improvements of a champion that passed, and of further rounds."""

  def make(*rounds, gains=(2.0, 1.5), champion=STACK, flags=None):
    content = run if flags is None else run | {'flags': run['flags'] | flags}
    pairs = [(gains[0] + shift, gains[1] + shift) for shift in (0.0, 0.1)]
    result, rows, _ = made(
      searched((leg(0, BASE), 2.0), (leg(1, champion), 1.0)),
      confirmed(2, pairs, champion),
      *rounds,
      run=content,
    )
    return improvements.improvements(rows, content, result)

  return make


@pytest.fixture(autouse=True)
def baseline_of_three(monkeypatch, run, line_run):
  """Legs are by default those of the baseline of x, y and z."""
  monkeypatch.setitem(line_run, 'baseline', BASE)


def noisy(losses=LOSSES, n=6):
  """The losses of each arm by seed; noise of seeds is shared by the arms."""
  return {
    arm: [loss + 5 * i + NOISE[(i + j) % 6] for i in range(n)]
    for j, (arm, loss) in enumerate(losses.items())
  }


def by_name(value):
  return {x['parameter']: x for x in value['improvements']}


def test_an_effect_is_the_loss_with_the_change_minus_that_without(
  found, ablated
):
  losses = noisy()
  value = found(ablated(6, losses))
  x, y = by_name(value)['x'], by_name(value)['y']
  difference = [a - b for a, b in zip(losses['stack'], losses['without x'])]
  assert x['effect'] == pytest.approx(sum(difference) / 6)
  assert x['effect'] == pytest.approx(-0.5)
  assert x['low'] < -0.5 < x['high'] < 0
  assert (x['n'], y['n']) == (6, 6)
  assert x['verdict'] == 'confirmed' and x['p_adjusted'] < 0.001
  assert y['effect'] == pytest.approx(0.0, abs=0.001)
  assert y['low'] < 0 < y['high'] and y['verdict'] == 'undecided'
  alone = [a - b for a, b in zip(losses['only x'], losses['baseline'])]
  assert x['add_one_in']['effect'] == pytest.approx(sum(alone) / 6)
  assert y['add_one_in']['effect'] == pytest.approx(-0.1)


def test_each_change_tells_what_it_is_the_best_first(found, ablated):
  value = found(ablated(6, noisy(LOSSES | {'without y': 2.2})))
  assert [
    [x[key] for key in ('parameter', 'tier', 'before', 'after')]
    for x in value['improvements']
  ] == [
    ['y', 'objective', 0.2, 0.9],
    ['x', 'configuration', 0.1, 0.7],
  ]


def test_the_summary_counts_the_verdicts(found, ablated):
  summary = found(ablated(6, noisy(LOSSES | {'without y': 1.0})))['summary']
  assert {k: summary[k] for k in ('changes', 'tested', 'level')} == {
    'changes': 2,
    'tested': 2,
    'level': 0.05,
  }
  # What harms is refuted.
  assert (summary['confirmed'], summary['refuted']) == (1, 1)
  assert summary['undecided'] == 0
  assert summary['left_out'] is None
  assert summary['gate']['passed'] and summary['gate']['missing'] is None
  assert summary['gate']['gain']['mean'] == pytest.approx(0.5)


def test_single_effects_are_added_up_beside_that_of_the_stack(found, ablated):
  summary = found(ablated(6, noisy()))['summary']
  assert summary['sum_of_single_effects'] == pytest.approx(-0.5)
  assert summary['stack_effect'] == pytest.approx(-0.5)


def test_where_a_single_effect_is_missing_there_is_no_sum(found, ablated):
  losses = noisy()
  losses['only y'][2] = math.inf
  summary = found(ablated(6, losses))['summary']
  assert summary['sum_of_single_effects'] is None


def left_out(value, names=('x', 'y')):
  assert value['summary']['left_out'] == 'ablation'
  assert value['summary']['undecided'] == len(names)
  assert value['summary']['tested'] == 0
  assert value['summary']['sum_of_single_effects'] is None
  assert {x['parameter'] for x in value['improvements']} == {*names}
  for x in value['improvements']:
    assert x['verdict'] == 'undecided' and x['n'] == 0
    assert (x['p_adjusted'], x['p_holm']) == (None, None)
    assert NOTHING.items() <= x.items()
    assert x['leave_one_out'] == x['add_one_in'] == NOTHING
  return True


def test_without_an_ablation_every_change_is_undecided(found):
  assert left_out(found())


def test_an_ablation_that_no_gate_let_begin_was_not_left_out(found):
  flags = {'phases': ['search', 'confirm', 'ablate']}
  failed = found(gains=(2.0, 2.3), flags=flags)['summary']
  assert (failed['left_out'], failed['untested']) == (None, 'no gate passed')
  passed = found(flags=flags)['summary']
  assert (passed['left_out'], passed['untested']) == (None, 'no room')


def test_an_ablation_of_another_stack_does_not_count(found, ablated):
  assert left_out(found(ablated(6, noisy(), stack=STACK | {'z': 0.8})))


def test_an_ablation_before_the_last_confirmation_does_not_count(
  found, ablated, confirmed
):
  again = confirmed(60, [(2.0, 1.5), (2.1, 1.6)], STACK)
  assert left_out(found(ablated(6, noisy()), again))


def test_the_ablation_after_the_last_confirmation_counts(
  found, ablated, confirmed
):
  again = confirmed(60, [(2.0, 1.5), (2.1, 1.6)], STACK)
  losses = noisy(LOSSES | {'without x': 2.5})
  value = found(ablated(6, noisy()), again, ablated(70, losses))
  assert by_name(value)['x']['effect'] == pytest.approx(-1.0)
  assert by_name(value)['x']['n'] == 6


@pytest.mark.parametrize('cut', ['a run at work', 'a run not begun'])
def test_half_a_pair_does_not_count(cut, found, ablated):
  losses = noisy()
  if cut == 'a run at work':
    losses['without x'][5] = None
  else:
    del losses['without x'][5]
  value = by_name(found(ablated(6, losses)))
  # Without its sixth pair the change has not reached the first look.
  assert value['x']['n'] == 0 and NOTHING.items() <= value['x'].items()
  assert value['x']['verdict'] == 'undecided'
  assert value['x']['p_adjusted'] is None
  assert value['y']['n'] == 6


def test_no_pair_counts_before_those_ahead_of_it_are_complete(found, ablated):
  losses = noisy(n=7)
  losses['without x'][2] = None
  value = by_name(found(ablated(6, losses)))
  assert (value['x']['n'], value['y']['n']) == (0, 6)


def test_pairs_beyond_the_last_look_reached_do_not_count(found, ablated):
  losses = noisy(n=8)
  losses['stack'][6:] = [-1000.0, math.inf]
  value = by_name(found(ablated(6, losses), flags={'confirm_seeds': 9}))
  # The gate was not finished after two pairs of nine.
  assert value['x']['verdict'] == 'undecided'
  assert value['x']['n'] == 6
  assert value['x']['effect'] == pytest.approx(-0.5)


def test_each_change_has_as_many_pairs_as_it_got(found, ablated):
  losses = noisy(n=9)
  for arm in ('without x', 'only x', 'only y', 'baseline'):
    del losses[arm][6:]
  value = by_name(found(ablated(6, losses), flags={'confirm_seeds': 9}))
  assert (value['x']['n'], value['y']['n']) == (6, 9)


def test_without_a_finished_gate_nothing_is_confirmed(found, ablated):
  value = found(ablated(6, noisy()), gains=(2.0, 2.3))
  assert not value['summary']['gate']['passed']
  x = by_name(value)['x']
  assert x['verdict'] == 'undecided' and x['effect'] == pytest.approx(-0.5)


def test_only_a_gate_that_was_passed_has_verified_a_gain(found):
  (cycle,) = found(gains=(2.0, 2.3))['summary']['cycles']
  assert cycle['measured']['mean'] == pytest.approx(-0.3)
  assert (cycle['gain'], cycle['total']) == (None, None)
  assert cycle['gain_per_exaflop'] is None
  (cycle,) = found()['summary']['cycles']
  assert cycle['measured'] == cycle['gain'] == cycle['total']
  assert cycle['gain']['mean'] == pytest.approx(0.5)


def test_of_a_parameter_that_changed_twice_the_last_change_is_at_scale(
  made, searched, confirmed, ablated, leg, ended, run
):
  further = STACK | {'x': 0.8}
  stack, arms = {'x': 0.8, 'y': 0.9, 'z': 0.3}, {}
  arms |= {'stack': stack, 'baseline': BASE, 'without x': stack | {'x': 0.1}}
  legs = [
    leg(3 * i + j, arms[arm], seed=i, arm=arm, splits=['confirm', 'search'])
    for i in range(6)
    for j, arm in enumerate(arms)
  ]
  results = [ended(one, 1.0, 1.0 + (one['arm'] != 'stack')) for one in legs]
  gate = confirmed(60, [(2.0, 1.5), (2.1, 1.6)], further)
  # The second cycle starts from the stack of the first one.
  starts = [
    one | {'member': 90 + i, 'arm': 'stack', 'configuration': STACK}
    for i, one in enumerate(gate[1][::2])
  ]
  gate[1].extend(starts)
  gate[2].extend(ended(one, 0.0, 1.9 + i / 10) for i, one in enumerate(starts))
  rounds = (
    searched((leg(0, BASE), 2.0), (leg(1, STACK), 1.0)),
    confirmed(2, [(2.0, 1.5), (2.1, 1.6)], STACK),
    ablated(6, noisy()),
    searched((leg(50, STACK), 1.0), (leg(51, further), 0.5)),
    gate,
  )
  known = records_in_cycles(rounds, (0, 0, 0, 1, 1))
  rows = rows_lib.leg_rows(known, run)
  larger = rows_lib.leg_rows(
    [
      {'round': 0, 'phase': 'transfer', 'cycle': 0, 'turn': 0}
      | {'legs': legs, 'results': results}
    ],
    run,
  )
  result = result_lib.result(known, run, spent={}, stop_reason=None)
  value = improvements.improvements(rows, run, result, larger)
  at_scale = {
    (x['cycle'], x['parameter']): x['at_scale'] for x in value['improvements']
  }
  assert at_scale[0, 'x'] is None
  assert at_scale[1, 'x']['effect'] == pytest.approx(-1.0)


def records_in_cycles(rounds, cycles):
  return [
    {'round': i, 'phase': phase, 'cycle': cycle, 'turn': cycle}
    | {'legs': legs, 'results': results}
    for i, ((phase, legs, results), cycle) in enumerate(zip(rounds, cycles))
  ]


def test_a_better_member_found_later_takes_no_verdict_away(
  made, searched, confirmed, ablated, leg, run
):
  result, rows, _ = made(
    searched((leg(0, BASE), 2.0), (leg(1, STACK), 1.0)),
    confirmed(2, [(2.0, 1.5), (2.1, 1.6)], STACK),
    ablated(6, noisy()),
    searched((leg(60, STACK | {'z': 0.8}), 0.5)),
    run=run,
  )
  value = improvements.improvements(rows, run, result)
  assert by_name(value)['x']['verdict'] == 'confirmed'
  assert set(by_name(value)) == {'x', 'y'}
  assert value['summary']['gate']['passed']
  assert value['summary']['gate']['missing'] == 'champion changed'


def test_a_gate_passed_because_the_baseline_failed_counts(
  made, searched, confirmed, ablated, leg, run
):
  flags = {'flags': run['flags'] | {'confirm_seeds': 6}}
  rounds = (
    searched((leg(0, BASE), 2.0), (leg(1, STACK), 1.0)),
    confirmed(2, [(None, 1.5)] * 6, STACK),
    ablated(20, noisy()),
  )
  result, rows, _ = made(*rounds, run=run | flags)
  value = improvements.improvements(rows, run | flags, result)
  assert value['summary']['gate'] == {
    'passed': True,
    'asked': 1,
    'level': 0.05,
    'gain': None,
    'missing': 'run failed',
  }
  assert value['summary']['stack_effect'] is None
  assert by_name(value)['x']['verdict'] == 'confirmed'


def test_a_change_whose_run_failed_has_no_size(found, ablated):
  losses = noisy()
  losses['without x'][2] = math.inf
  x = by_name(found(ablated(6, losses)))['x']
  assert NOTHING.items() <= x.items() and x['n'] == 6
  # Six of six pairs won: 1/64, of two tests the smaller one.
  assert x['p_adjusted'] == pytest.approx(2 / 64)
  assert x['verdict'] == 'confirmed'


def test_the_worth_is_that_which_the_calibration_measured(
  found, ablated, leg, ended
):
  legs, results = [], []
  for i in range(calibration.SEEDS):
    loss = 2.0 + (-1) ** i  # An sd between seeds of about 1.
    for j, arm in enumerate((calibration.BASELINE, calibration.NUDGED)):
      own = {'seed': 40 + i, 'arm': arm, 'splits': ['confirm', 'search']}
      legs.append(leg(2 * i + j - 2 * calibration.SEEDS, BASE, **own))
      results.append(ended(legs[-1], loss, loss))
  calibrated = calibration.PHASE, legs, results
  value = by_name(found(ablated(6, noisy()), calibrated))
  # A gain that is surely below the noise is not worth having, unless it is
  # as sure to be there.
  assert value['y']['verdict'] == 'refuted'
  assert value['x']['verdict'] == 'confirmed'


def test_a_champion_like_the_baseline_has_no_changes(found):
  value = found(champion=BASE)
  assert value['improvements'] == []
  assert value['summary']['changes'] == 0


def test_without_a_champion_there_is_nothing_to_say(made, run):
  result, rows, _ = made(run=run)
  value = improvements.improvements(rows, run, result)
  assert value['improvements'] == []
  assert value['summary']['gate']['missing'] == 'no member finished'
  assert value['summary']['left_out'] == 'ablation'


def test_all_of_it_is_json(found, ablated, made, run):
  losses = noisy()
  losses['without x'][2] = losses['stack'][3] = math.inf
  empty, rows, _ = made(run=run)
  for value in (
    found(ablated(6, losses)),
    found(ablated(6, noisy())),
    found(),
    improvements.improvements(rows, run, empty),
  ):
    assert json.loads(json.dumps(value, allow_nan=False)) == value


def test_the_ledger_tells_the_evidence_that_the_trial_had(
  found, run, leg, ended
):
  space = space_lib.Space.from_json(run['space'])
  rule = ablation.Rule(ablation.changes(space, STACK), worth=0.0)
  asker = trial.Trial(
    verification.constants(ablation.arms(space, STACK), 10),
    ablation.contrasts(space, STACK),
    seeds=[member.fold(1, i) for i in range(16)],
    looks=ablation.looks(16),
    settled=rule.settled,
    first_member=6,
    splits=('confirm', 'search'),
  )
  rounds = []
  while asked := asker.ask(5):
    legs, results = [], []
    for one in asked:
      rng = member.generator(one.seed, one.arm)
      loss = LOSSES[one.arm] + rng.normal(0, 0.5)
      if (one.arm, one.seed) == ('only y', member.fold(1, 3)):
        loss = None
      keys = ('configuration', 'seed', 'splits', 'arm')
      legs.append(leg(one.member, **{k: one.to_json()[k] for k in keys}))
      results.append(ended(legs[-1], loss, loss))
    rounds.append(('ablate', legs, results))
    asker.tell(
      [
        member.Result(one, ended['status'], ended['metrics'], stop=10)
        for one, ended in zip(asked, results)
      ]
    )
  value = found(*rounds, flags={'confirm_seeds': 16})
  assert len({e.n for e in asker.evidence.values()}) > 1
  for name, said in by_name(value).items():
    expected = ablation.improvement(name, rule, asker.evidence, passed=False)
    assert expected.items() <= said.items()


def locked_round(leg, ended, first, losses):
  legs, results = [], []
  for i, pair in enumerate(losses):
    for j, (arm, loss) in enumerate(zip(('baseline', 'stack'), pair)):
      configuration = STACK if j else BASE
      own = {'seed': 200 + i, 'arm': arm, 'splits': ['locked']}
      begun = leg(first + 2 * i + j, configuration, **own)
      legs.append(begun)
      result = ended(begun, loss)
      results.append(result | {'metrics': {'locked': loss} if loss else {}})
  return 'locked', legs, results


def test_the_headline_is_the_stack_on_the_locked_split(
  found, ablated, leg, ended
):
  pairs = [(2.0 + x, 1.6 - x) for x in (0.0, 0.01, 0.02, 0.0) * 2]
  value = found(ablated(6, noisy()), locked_round(leg, ended, 100, pairs))
  locked = value['summary']['locked']
  assert locked['mean'] == pytest.approx(0.415) and locked['n'] == 8
  assert locked['low'] < 0.415 < locked['high']
  assert locked['baseline'] == pytest.approx(2.0075)
  assert locked['stack'] == pytest.approx(1.5925)


@pytest.mark.parametrize('n,failed', [(7, False), (8, True)])
def test_half_a_headline_is_none(n, failed, found, ablated, leg, ended):
  pairs = [(2.0, 1.6)] * (n - 1) + [(2.0, None if failed else 1.6)]
  value = found(ablated(6, noisy()), locked_round(leg, ended, 100, pairs))
  assert value['summary']['locked'] is None
  assert value['summary']['locked_failed'] == failed


def test_what_early_stopping_saved_counts_the_runs_of_gates_and_ablations(
  found, ablated
):
  # The gate: 2 arms of 2 pairs, before its first look. The ablation: 6 pairs of
  # 6 arms; of 9 there would be the stack and what it is without x, which is
  # confirmed, not so y, which is not done, the changes made alone, nor the
  # baseline beside them.
  value = found(ablated(6, noisy()), flags={'confirm_seeds': 9})
  saved = value['summary']['early_stopping']
  assert saved == {
    'runs': 4 + 36,
    'fixed': 4 + 9 * 2 + 6 * 4,
    'saved': pytest.approx(1 - 40 / 46),
  }
