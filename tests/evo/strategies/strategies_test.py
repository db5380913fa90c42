"""What holds for every strategy."""

import math
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from evo import space, strategies

MIXED = space.Space.from_json(
  {
    'name': 'mixed',
    'parameters': {
      'rate': {
        'kind': 'log_float',
        'tier': 'configuration',
        'default': 0.01,
        'low': 1e-4,
        'high': 1.0,
      },
      'decay': {
        'kind': 'float',
        'tier': 'configuration',
        'default': 0.0,
        'low': 0.0,
        'high': 0.5,
      },
      'spread': {
        'kind': 'float',
        'tier': 'configuration',
        'default': 1.0,
        'low': 0.5,
        'high': 2.0,
        'initial': True,
      },
      'tail': {
        'kind': 'float',
        'tier': 'configuration',
        'default': 0.5,
        'low': 0.0,
        'high': 1.0,
        'initial': True,
        'when': {'layers': [1, 3]},
      },
      'layers': {
        'kind': 'int',
        'tier': 'architecture',
        'default': 3,
        'low': 1,
        'high': 4,
        'structural': True,
      },
    },
  }
)


def whatever(old, new):
  """Weights are taken over by any structure."""
  del old, new
  return True


VARIANTS = [
  ('random', {}),
  ('evolution', {}),
  ('evolution', {'inherit_at': 0.4}),
  ('evolution', {'inherit_at': 0.4, 'scratch': 0.0, 'window': 3}),
  ('evolution', {'inherit_at': 0.4, 'inherits': whatever}),
  ('pbt', {}),
  ('pbt', {'interval': 3}),
  ('pbt', {'exploit': False}),
  ('pbt', {'explore': False, 'quantile': 0.5}),
  ('pbt_tournament', {}),
  ('sobol', {}),
  ('cmaes', {}),
  ('asha', {}),
  ('hyperband', {}),
  ('mfpbt', {}),
  ('mfpbt', {'periods': (1, 2)}),
  ('tpe', {}),
  ('gp', {'draws': 8, 'rows': 32}),
  ('pb2', {}),
  ('hybrid', {'children': 8, 'rows': 32}),
  ('hybrid', {'children': 8, 'rows': 32, 'inherit_at': 0.4, 'hope': 0.4}),
  (
    'hybrid',
    {'children': 8, 'rows': 32, 'inherit_at': 0.4, 'inherits': whatever},
  ),
]
variants = pytest.mark.parametrize('name,options', VARIANTS)


def make(name, options, seed=0):
  return strategies.make(name, MIXED, seed=seed, population=4, **options)


class Engine:
  """Checks legs as they are asked, and keeps only states that are pinned."""

  def __init__(self, strategy):
    self.strategy = strategy
    self.kept = set()
    self.stood = set()  # Where members stood when last told.
    self.parents = {}
    self.began = {}  # What each member's weights began with.
    self.at = {}  # Segments behind each member that may go on.
    self.flying = []

  def ask(self, n, fresh):
    legs = self.strategy.ask(n, fresh)
    assert len(legs) <= n
    started = 0
    for leg in legs:
      self.check(leg)
      if leg.member in self.parents:
        assert leg.goes_on and self.at.pop(leg.member) == leg.start
        assert self.parents[leg.member] == leg.parent
      else:
        assert leg.member == len(self.parents) and not leg.goes_on
        self.parents[leg.member] = leg.parent
        takes_over = self.exploits and leg.source is not None
        started += not takes_over
    assert fresh is None or started <= fresh
    self.flying += legs
    self.forget()
    return legs

  @property
  def exploits(self):
    return isinstance(self.strategy, make('pbt', {}).__class__)

  def check(self, leg):
    assert leg.start < leg.stop <= self.strategy.segments
    MIXED.validate(leg.configuration)
    assert leg.parent is None or leg.parent < leg.member
    assert leg.seed == self.strategy.member_seed
    if leg.source is None:
      assert leg.start == 0
      self.began[leg.member] = leg.configuration
    else:
      root = self.began[leg.source[0]]
      both = {*MIXED.active(root)} & {*MIXED.active(leg.configuration)}
      for name in both & {'spread', 'tail'}:
        assert leg.configuration[name] == root[name]
      self.began[leg.member] = root
      # Population-based training copies what still stands on the devices.
      held = self.stood if self.exploits else self.kept
      assert leg.source in held and leg.source[1] == leg.start
    unfinished = leg.stop < self.strategy.segments
    assert leg.keep == (unfinished and not self.exploits)

  def tell(self, legs, losses, finish):
    for leg, loss in zip(legs, losses, strict=True):
      self.flying.remove(leg)
      if math.isfinite(loss):
        self.at[leg.member] = leg.stop
        self.stood.add((leg.member, leg.stop))
        if leg.keep:
          self.kept.add((leg.member, leg.stop))
    self.strategy.tell([finish(*pair) for pair in zip(legs, losses)])
    self.forget()

  def forget(self):
    pinned = self.strategy.pinned()
    assert None not in pinned
    if not self.exploits:
      assert {leg.source for leg in self.flying} - {None} <= pinned
    self.kept &= pinned


@variants
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
def test_any_interleaving_of_calls_gives_legs_that_can_run(
  name, options, finish, data
):
  engine = Engine(make(name, options, seed=data.draw(st.integers(0, 9))))
  for _ in range(data.draw(st.integers(1, 25))):
    bound = st.none() | st.integers(0, 5)
    engine.ask(data.draw(st.integers(0, 6)), data.draw(bound))
    order = data.draw(st.permutations(engine.flying))
    told = order[: data.draw(st.integers(0, len(order)))]
    loss = st.sampled_from([math.inf, 0.0, 1.0, 2.0, 3.0])
    losses = [data.draw(loss) for _ in told]
    engine.tell(told, losses, finish)


def search(strategy, finish, calls):
  """Runs (n, fresh) calls; returns the legs and what was asked and told."""
  rng = np.random.default_rng(5)
  flying, legs, log = [], [], []
  for n, fresh in calls:
    flying += (asked := strategy.ask(n, fresh))
    legs += asked
    log.append(('ask', (n, fresh)))
    rng.shuffle(flying)
    told, flying = flying[: (half := (len(flying) + 1) // 2)], flying[half:]
    losses = [math.inf if rng.random() < 0.2 else rng.random() for _ in told]
    results = [finish(*pair) for pair in zip(told, losses)]
    strategy.tell(results)
    log.append(('tell', (results,)))
  return legs, log


CALLS = [(4, None), (3, 2), (1, None), (0, None), (5, 0), (4, 3)] * 12


@variants
def test_same_seed_and_calls_give_the_same_legs(name, options, finish):
  first, _ = search(make(name, options), finish, CALLS)
  second, _ = search(make(name, options), finish, CALLS)
  other, _ = search(make(name, options, seed=1), finish, CALLS)
  assert len(first) > 40
  assert first == second
  assert first != other


@variants
@pytest.mark.parametrize('at', [1, 20, 61, 100])
def test_replaying_the_calls_rebuilds_the_state(name, options, at, finish):
  strategy = make(name, options)
  legs, log = search(strategy, finish, CALLS)
  rebuilt = make(name, options)
  again = []
  for i, (what, arguments) in enumerate(log):
    if i == at:
      rebuilt = make(name, options)
      for earlier, its_arguments in log[:i]:
        getattr(rebuilt, earlier)(*its_arguments)
    again += getattr(rebuilt, what)(*arguments) or []
  assert again == legs
  for _ in range(20):
    following = strategy.ask(3)
    assert rebuilt.ask(3) == following
    results = [finish(leg, leg.configuration['decay']) for leg in following]
    strategy.tell(results)
    rebuilt.tell(results)


@variants
def test_a_strategy_is_asked_again_while_its_legs_are_out(
  name, options, finish
):
  strategy = make(name, options)
  legs = strategy.ask(4)
  assert [leg.member for leg in legs] == [0, 1, 2, 3]
  strategy.ask(1)
  strategy.tell([finish(leg) for leg in reversed(legs)])
  assert strategy.ask(4)


@variants
def test_the_first_member_is_the_baseline(name, options):
  assert make(name, options).ask(1)[0].configuration == MIXED.baseline


def test_initial_members_are_the_same_for_every_strategy():
  # Sobol's points are a design of their own.
  shared = [variant for variant in VARIANTS if variant[0] != 'sobol']
  first = [
    [leg.configuration for leg in make(*variant).ask(4)] for variant in shared
  ]
  assert all(configurations == first[0] for configurations in first)


def test_an_unknown_name_is_refused():
  expected = 'expected one of asha, cmaes, evolution, gp, '
  with pytest.raises(ValueError, match=f"^strategy is 'luck'; {expected}"):
    strategies.make('luck', MIXED)


@pytest.mark.parametrize(
  'name,option,value',
  [
    ('evolution', 'window', 0),
    ('evolution', 'tournament', 0),
    ('evolution', 'inherit_at', 1.0),
    ('evolution', 'crossover', 1.5),
    ('evolution', 'scratch', -0.1),
    ('pbt', 'interval', 0),
    ('pbt', 'quantile', 0.6),
    ('pbt_tournament', 'interval', 0),
  ],
)
def test_options_out_of_range_are_refused(name, option, value):
  with pytest.raises(ValueError, match=f'^{option} is {value}; expected'):
    make(name, {option: value})


@pytest.mark.parametrize('name', ['pbt', 'pb2', 'mfpbt', 'cmaes'])
def test_a_space_that_a_strategy_cannot_search_is_refused(name):
  kind = {'kind': 'choice', 'tier': 'architecture', 'structural': True}
  parameter = kind | {'choices': ['gelu', 'silu'], 'default': 'gelu'}
  shapes = space.Space.from_json(
    {'name': 'shapes', 'parameters': {'activation': parameter}}
  )
  with pytest.raises(ValueError, match=f'^strategy {name} cannot change activ'):
    strategies.make(name, shapes)


def test_making_a_strategy_imports_no_jax():
  code = (
    'import sys\n'
    'from evo import strategies, space\n'
    's = space.Space.from_json({"name": "s", "parameters": {"x": {\n'
    '  "kind": "float", "tier": "configuration", "default": 0.5,\n'
    '  "low": 0.0, "high": 1.0}}})\n'
    'for name in ("asha", "cmaes", "evolution", "hyperband", "mfpbt", "pbt",\n'
    '             "pbt_tournament", "random", "sobol"):\n'
    '  strategies.make(name, s, seed=0, population=8).ask(4)\n'
    'assert "jax" not in sys.modules\n'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


@variants
def test_an_ask_that_returns_nothing_changes_nothing(name, options, finish):
  asked, spared = (make(name, options) for _ in range(2))
  for _ in range(3):
    assert asked.ask(4, fresh=0) == []
  for _ in range(8):
    legs = spared.ask(4)
    assert legs and asked.ask(4) == legs
    results = [finish(leg, float(leg.member)) for leg in legs]
    asked.tell(results)
    spared.tell(results)
