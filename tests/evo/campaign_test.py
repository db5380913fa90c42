"""Tests of whole campaigns of a toy, through real checkpoints and ledgers."""

import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evo import bounds as bounds_lib
from evo import checkpoint as checkpoint_lib
from evo import elimination, improvements, ledger, retention, space, transfer
from evo import engine as engine_lib
from evo import mesh as mesh_lib
from evo import population as population_lib
from evo import program as program_lib
from evo import result as result_lib
from evo import rows as rows_lib
from models import quadratic

STRATEGIES = [
  ('random', {}),
  ('evolution', {'inherit_at': 0.3}),
  ('pbt', {}),
  ('pbt_tournament', {}),
]
each_strategy = pytest.mark.parametrize('strategy,options', STRATEGIES)


class Fragile(quadratic.Quadratic):
  """Diverges in its third segment where h0 is above a half."""

  def step(self, structure, data, hyperparameters, theta, seed, step, fraction):
    theta, loss = super().step(
      structure, data, hyperparameters, theta, seed, step, fraction
    )
    bad = (hyperparameters['h0'] > 0.5) & (step >= 25)
    return jnp.where(bad, jnp.nan, theta), jnp.where(bad, jnp.nan, loss)


def records(workdir):
  return ledger.Ledger(workdir / 'ledger').records


def files_of(folder):
  """Contents by name."""
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def after(rounds, reason='sigterm'):
  """A reason to stop once so many rounds have run."""
  count = iter(range(rounds - 1, -1, -1))
  return lambda: reason if next(count) == 0 else None


class Killed(BaseException):
  """Ends a run where it stands, as a kill would."""


def killed_after(rounds):
  """Ends the run before the last of so many rounds is committed."""
  count = iter(range(rounds - 1, -1, -1))

  def stop():
    if next(count) == 0:
      raise Killed

  return stop


# What each parameter of the planted space is worth, over its whole range.
WORTH = {'strong': 1.0, 'fair': 0.5, 'none': 0.0, 'nothing': 0.0}
PARAMETER = {
  'kind': 'float',
  'low': 0,
  'high': 1,
  'default': 0.1,
  'tier': 'configuration',
}


class Planted(quadratic.Quadratic):
  """A loss that adds up, with noise that a seed's runs share and their own."""

  def init(self, structure, hyperparameters, seed):
    shared = jax.random.key(seed)
    mixed = sum((i + 1) * h for i, h in enumerate(hyperparameters.values()))
    own = jax.random.fold_in(shared, jax.lax.bitcast_convert_type(mixed, int))
    return 0.2 * jax.random.normal(shared) + 0.02 * jax.random.normal(own)

  def step(self, structure, data, hyperparameters, noise, seed, step, fraction):
    return noise, noise

  data = quadratic.Quadratic.data | {'locked': ()}

  def cost(self, structure):
    found = super().cost(structure)
    scored = found.flops_per_evaluation | {'locked': 2.0}
    return found._replace(flops_per_evaluation=scored)

  def evaluate(self, structure, data, hyperparameters, noise):
    worth = sum(w * hyperparameters[name] for name, w in WORTH.items())
    return 2.0 + noise - worth


@pytest.fixture
def planted():
  """Options of a campaign whose truth is known."""
  parameters = dict.fromkeys(WORTH, PARAMETER)
  return {
    'trainee': Planted(),
    'space': space.Space.from_json({'name': 'p', 'parameters': parameters}),
    'pairs': 16,
    'ablates': True,
    'calibrates': True,
    'bounds': bounds_lib.Bounds(members=24),
  }


def run_of(campaign):
  """The content of run.json."""
  planted_space = space.Space.from_json(
    {'name': 'p', 'parameters': dict.fromkeys(WORTH, PARAMETER)}
  )
  return {
    'metric': 'negative_q',
    'segments': 10,
    'finds_schedules': campaign.strategy.finds_schedules,
    'flags': {'confirm_seeds': 16},
    'space': planted_space.to_json(),
    'baseline': planted_space.baseline,
    'data_digest': 'none',
  }


def said(campaign, workdir):
  """The content of improvements.json, from the ledger alone."""
  run, known = run_of(campaign), records(workdir)
  result = result_lib.result(known, run, spent={}, stop_reason=None)
  rows = rows_lib.leg_rows(known, run)
  larger = rows_lib.leg_rows(campaign.transferred, run)
  return improvements.improvements(rows, run, result, larger)


def verdicts(campaign, workdir):
  """Of each parameter, from the ledger alone."""
  found = said(campaign, workdir)['improvements']
  return {x['parameter']: x for x in found}


def test_an_ablation_tells_what_carries_the_gain(
  tmp_path, make_campaign, planted
):
  campaign = make_campaign(tmp_path, **planted)
  campaign.run()
  found = verdicts(campaign, tmp_path)
  assert found['strong']['verdict'] == 'confirmed'
  assert found['fair']['verdict'] == 'confirmed'
  for name in ('none', 'nothing'):
    assert found[name]['verdict'] != 'confirmed'
  for name, worth in WORTH.items():
    change = found[name]['after'] - found[name]['before']
    assert found[name]['low'] <= -worth * change <= found[name]['high']


def larger_records(workdir):
  (folder,) = (workdir / 'transfer').iterdir()
  return records(folder)


@pytest.fixture
def twice_as_long(planted):
  """Makes where changes are tried with twice the steps."""

  def make(workdir):
    return transfer.Larger(
      engine_lib.Engine(
        planted['trainee'],
        planted['space'],
        engine_lib.Budget(200 * 6.0, 10),
        workdir,
        slots=4,
        mesh=mesh_lib.make({'member': 2}),
      ),
      lambda configuration: configuration,
    )

  return make


def test_what_is_confirmed_is_tried_at_a_larger_scale(
  tmp_path, make_campaign, planted, twice_as_long
):
  campaign = make_campaign(tmp_path, larger=twice_as_long, **planted)
  campaign.run()
  assert campaign.stop_reason == 'max_members'
  found = verdicts(campaign, tmp_path)
  for name in ('strong', 'fair'):
    scale = found[name]['at_scale']
    change = found[name]['after'] - found[name]['before']
    assert scale['n'] == 3 and scale['sign'] == 'same'
    assert scale['low'] <= -WORTH[name] * change <= scale['high']
  assert found['none']['at_scale'] is None
  legs = [leg for record in larger_records(tmp_path) for leg in record['legs']]
  arms = [leg['arm'] for leg in legs]
  assert arms.count('stack') == arms.count('baseline') == 6
  assert arms.count('without fair') == arms.count('without strong') == 3


def test_a_campaign_stopped_at_the_larger_scale_goes_on_there(
  tmp_path, make_campaign, planted, twice_as_long
):
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'

  def make(workdir, **options):
    return make_campaign(workdir, larger=twice_as_long, **planted, **options)

  unbroken = make(whole)
  unbroken.run()
  rounds = len(records(whole))
  stopped = make(parts, stop=after(rounds + 15))
  stopped.run()
  assert stopped.stop_reason == 'sigterm'
  assert 0 < len(larger_records(parts)) < len(larger_records(whole))
  make(parts).run()
  assert records(parts) == records(whole)
  assert larger_records(parts) == larger_records(whole)


def test_another_champion_has_runs_of_its_own_at_the_larger_scale(
  tmp_path, make_campaign, planted, twice_as_long
):
  members = []
  for bound in (8, 40):
    planted |= {'bounds': bounds_lib.Bounds(members=bound)}
    campaign = make_campaign(tmp_path, larger=twice_as_long, **planted)
    campaign.run()
    assert campaign.transferred
    members.append(campaign.best.leg.member)
  assert members[0] != members[1]
  folders = [path.name for path in (tmp_path / 'transfer').iterdir()]
  owners = [name.rsplit('-', 1)[0] for name in folders]
  assert sorted(owners) == sorted(f'champion-{member}' for member in members)


@pytest.fixture
def compounding(planted):
  """Options of a campaign in two cycles that ends with the locked split."""
  own = {'cycles': 2, 'again': True, 'locks': True}
  return planted | own | {'bounds': bounds_lib.Bounds(members=40)}


def test_a_cycle_starts_from_what_the_one_before_it_kept(
  tmp_path, make_campaign, compounding
):
  campaign = make_campaign(tmp_path, **compounding)
  campaign.run()
  first, *_ = said(campaign, tmp_path)['summary']['cycles']
  assert first['passed'] and first['kept'] == first['confirmed'] > 0
  legs = [
    (record['cycle'], leg)
    for record in records(tmp_path)
    if record['phase'] == 'search'
    for leg in record['legs']
  ]
  start = next(leg['configuration'] for cycle, leg in legs if cycle == 1)
  kept = {
    x['parameter']: x['after']
    for x in said(campaign, tmp_path)['improvements']
    if x['cycle'] == 0 and x['kept']
  }
  base = dict.fromkeys(WORTH, 0.1)
  assert start == base | kept
  # The second search has another seed, and so has every member of it.
  assert len({leg['seed'] for _, leg in legs}) == len({c for c, _ in legs})
  members = [leg['member'] for _, leg in legs if leg['start'] == 0]
  assert len(set(members)) == len(members) == 40


def test_the_ledger_tells_the_stack_that_the_campaign_kept(
  tmp_path, make_campaign, compounding
):
  campaign = make_campaign(tmp_path, **compounding)
  campaign.run()
  summary = said(campaign, tmp_path)['summary']
  assert summary['stack'] == campaign.stack
  assert campaign.stack['none'] == campaign.stack['nothing'] == 0.1
  gain = sum(w * (campaign.stack[name] - 0.1) for name, w in WORTH.items())
  assert summary['locked']['low'] <= gain <= summary['locked']['high']
  # The whole gain is more than that of either cycle.
  gains = [c['gain']['mean'] for c in summary['cycles'] if c['passed']]
  assert summary['locked']['mean'] > max(gains)


def test_the_locked_split_is_read_last_and_once(
  tmp_path, make_campaign, compounding
):
  make_campaign(tmp_path, **compounding).run()
  phases = [record['phase'] for record in records(tmp_path)]
  first = phases.index('locked')
  assert set(phases[first:]) == {'locked'}
  legs = [leg for record in records(tmp_path) for leg in record['legs']]
  reads = [leg for leg in legs if 'locked' in leg['splits']]
  assert [leg['arm'] for leg in reads].count('stack') == 8
  assert len(reads) == 16 and len({leg['seed'] for leg in reads}) == 8
  assert all(leg['splits'] == ['locked'] for leg in reads)


def test_without_a_verified_stack_the_locked_split_is_not_read(
  tmp_path, make_campaign, compounding
):
  campaign = make_campaign(tmp_path, **compounding | {'trainee': Nothing()})
  campaign.run()
  assert campaign.stack is None
  assert 'locked' not in {record['phase'] for record in records(tmp_path)}


def test_what_is_tried_at_a_larger_scale_is_charged(
  tmp_path, make_campaign, planted, twice_as_long
):
  planted |= {'bounds': bounds_lib.Bounds(flops=400 * 604.0)}
  campaign = make_campaign(tmp_path, larger=twice_as_long, **planted)
  campaign.run()
  run, known = run_of(campaign), records(tmp_path)
  larger = rows_lib.leg_rows(campaign.transferred, run)
  totals = [
    result_lib.result(known, run, spent={}, stop_reason=None, larger=rows)
    for rows in ((), larger)
  ]
  flops, tokens = (
    sum(row[name] for row in larger) for name in ('flops', 'tokens')
  )
  assert flops > 0
  assert totals[1]['flops'] == totals[0]['flops'] + flops <= 400 * 604.0
  assert totals[1]['tokens'] == totals[0]['tokens'] + tokens
  assert campaign.allowance.left() <= 400 * 604.0 - totals[1]['flops']


def test_what_was_not_tried_before_the_locked_split_is_read_is_not_tried_later(
  tmp_path, make_campaign, compounding, twice_as_long
):
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'

  def make(workdir, **options):
    return make_campaign(
      workdir, larger=twice_as_long, **compounding, **options
    )

  make(whole).run()
  phases = [record['phase'] for record in records(whole)]
  before, far = phases.index('locked'), len(larger_records(whole))
  # Out of time at the larger scale, then killed while the split is read.
  at = before + far // 2
  reasons, rounds = {at: 'max_minutes', at + 5: 'sigterm'}, itertools.count(1)
  make(parts, stop=lambda: reasons.get(next(rounds))).run()
  assert [r['phase'] for r in records(parts)].count('locked') > 1
  tried = larger_records(parts)
  assert 0 < len(tried) < far
  resumed = make(parts)
  resumed.run()
  assert larger_records(parts) == tried == resumed.transferred
  assert len(records(parts)) == len(records(whole))


def test_the_time_of_the_larger_scale_counts_after_a_restart(
  tmp_path, make_campaign, planted, twice_as_long
):
  def make(**options):
    return make_campaign(tmp_path, larger=twice_as_long, **planted, **options)

  unbroken = make()
  unbroken.run()
  events = [
    json.loads(line)
    for line in (tmp_path / 'events.jsonl').read_text().splitlines()
  ]
  own = [e['seconds'] for e in events if e['event'] == 'round'][-1]
  last = [e['seconds'] for e in events if e['event'] == 'transfer'][-1]
  assert last > own
  spent, alone = unbroken.spent(), unbroken.loop.clock.spent()
  assert spent['seconds_training'] > alone['seconds_training']
  assert make().loop.clock.seconds >= last


def test_a_larger_scale_that_has_no_room_is_no_reason_to_end(
  tmp_path, make_campaign, planted
):
  def make(workdir):
    raise RuntimeError('RESOURCE_EXHAUSTED: 17 GB')

  options = planted | {'locks': True}
  campaign = make_campaign(tmp_path, larger=make, **options)
  campaign.run()
  assert campaign.stop_reason == 'max_members' and campaign.stack
  assert campaign.loop.records[-1]['phase'] == 'locked'
  events = [e for e in campaign.loop.noted('no_room')]
  assert '17 GB' in events[0]['reason']
  # Whoever starts it again finds it finished, whatever there is room for.
  again = make_campaign(tmp_path, larger=make, **options)
  again.run()
  assert again.loop.records == campaign.loop.records


class Nothing(Planted):
  """Where no configuration is better than another."""

  def evaluate(self, structure, data, hyperparameters, noise):
    return 2.0 + noise


def test_without_a_stack_what_is_held_for_a_larger_scale_is_searched(
  tmp_path, make_campaign, planted, twice_as_long
):
  planted |= {'bounds': bounds_lib.Bounds(flops=200 * 604.0)}
  options = planted | {'trainee': Nothing(), 'locks': True, 'pairs': 6}
  campaign = make_campaign(tmp_path, 'random', larger=twice_as_long, **options)
  campaign.run()
  assert campaign.stack is None and not campaign.transferred
  # Sixteen runs stay for the locked split, four-fifths are not the end of it.
  assert 0.8 * 200 * 604.0 < campaign.loop.flops <= 184 * 604.0
  again = make_campaign(tmp_path, 'random', larger=twice_as_long, **options)
  again.run()
  assert again.loop.flops == campaign.loop.flops


@pytest.mark.parametrize('members,calibrated', [(33, True), (31, False)])
def test_a_calibration_that_takes_more_than_half_is_left_out(
  tmp_path, make_campaign, planted, members, calibrated
):
  planted |= {'bounds': bounds_lib.Bounds(flops=members * 604.0), 'pairs': 6}
  campaign = make_campaign(tmp_path, **planted)
  assert campaign.calibrates == calibrated
  campaign.run()
  assert (records(tmp_path)[0]['phase'] == 'calibrate') == calibrated
  assert campaign.loop.flops <= members * 604.0
  # A larger bound does not change what was begun.
  planted |= {'bounds': bounds_lib.Bounds(flops=80 * 604.0)}
  assert make_campaign(tmp_path, **planted).calibrates == calibrated


def test_an_ablation_leaves_later_cycles_their_share(
  tmp_path, make_campaign, compounding
):
  compounding |= {'bounds': bounds_lib.Bounds(flops=200 * 604.0)}
  compounding['calibrates'] = False
  campaign = make_campaign(tmp_path, 'random', **compounding)
  campaign.run()
  spent = dict.fromkeys((0, 1, 2), 0.0)
  for record in records(tmp_path):
    spent[record['cycle']] += sum(r['flops'] for r in record['results'])
  # Half of what the locked split leaves, and what an elimination may take.
  assert spent[0] <= (200 - 16) / 2 * 604.0 + 32 * 604.0
  assert spent[1] > 0.25 * 200 * 604.0


def test_a_ledger_of_an_earlier_version_is_refused_in_words(
  tmp_path, make_campaign
):
  make_campaign(tmp_path, stop=after(3)).run()
  for path in (tmp_path / 'ledger').iterdir():
    path.unlink()
  old = {'phase': 'search', 'cycle': 0, 'legs': [], 'results': []}
  old |= {'checkpoint': None}
  ledger.Ledger(tmp_path / 'ledger').append(old)
  with pytest.raises(ValueError, match="no 'turn'.*; expected another"):
    make_campaign(tmp_path)


def test_searches_without_a_gate_between_them_are_told_apart_on_replay(
  tmp_path, make_campaign, planted
):
  planted |= {'bounds': bounds_lib.Bounds(flops=300 * 604.0), 'cycles': 3}
  options = planted | {'trainee': Nothing(), 'again': True}
  make_campaign(tmp_path / 'whole', 'random', **options).run()
  whole = records(tmp_path / 'whole')
  turns = {record['turn'] for record in whole if record['phase'] == 'search'}
  gates = {record['turn'] for record in whole if record['phase'] == 'confirm'}
  assert turns - gates  # A search whose champion had been asked before.
  again = make_campaign(tmp_path / 'whole', 'random', **options)
  again.run()
  assert records(tmp_path / 'whole') == whole
  last = max(r['round'] for r in whole if r['turn'] == min(turns - gates))
  stop = after(last + 3)
  make_campaign(tmp_path / 'parts', 'random', stop=stop, **options).run()
  make_campaign(tmp_path / 'parts', 'random', **options).run()
  assert records(tmp_path / 'parts') == whole


def test_more_minutes_go_on_with_a_run_that_had_used_up_its_own(
  tmp_path, make_campaign
):
  rounds = []
  for minutes in (0.05, 0.15):
    bounds = bounds_lib.Bounds(minutes=minutes)
    make_campaign(tmp_path, 'random', pairs=0, bounds=bounds).run()
    rounds.append(len(records(tmp_path)))
  assert rounds[1] > rounds[0]


@pytest.mark.parametrize(
  'share',
  [
    pytest.param(0.3, marks=pytest.mark.slow),
    0.6,
    pytest.param(0.9, marks=pytest.mark.slow),
    0.99,
  ],
)
def test_a_campaign_in_cycles_goes_on_to_what_an_unbroken_one_comes_to(
  tmp_path, make_campaign, monkeypatch, compounding, share
):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  unbroken = make_campaign(whole, **compounding)
  unbroken.run()
  rounds = int(share * len(records(whole)))
  make_campaign(parts, stop=after(rounds), **compounding).run()
  assert len(records(parts)) == rounds
  resumed = make_campaign(parts, **compounding)
  resumed.run()
  assert records(parts) == records(whole)
  assert said(resumed, parts) == said(unbroken, whole)
  assert resumed.stack == unbroken.stack


def test_a_budget_too_small_for_all_changes_tests_what_is_worth_most(
  tmp_path, make_campaign, planted
):
  planted |= {'bounds': bounds_lib.Bounds(flops=128 * 604.0)}
  campaign = make_campaign(tmp_path, **planted)
  campaign.run()
  found = said(campaign, tmp_path)
  assert campaign.loop.flops <= 128 * 604.0
  tested = [x for x in found['improvements'] if x['n']]
  rest = [x for x in found['improvements'] if not x['n']]
  assert tested and rest
  assert all(x['verdict'] == 'undecided' for x in rest)
  assert all(x['effect'] is None and x['p_adjusted'] is None for x in rest)

  def worth(x):
    return WORTH[x['parameter']] * (x['after'] - x['before'])

  assert min(map(worth, tested)) >= max(map(worth, rest))


def test_no_seed_is_used_for_two_things(tmp_path, make_campaign, planted):
  make_campaign(tmp_path, **planted).run()
  seeds = {}
  for record in records(tmp_path):
    for leg in record['legs']:
      seeds.setdefault(record['phase'], set()).add(leg['seed'])
  phases = {'calibrate', 'search', 'confirm', 'ablate', 'eliminate'}
  assert set(seeds) == phases
  together = [seed for phase in seeds.values() for seed in phase]
  assert len(together) == len(set(together))


@pytest.mark.parametrize('rounds', [30, 105, 240])
def test_a_campaign_stopped_while_it_verifies_comes_to_the_same_verdicts(
  tmp_path, make_campaign, monkeypatch, planted, rounds
):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  unbroken = make_campaign(whole, **planted)
  unbroken.run()
  make_campaign(parts, stop=after(rounds), **planted).run()
  resumed = make_campaign(parts, **planted)
  resumed.run()
  assert records(parts) == records(whole)
  assert verdicts(resumed, parts) == verdicts(unbroken, whole)


def test_a_campaign_that_eliminated_twice_goes_on_from_the_second_attempt(
  tmp_path, make_campaign, monkeypatch, planted
):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
  monkeypatch.setattr(elimination, 'accepted', lambda evidence, worth: False)
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  unbroken = make_campaign(whole, **planted)
  unbroken.run()
  expected = records(whole)
  legs = [leg for r in expected for leg in r['legs']]
  put_back = [leg for leg in legs if leg['arm'] == elimination.REDUCED]
  assert len({str(leg['configuration']) for leg in put_back}) > 1
  make_campaign(parts, stop=after(len(expected) - 3), **planted).run()
  resumed = make_campaign(parts, **planted)
  resumed.run()
  assert records(parts) == expected
  assert verdicts(resumed, parts) == verdicts(unbroken, whole)

  def once(*given, attempts=elimination.attempts):
    return itertools.islice(attempts(*given), 1)

  monkeypatch.setattr(elimination, 'attempts', once)
  with pytest.raises(RuntimeError, match='differs from what was computed'):
    make_campaign(parts, **planted).run()


def test_a_bound_in_flops_holds_for_search_and_verification_together(
  tmp_path, make_campaign, planted
):
  planted |= {'bounds': bounds_lib.Bounds(flops=120 * 604.0)}
  campaign = make_campaign(tmp_path, **planted)
  campaign.run()
  assert 80 * 604.0 < campaign.loop.flops <= 120 * 604.0
  assert campaign.allowance.started <= 60


@each_strategy
def test_a_search_beats_its_baseline_and_confirms_it(
  tmp_path, make_campaign, strategy, options
):
  run = make_campaign(tmp_path, strategy, **options)
  run.run()
  assert run.stop_reason == 'max_members' and run.allowance.started == 12
  assert run.best.loss < run.baseline_loss if run.baseline_loss else True
  gain = run.confirmation.gain()
  assert gain.n == 3 and gain.low > 0.3
  theta = np.asarray(run.engine.kept.restore((run.best.leg.member, 10)))
  assert np.square(theta).sum() - 1.2 == pytest.approx(run.best.loss, abs=1e-6)


@each_strategy
@pytest.mark.parametrize('rounds', [1, 7, 16, 33])
def test_a_stopped_run_goes_on_to_the_records_of_an_unbroken_one(
  tmp_path, make_campaign, monkeypatch, strategy, options, rounds
):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  unbroken = make_campaign(whole, strategy, **options)
  unbroken.run()
  stopped = make_campaign(parts, strategy, stop=after(rounds), **options)
  stopped.run()
  assert stopped.stop_reason == 'sigterm' and stopped.loop.round == rounds
  resumed = make_campaign(parts, strategy, **options)
  resumed.run()
  for path in (whole / 'ledger').iterdir():
    assert path.read_bytes() == (parts / 'ledger' / path.name).read_bytes()
  best = (unbroken.best.leg.member, unbroken.best.stop)
  np.testing.assert_array_equal(
    unbroken.engine.kept.restore(best), resumed.engine.kept.restore(best)
  )


@each_strategy
@pytest.mark.parametrize('devices', [(2, 4), (4, 1)])
def test_a_stopped_run_goes_on_over_other_devices(
  tmp_path, make_campaign, strategy, options, devices
):
  before, behind = devices
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  make_campaign(whole, strategy, **options).run()
  for rounds in (7, 9):
    own = options | {'devices': before, 'stop': after(rounds)}
    make_campaign(parts, strategy, **own).run()
  make_campaign(parts, strategy, **options | {'devices': behind}).run()
  assert records(parts) == records(whole)


def test_rounds_up_to_the_checkpoint_are_not_trained_again(
  tmp_path, make_campaign, monkeypatch
):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
  with pytest.raises(Killed):
    make_campaign(tmp_path, stop=killed_after(14)).run()
  again = make_campaign(tmp_path, stop=after(3))
  again.run()
  # Saved after rounds 4 and 9: rounds 10, 11 and 12 ran.
  assert again.loop.round == 13 and again.loop.flops > 0


def test_a_run_that_is_stopped_goes_on_from_there(
  tmp_path, make_campaign, monkeypatch
):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
  make_campaign(tmp_path, stop=after(13)).run()
  again = make_campaign(tmp_path, stop=after(3))
  again.run()
  assert again.loop.round == 16


def test_lost_checkpoints_only_cost_time(tmp_path, make_campaign, monkeypatch):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  make_campaign(whole).run()
  with pytest.raises(Killed):
    make_campaign(parts, stop=killed_after(14)).run()
  shutil.rmtree(parts / 'checkpoints')
  make_campaign(parts).run()
  assert records(parts) == records(whole)


def test_other_results_than_those_that_stand_stop_the_run(
  tmp_path, make_campaign
):
  with pytest.raises(Killed):
    make_campaign(tmp_path, stop=killed_after(14)).run()

  class Other(quadratic.Quadratic):
    def init(self, structure, hyperparameters, seed):
      return jnp.full((2,), 0.8)

  with pytest.raises(RuntimeError, match='differs from what was computed'):
    make_campaign(tmp_path, trainee=Other()).run()


@each_strategy
def test_every_flop_is_charged(tmp_path, make_campaign, strategy, options):
  run = make_campaign(tmp_path, strategy, **options)
  run.run()
  expected = 0.0
  for record in records(tmp_path):
    for result in record['results']:
      expected += 2.0 * len(result['metrics'])
  legs = {}
  segments = 0
  for record in records(tmp_path):
    legs |= {leg['member']: leg for leg in record['legs']}
    segments += sum(
      r['stop'] - legs[r['member']]['start'] for r in record['results']
    )
  assert run.loop.flops == expected + segments * 10 * 6.0
  assert run.loop.tokens == segments * 10


@each_strategy
def test_no_lineage_trains_longer_than_the_budget(
  tmp_path, make_campaign, strategy, options
):
  run = make_campaign(tmp_path, strategy, **options)
  run.run()
  stops = {}
  for leg in run.legs:
    if leg.source:
      assert stops[leg.source[0]] >= leg.source[1] == leg.start
    stops[leg.member] = leg.stop
    assert leg.stop <= 10


@pytest.mark.parametrize('strategy', ['evolution', 'pbt'])
def test_a_diverged_member_is_culled_and_never_a_parent(
  tmp_path, make_campaign, strategy
):
  run = make_campaign(tmp_path, strategy, trainee=Fragile(), slots=8)
  run.run()
  lost = [r for r in run.results if r.status == 'diverged']
  assert lost and run.best.loss < -0.4
  sources = {leg.source for leg in run.legs if leg.source}
  for result in lost:
    # It may have been one while it was sound.
    member, sound = result.leg.member, result.leg.start
    assert all(at <= sound for donor, at in sources if donor == member)
    # Noticed one round after it happens, unless its leg ends before.
    assert result.stop <= max(4, sound + 2)
  assert all(
    np.isfinite(list(r.metrics.values())).all() for r in run.results if r.ok
  )


def test_a_diverged_member_leaves_all_others_as_they_are(
  tmp_path, make_campaign
):
  sound = make_campaign(tmp_path / 'sound', 'random', slots=8)
  fragile = make_campaign(
    tmp_path / 'fragile', 'random', trainee=Fragile(), slots=8
  )
  for run in (sound, fragile):
    run.run()
  expected = {result.leg.member: result for result in sound.results}
  others = [result for result in fragile.results if result.ok]
  assert 0 < len(others) < len(fragile.results)
  assert all(result == expected[result.leg.member] for result in others)


class Laborious(Fragile):
  """Takes its time, so that the host is through long before the devices."""

  def step(self, structure, data, h, theta, seed, step, fraction):
    square = theta[0] * jnp.eye(64)
    work = jax.lax.fori_loop(0, 99, lambda _, x: jnp.tanh(x @ x), square)
    theta, loss = super().step(structure, data, h, theta, seed, step, fraction)
    return theta, loss + 1e-30 * work.sum()


@pytest.fixture
def one_after_another(monkeypatch):
  """Has the host wait for every program and every write that it starts."""

  def wait():
    call, save = program_lib.Program.__call__, checkpoint_lib.Checkpoints.save

    def waiting_call(self, *args):
      return jax.block_until_ready(call(self, *args))

    def waiting_save(self, *args, **options):
      save(self, *args, **options)
      self.wait()

    monkeypatch.setattr(program_lib.Program, '__call__', waiting_call)
    monkeypatch.setattr(checkpoint_lib.Checkpoints, 'save', waiting_save)

  return wait


@each_strategy
def test_results_are_the_same_where_the_host_waits_for_the_devices(
  tmp_path, make_campaign, monkeypatch, one_after_another, strategy, options
):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 2)
  segment, overlaps = population_lib.Population.segment, []

  def observed(self, slots):
    losses = segment(self, slots)
    overlaps.append(not losses.is_ready())
    return losses

  monkeypatch.setattr(population_lib.Population, 'segment', observed)
  runs, counts = [], []
  for name in ('overlapping', 'waiting'):
    if name == 'waiting':
      one_after_another()
    overlaps.clear()
    run = make_campaign(
      tmp_path / name, strategy, trainee=Laborious(), slots=8, **options
    )
    run.run()
    runs.append(run)
    counts.append(sum(overlaps))
  assert counts[0] > len(overlaps) / 2 and counts[1] == 0
  assert any(r.status == 'diverged' for r in runs[0].results)
  one, other = (tmp_path / name for name in ('overlapping', 'waiting'))
  assert files_of(one / 'ledger') == files_of(other / 'ledger')
  best = (runs[0].best.leg.member, runs[0].best.stop)
  np.testing.assert_array_equal(
    *(run.engine.kept.restore(best) for run in runs)
  )


def test_a_search_in_which_all_diverge_ends_without_a_champion(
  tmp_path, make_campaign
):
  class Doomed(quadratic.Quadratic):
    def init(self, structure, hyperparameters, seed):
      return jnp.full((2,), jnp.nan)

  run = make_campaign(tmp_path, trainee=Doomed())
  run.run()
  assert run.best is None and run.confirmation is None
  assert run.stop_reason == 'max_members'


def test_the_layout_of_the_population_changes_no_result(
  tmp_path, make_campaign
):
  for devices in (1, 2, 4):
    make_campaign(tmp_path / str(devices), devices=devices).run()
  assert records(tmp_path / '1') == records(tmp_path / '2')
  assert records(tmp_path / '1') == records(tmp_path / '4')


def test_a_bound_in_flops_is_never_exceeded(tmp_path, make_campaign):
  for members in (8, 11.5):
    flops = members * 606.0 + 6 * 610.0
    bounds = bounds_lib.Bounds(flops=flops)
    run = make_campaign(tmp_path / str(members), 'random', bounds=bounds)
    run.run()
    assert run.loop.flops <= flops and run.stop_reason == 'max_flops'
    assert run.allowance.started in (int(members), int(members) - 1)
    assert run.confirmation.gain().n == 3


def test_minutes_become_a_plan_in_the_ledger(tmp_path, make_campaign):
  bounds = bounds_lib.Bounds(minutes=0.1)
  run = make_campaign(tmp_path, 'random', bounds=bounds)
  run.run()
  plans = [r['plan'] for r in records(tmp_path) if r['plan']]
  assert run.stop_reason == 'max_minutes'
  assert {plan['minutes'] for plan in plans} == {0.1}
  # Made anew once for each member's length of rounds.
  changes = [i for i, (a, b) in enumerate(itertools.pairwise(plans)) if a != b]
  first = [r['plan'] is not None for r in records(tmp_path)].index(True)
  assert changes and all((i + 1 + first) % 10 == 0 for i in changes)


def test_minutes_are_used_up_where_evaluations_cost_as_much_as_training(
  tmp_path, make_campaign
):
  class Costly(quadratic.Quadratic):
    def cost(self, structure):
      found = super().cost(structure)
      each = dict.fromkeys(found.flops_per_evaluation, 600.0)
      return found._replace(flops_per_evaluation=each)

  bounds = bounds_lib.Bounds(minutes=0.1)
  run = make_campaign(
    tmp_path, 'random', trainee=Costly(), pairs=0, bounds=bounds
  )
  run.run()
  # Planned in FLOPs of training alone, about half of them would be.
  assert 0.75 * 6 < run.loop.clock.seconds < 1.2 * 6
  assert run.loop.flops > 1.9 * run.allowance.executed


def test_a_larger_bound_goes_on_with_a_finished_run(tmp_path, make_campaign):
  first = make_campaign(tmp_path, bounds=bounds_lib.Bounds(members=8))
  first.run()
  before = records(tmp_path)
  second = make_campaign(tmp_path, bounds=bounds_lib.Bounds(members=16))
  second.run()
  assert records(tmp_path)[: len(before)] == before
  assert second.allowance.started == 16 and second.best.loss <= first.best.loss
  seeds = {
    leg['seed']
    for record in records(tmp_path)
    if record['phase'] == 'confirm'
    for leg in record['legs']
  }
  assert len(seeds) == 6  # The second confirmation's seeds are fresh too.


def test_a_champion_is_put_to_the_test_once(
  tmp_path, make_campaign, quadratic_space
):
  value = quadratic_space.to_json()
  for name in ('h0', 'h1'):
    value['parameters'][name]['default'] = 1.0  # Nothing is better.
  for members in (8, 12):
    campaign = make_campaign(
      tmp_path,
      space=space.Space.from_json(value),
      bounds=bounds_lib.Bounds(members=members),
    )
    campaign.run()
    assert campaign.best.leg.member == 0
    assert campaign.allowance.started == members
  seeds = {
    leg['seed']
    for record in records(tmp_path)
    if record['phase'] == 'confirm'
    for leg in record['legs']
  }
  assert len(seeds) == 3


def test_children_through_storage_hold_their_parents_weights(
  tmp_path, make_campaign
):
  heirs = []

  def watch(campaign_):
    work = campaign_.engine
    for i, slot in enumerate(work.seats.tables[0]):
      leg = slot.leg
      if leg and leg.inherits and slot.done == leg.start + 1:
        state = np.asarray(work._populations[0].take(i))[0]
        heirs.append((leg, state))

  run = make_campaign(
    tmp_path, 'evolution', inherit_at=0.5, scratch=0.0, observe=watch
  )
  run.run()
  assert heirs
  for leg, state in heirs:
    donor = run.engine.kept.restore(leg.source)
    scale = np.array([leg.configuration['h0'], leg.configuration['h1']])
    # Ten steps under the child's own hyperparameters from the donor's weights.
    expected = donor * (1 - 0.02 * scale) ** 10
    np.testing.assert_allclose(state, expected, rtol=1e-5)


def test_the_champions_schedule_is_what_its_lineage_trained_under(
  tmp_path, make_campaign
):
  run = make_campaign(tmp_path, 'pbt', slots=8)
  run.run()
  # The best of the members that descend from an exploit.
  heirs = [r for r in run.results if r.stop == 10 and r.leg.parent is not None]
  best = min(heirs, key=lambda r: r.loss)
  schedule = run.schedule(best)
  theta, start = np.full(2, 0.9), 0
  for piece in schedule:
    scale = np.array([piece.configuration['h0'], piece.configuration['h1']])
    theta = theta * (1 - 0.02 * scale) ** (10 * (piece.stop - start))
    start = piece.stop
  assert start == 10 and len(schedule) > 1
  assert np.square(theta).sum() - 1.2 == pytest.approx(best.loss, abs=1e-5)


def test_no_heir_becomes_champion_unless_schedules_are_claimed(
  tmp_path, make_campaign, describe
):
  better = {}
  heirs_only = {'inherit_at': 0.5, 'scratch': 0.0}
  for strategy, options in (('evolution', heirs_only), ('pbt', {})):
    folder = tmp_path / strategy
    bounds = bounds_lib.Bounds(members=20)
    run = make_campaign(folder, strategy, bounds=bounds, **options)
    run.run()
    heirs = {leg.member for leg in run.legs if leg.inherits}
    ends = {r.leg.member: r.loss for r in run.results if r.stop == 10}
    claimed = {
      m: loss for m, loss in ends.items() if strategy == 'pbt' or m not in heirs
    }
    assert run.best.leg.member == min(claimed, key=claimed.get)
    better[strategy] = min(ends.values()) < min(claimed.values())
    result = result_lib.result(
      run.loop.records,
      describe(run, folder),
      spent={},
      stop_reason=None,
    )
    assert result['champion']['member'] == run.best.leg.member
  # Else this test would say nothing.
  assert better == {'evolution': True, 'pbt': False}


def test_storage_stays_bounded(tmp_path, make_campaign, monkeypatch):
  monkeypatch.setattr(retention, '_MOST_ROUNDS', 5)
  bounds = bounds_lib.Bounds(members=60)
  make_campaign(tmp_path, inherit_at=0.3, bounds=bounds).run()
  names = [p.stem for p in (tmp_path / 'checkpoints').glob('*.json')]
  assert sum(name.startswith('round') for name in names) <= 3
  assert len(names) < 30


def test_importing_evo_starts_no_backend():
  import subprocess
  import sys

  code = (
    'import jax._src.xla_bridge as b\n'
    'from evo import campaign, engine, report, space, strategies\n'
    'assert not b.backends_are_initialized()'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_structural_parameters_take_no_part_in_a_traced_search():
  free = space.load('launch/spaces/nanogpt.json').traced().free_names
  assert 'learning_rate' in free and 'depth' not in free


@each_strategy
def test_progress_rises_to_about_the_whole(
  tmp_path, make_campaign, strategy, options
):
  shares = []

  def watch(run):
    done, total = run.progress()
    shares.append(done / total)

  make_campaign(tmp_path, strategy, observe=watch, **options).run()
  assert 0 < shares[0] < 0.2 and shares[-1] == pytest.approx(1, abs=0.15)
