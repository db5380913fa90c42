import math

import jax
import numpy as np
import pytest

from evo import space, surrogate

BOX = space.Space.from_json(
  {
    'name': 'box',
    'parameters': {
      name: {
        'kind': 'float',
        'tier': 'configuration',
        'default': 0.5,
        'low': 0.0,
        'high': 1.0,
      }
      for name in ('x', 'y')
    },
  }
)


def drawn(n, seed=0):
  rng = np.random.default_rng(seed)
  return [BOX.sample(rng) for _ in range(n)]


def bowl(configurations):
  return [(c['x'] - 0.3) ** 2 + (c['y'] - 0.7) ** 2 for c in configurations]


def fitted(configurations, rows=64):
  model = surrogate.Surrogate(BOX, rows)
  model.fit(configurations, surrogate.targets(bowl(configurations)))
  return model


@pytest.fixture
def compiled():
  """Names of what is compiled during a test."""
  events = []

  def listen(event, seconds, **unused):
    events.extend([event] * event.endswith('backend_compile_duration'))

  jax.monitoring.register_event_duration_secs_listener(listen)
  yield events
  jax.monitoring.unregister_event_duration_listener(listen)


def test_targets_are_centred_and_scaled_by_the_better_half():
  targets = surrogate.targets([3.0, 1.0, 2.0, 4.0, 1e6])
  sd = math.sqrt((0 + 4 + 1) / 3)
  assert np.allclose(targets, [0.0, -2 / sd, -1 / sd, 1 / sd, 2.0])


def test_a_failure_is_as_bad_as_can_be_told():
  assert surrogate.targets([0.0, 1.0, 2.0, math.inf])[-1] == 2.0


def test_equal_losses_are_no_division_by_zero():
  assert surrogate.targets([1.0, 1.0]).tolist() == [0.0, 0.0]


def test_scores_are_best_where_the_loss_is_lowest():
  model = fitted(drawn(30))
  candidates = drawn(300, seed=1)
  chosen = candidates[int(np.argmax(model.scores(candidates)))]
  assert bowl([chosen])[0] < np.quantile(bowl(candidates), 0.02)


def test_scores_do_not_depend_on_the_company():
  model = fitted(drawn(30))
  candidates = drawn(300, seed=1)
  alone = [model.scores([c])[0] for c in candidates[250:260]]
  assert np.allclose(model.scores(candidates)[250:260], alone)
  assert model.scores([]).shape == (0,)


def test_what_is_believed_is_not_proposed_again():
  model = fitted(drawn(30))
  candidates = drawn(300, seed=1)
  before = model.scores(candidates)
  best = int(np.argmax(before))
  model.believe([candidates[best]])
  after = model.scores(candidates)
  assert after[best] < before[best] - 0.1
  # It takes away what others promise too, and promises nothing itself.
  assert (after <= before + 1e-9).all()


def test_a_fit_forgets_what_was_believed():
  model, fresh = (fitted(drawn(30)) for _ in range(2))
  model.believe(drawn(5, seed=2))
  for each in (model, fresh):
    each.fit(drawn(30), surrogate.targets(bowl(drawn(30))))
  candidates = drawn(10, seed=1)
  assert (model.scores(candidates) == fresh.scores(candidates)).all()


def test_a_search_ends_near_the_optimum():
  model = fitted(drawn(60))
  rng = np.random.default_rng(3)
  chosen = model.search(
    drawn(100, seed=1), lambda c, step: BOX.mutate(c, rng, step=step)
  )
  assert bowl([chosen])[0] < 1e-3


def test_a_search_takes_what_was_tried_only_if_there_is_nothing_else():
  model = fitted(drawn(30))
  candidates = drawn(40, seed=1)
  tried = {surrogate.key(c) for c in candidates[1:]}
  stay = lambda c, step: c  # noqa: E731
  assert model.search(candidates, stay, tried) == candidates[0]
  tried.add(surrogate.key(candidates[0]))
  scores = model.scores(candidates)
  best = candidates[int(np.argmax(scores))]
  assert model.search(candidates, stay, tried) == best


def test_beyond_its_rows_it_keeps_the_best_and_the_latest():
  configurations = drawn(100)
  order = np.argsort(bowl(configurations), kind='stable')
  best = set(order[:8].tolist())
  others = [i for i in range(100) if i not in best]
  kept = sorted([*best, *others[-8:]])
  targets = surrogate.targets(bowl(configurations))
  full, small = (surrogate.Surrogate(BOX, 16) for _ in range(2))
  full.fit(configurations, targets)
  small.fit([configurations[i] for i in kept], targets[kept])
  candidates = drawn(10, seed=1)
  assert (full.scores(candidates) == small.scores(candidates)).all()


def test_more_pending_than_rows_is_no_error():
  model = fitted(drawn(30), rows=16)
  model.believe(drawn(40, seed=2))
  assert np.isfinite(model.scores(drawn(10, seed=1))).all()


def test_it_compiles_once_however_much_is_told(compiled):
  # A number of rows that no other test has.
  for n in (3, 20, 40):
    model = fitted(drawn(n), rows=40)
    model.believe(drawn(n // 3, seed=2))
    model.scores(drawn(10 * n, seed=1))
  # The likelihood with its gradient, and the improvement.
  assert len(compiled) == 2


def test_a_score_that_is_no_number_is_an_error():
  model = fitted(drawn(10))
  broken = [{'x': math.nan, 'y': 0.5}]
  with pytest.raises(FloatingPointError, match='a score is NaN'):
    model.scores(broken)
