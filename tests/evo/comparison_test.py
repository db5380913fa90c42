"""Tests of what a comparison says of the searches of several strategies."""

import json
import math

import numpy as np
import pytest

from evo import comparison


def make_run(strategy, seed, *steps, **values):
  """A run of incumbents, (charge, confirmed), that looked .1 better if ok."""
  incumbents = tuple(
    comparison.Incumbent(
      charge, i, loss - 0.1 if loss and math.isfinite(loss) else -1.0, loss
    )
    for i, (charge, loss) in enumerate(steps)
  )
  common = {
    'charge': 10.0,
    'members': 10,
    'failures': 1,
    'asks': 20,
    'seconds_asking': 4.0,
  }
  return comparison.Run(
    strategy, seed, incumbents=incumbents, **common | values
  )


@pytest.fixture
def runs():
  """Three strategies on eight seeds, of which b is the best throughout."""
  rng = np.random.default_rng(0)
  found = []
  for seed in range(8):
    for name, level in {'a': 2.0, 'b': 1.0, 'c': 2.0}.items():
      noise = rng.normal(0, 0.1, 3) + [1.0, 0.4, 0.0]
      steps = zip((1.0, 4.0, 8.0), (level + noise).tolist())
      found.append(make_run(name, seed, *steps))
  return found


def compare(runs, **options):
  given = {'reference': 'a', 'budget': 10, 'metric': 'bpb'} | options
  value = comparison.compare(runs, **given)
  json.dumps(value, allow_nan=False)
  return value


def test_a_run_survives_json():
  run = make_run('a', 3, (1.0, 2.0), (2.0, None), rows={'final weights': 1.5})
  text = json.dumps(run.to_json(), allow_nan=False)
  assert comparison.Run.from_json(json.loads(text)) == run


def test_a_confirmation_that_failed_is_null_in_json():
  run = make_run('a', 3, (1.0, math.inf), (2.0, math.nan), rows={'x': math.inf})
  value = json.loads(json.dumps(run.to_json(), allow_nan=False))
  assert [i['confirmed'] for i in value['incumbents']] == [None, None]
  assert value['rows'] == {}


def test_what_counts_is_the_incumbent_at_the_budget():
  runs = [
    make_run(name, seed, (1.0, 5.0), (4.0, loss), (10.5, 0.0))
    for seed in range(2)
    for name, loss in (('a', 3.0), ('b', 2.0))
  ]
  value = compare(runs, at=[2])
  final = {name: e['final'] for name, e in value['strategies'].items()}
  assert final == {'b': [2.0, 2.0], 'a': [3.0, 3.0]}
  (early,) = value['at']
  assert early['charge'] == 2
  assert early['strategies']['b']['final'] == [5.0, 5.0]
  entry = value['strategies']['b']
  assert entry['observed']['mean'] == pytest.approx(1.9)
  assert entry['optimism']['mean'] == pytest.approx(0.1)
  # From 1 to 4 at 5.0, from 4 to 10 at 2.0.
  assert entry['area']['mean'] == pytest.approx((3 * 5 + 6 * 2) / 9)
  assert value['area_from'] == 1.0


def test_a_failed_confirmation_leaves_the_run_without_a_loss():
  a = [make_run('a', seed, (1.0, 2.0)) for seed in range(3)]
  b = [make_run('b', seed, (1.0, 1.0)) for seed in range(2)]
  b.append(make_run('b', 2, (1.0, 1.0), (5.0, None)))
  value = compare([*a, *b], at=[3])
  entry = value['strategies']['b']
  assert entry['final'] == [1.0, 1.0, None] and entry['failed'] == 1
  assert entry['observed']['n'] == entry['area']['n'] == 2
  assert entry['curve']['n'] == [3, 2]
  assert value['at'][0]['strategies']['b']['final'] == [1.0, 1.0, 1.0]


def test_only_seeds_that_all_strategies_ran_with_count(runs):
  kept = [r for r in runs if (r.strategy, r.seed) not in {('c', 0), ('b', 5)}]
  value = compare(kept)
  assert value['seeds'] == [1, 2, 3, 4, 6, 7]
  assert value['seeds_left_out'] == [0, 5]
  assert all(len(e['final']) == 6 for e in value['strategies'].values())


def test_all_forms_of_a_failed_confirmation_are_one():
  def value(failed):
    runs = [make_run(n, seed, (1.0, 2.0)) for n in 'ab' for seed in range(3)]
    return compare([*runs[:-1], make_run('b', 2, (1.0, failed))])

  assert value(None) == value(math.nan) == value(math.inf)


@pytest.mark.parametrize(
  'edit,complaint',
  [
    (lambda runs: runs[:4], '1 seeds in common; expected at least 2'),
    (lambda runs: runs + runs[:1], 'a ran twice with seed 0'),
    (lambda runs: [r for r in runs if r.strategy != 'a'], 'expected some of a'),
    (lambda runs: [r for r in runs if r.strategy == 'a'], 'another strategy'),
    (lambda runs: [], 'runs of nothing'),
  ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(runs, edit, complaint):
  with pytest.raises(ValueError, match=complaint) as error:
    compare(edit(runs))
  assert '\n' not in str(error.value)


def test_the_better_strategy_is_found(runs):
  value = compare(runs)
  assert value['headline'] == 'Better than a: b'
  assert value['strategies']['b']['verdict'] == 'better than a'
  assert value['strategies']['b']['paired']['mean'] == pytest.approx(
    -1, abs=0.2
  )
  curve = value['strategies']['b']['curve']
  assert curve['charge'] == [1.0, 4.0, 8.0]
  finals = value['strategies']['b']['final']
  assert curve['mean'][-1] == pytest.approx(np.mean(finals))


def test_the_order_of_runs_does_not_matter(runs):
  assert compare(runs[::-1]) == compare(runs)


def test_costs_and_rows_are_of_all_seeds():
  rows = [{'final weights': 1.0, 'x': 5.0}, {'final weights': 2.0}]
  runs = [make_run('a', seed, (1.0, 2.0)) for seed in range(2)]
  for seed, charge in enumerate((9.0, 10.0)):
    own = {'charge': charge, 'failures': seed, 'rows': rows[seed]}
    runs.append(make_run('b', seed, (1.0, 2.0), **own))
  entry = compare(runs)['strategies']['b']
  assert entry['charge'] == {'mean': 9.5, 'min': 9.0, 'max': 10.0}
  assert (entry['members'], entry['failures']) == (20, 1)
  assert entry['seconds_per_ask'] == 0.2
  assert entry['rows']['final weights']['mean'] == 1.5
  assert entry['rows']['x']['n'] == 1


def test_searches_that_found_nothing_are_compared_all_the_same():
  runs = [make_run(name, seed) for name in 'abc' for seed in range(8)]
  value = compare(runs)
  assert value['area_from'] is None
  assert all(e['mean'] is None for e in value['strategies'].values())
  assert value['headline'] == 'Nothing differs significantly from a'


def test_equal_strategies_are_rarely_told_apart():
  rng = np.random.default_rng(0)
  wrong = 0
  for _ in range(120):
    # Seeds have their own level; one strategy has wider noise than the others.
    losses = rng.normal(0, 1, (8, 4)) * [1, 1, 1, 3] + rng.normal(0, 2, (8, 1))
    runs = [
      make_run('abcd'[i], seed, (1.0, loss))
      for seed, row in enumerate(losses.tolist())
      for i, loss in enumerate(row)
    ]
    wrong += compare(runs)['headline'] != 'Nothing differs significantly from a'
  assert wrong / 120 < 0.05 + 0.04  # Two standard errors.
