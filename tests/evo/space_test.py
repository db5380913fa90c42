"""Search spaces: what operators draw, and what bad input is told."""

import copy
import dataclasses
import json
import math
import pathlib
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from evo import parameter
from evo import space as space_lib

Parameter = space_lib.Parameter
Space = space_lib.Space
ALPHA = 1e-4  # Seeds are fixed: a test that passes once passes always.

KINDS = (
  Parameter('rate', 'log_float', 'configuration', 1e-3, 1e-4, 1e-2),
  Parameter('decay', 'float', 'configuration', 0.0, 0.0, 0.5),
  Parameter('layers', 'int', 'architecture', 4, 1, 8, structural=True),
  Parameter('steps', 'int', 'configuration', 50, 0, 100),
  Parameter('batch', 'choice', 'configuration', 4, choices=(2, 4, 8, 16)),
  Parameter(
    'shape', 'choice', 'architecture', 'x', choices=('x', 'y'), structural=True
  ),
)
CONDITIONAL = Space(
  'conditional',
  (
    Parameter(
      'momentum', 'float', 'objective', 0.5, 0, 1, when={'rule': ['sgd']}
    ),
    Parameter(
      'nesterov',
      'choice',
      'objective',
      0,
      choices=(0, 1),
      when={'momentum': [0.5, 0.9]},
    ),
    Parameter(
      'rule',
      'choice',
      'architecture',
      'adam',
      choices=('adam', 'sgd'),
      structural=True,
    ),
  ),
)


def rng(seed=0):
  return np.random.default_rng(seed)


def mixed():
  return Space('mixed', KINDS)


def either(space, a, b, generator):
  """A parent for each free parameter."""
  return [(a, b)[i] for i in generator.integers(2, size=len(space.free))]


def one(name):
  return Space('one', [p for p in KINDS if p.name == name])


@st.composite
def parameters(draw, name, earlier):
  kind = draw(st.sampled_from(parameter.KINDS))
  values = {
    'kind': kind,
    'tier': draw(st.sampled_from(parameter.TIERS)),
    'structural': draw(st.booleans()),
  }
  values['initial'] = not values['structural'] and draw(st.booleans())
  if kind == 'choice':
    scalars = st.integers(-9, 9) | st.floats(-1, 1)
    if values['structural']:
      scalars |= st.booleans() | st.text(max_size=3)
    choices = draw(st.lists(scalars, min_size=2, max_size=5, unique=True))
    values |= {'choices': choices, 'default': draw(st.sampled_from(choices))}
  else:
    numbers = {
      'float': st.floats(-1e9, 1e9),
      'log_float': st.floats(1e-12, 1e12),
      'int': st.integers(-50, 50),
    }[kind]
    low, default, high = sorted(draw(st.tuples(numbers, numbers, numbers)))
    hypothesis.assume(low < high and (kind == 'int' or high > low * 1.001))
    values |= {'low': low, 'default': default, 'high': high}
  if values['structural']:
    earlier = [other for other in earlier if other.structural]
  if earlier and draw(st.booleans()):
    other = draw(st.sampled_from(earlier))
    wanted = [other.default]
    if other.kind == 'choice':
      wanted = [draw(st.sampled_from(other.choices))]
    values['when'] = {other.name: wanted}
  return Parameter(name, **values)


@st.composite
def spaces(draw):
  found = []
  for i in range(draw(st.integers(1, 5))):
    found.append(draw(parameters(f'p{i}', found)))
  found = draw(st.permutations(found))
  names = [p.name for p in found]
  free = draw(st.none() | st.frozensets(st.sampled_from(names)))
  return Space('random', found, free)


seeds = st.integers(0, 2**31)
given = hypothesis.given
settings = hypothesis.settings(
  max_examples=60,
  deadline=None,
  derandomize=True,
  suppress_health_check=list(hypothesis.HealthCheck),
)


@settings
@given(spaces(), seeds)
def test_whatever_the_operators_return_is_valid_and_canonical(space, seed):
  generator = rng(seed)
  a, b = space.sample(generator), space.sample(generator)
  parents = either(space, a, b, generator)
  children = [a, b, space.recombine(a, parents)]
  children += [space.mutate(a, generator) for _ in range(5)]
  children += [space.perturb(a, generator) for _ in range(5)]
  for child in children:
    space.validate(child)
    assert space.canonical(child) == child
    assert list(child) == [p.name for p in space.parameters]
    assert json.loads(json.dumps(child)) == child
    hash(space.structure(child))


@settings
@given(spaces(), seeds)
def test_operators_touch_only_free_active_parameters(space, seed):
  generator = rng(seed)
  for _ in range(5):
    full = Space('full', space.parameters).sample(generator)
    before = copy.deepcopy(full)
    movable = space.free & set(space.active(full))
    child = space.mutate(full, generator)
    assert (child != full) == bool(movable)
    perturbed = space.perturb(full, generator)
    assert space.structure(perturbed) == space.structure(full)
    for changed in (child, perturbed):
      lost = set(space.active(full)) ^ set(space.active(changed))
      assert {n for n in full if changed[n] != full[n]} <= movable | lost
    assert full == before


@settings
@given(spaces(), seeds)
def test_who_takes_over_weights_keeps_what_they_began_with(space, seed):
  generator = rng(seed)
  full = Space('full', space.parameters)
  lineage, other = full.sample(generator), full.sample(generator)
  going_on = space.continued()
  initial = {p.name for p in space.parameters if p.initial}
  assert going_on.free == space.free - initial
  parents = either(going_on, lineage, other, generator)
  heir = going_on.mutate(going_on.recombine(lineage, parents), generator)
  begun = space.with_start(other, lineage)
  for child in (heir, begun):
    awake = initial & {*space.active(lineage)} & {*space.active(child)}
    assert all(child[name] == lineage[name] for name in awake)
    assert space.canonical(child) == child
  # Nothing else of the other is lost, unless it was awake only beside that.
  awake = {*space.active(other)} & {*space.active(begun)} - initial
  assert all(begun[name] == other[name] for name in awake)


@settings
@given(spaces(), st.sets(st.sampled_from(parameter.TIERS), min_size=1), seeds)
def test_what_a_restriction_leaves_out_no_sample_makes_active(
  space, tiers, seed
):
  wanted = {n for n in space.free if space.by_name[n].tier in tiers}
  drawn = dataclasses.replace(space, free=frozenset(wanted))
  active = set()
  for generator in map(rng, range(seed, seed + 50)):
    active |= {*drawn.active(drawn.sample(generator))}
  try:
    free = space.restrict(tiers).free
  except ValueError:
    free = frozenset()
  assert free <= wanted
  assert not (wanted - free) & active


def test_what_can_never_be_active_is_not_free():
  at = CONDITIONAL.by_name
  assert CONDITIONAL.restrict(parameter.TIERS).free == {*at}
  with pytest.raises(ValueError, match='nothing to change in tiers'):
    CONDITIONAL.restrict(['objective'])
  sgd = Space(
    'sgd',
    [
      dataclasses.replace(at['rule'], default='sgd'),
      at['momentum'],
      at['nesterov'],
    ],
  )
  assert sgd.restrict(['objective']).free == {'momentum', 'nesterov'}


@settings
@given(spaces(), seeds)
def test_a_space_survives_json(space, seed):
  text = json.dumps(space.to_json())
  again = Space.from_json(json.loads(text))
  assert again == space
  assert hash(again) == hash(space)
  assert again.sample(rng(seed)) == space.sample(rng(seed))


@settings
@given(spaces(), seeds)
def test_decode_undoes_encode(space, seed):
  configuration = space.sample(rng(seed))
  vector = space.encode(configuration)
  assert vector.shape == (len(space.free),)
  assert ((vector >= 0) & (vector <= 1)).all()
  again = space.decode(vector)
  for p in space.parameters:
    if p.kind in ('int', 'choice'):
      assert again[p.name] == configuration[p.name]
  np.testing.assert_allclose(space.encode(again), vector, atol=1e-7)


@settings
@given(spaces(), st.integers(1, 6), seeds)
def test_the_nearest_structure_is_its_own_or_one_at_the_least_distance(
  space, count, seed
):
  generator = rng(seed)
  configuration, *others = (space.sample(generator) for _ in range(count + 1))
  structures = [space.structure(other) for other in others]
  own = space.structure(configuration)
  nearest = space.nearest(configuration, structures)
  assert nearest in structures
  assert own not in structures or nearest == own
  assert space.nearest(configuration, [*structures, own]) == own

  def distance(structure):
    total = 0
    for name, value in structure:
      p, here = space.by_name[name], configuration[name]
      if p.kind == 'choice' and {bool, str} & set(map(type, p.choices)):
        total += here != value
      else:
        total += abs(p.unit(here) - p.unit(value))
    return total

  least = min(map(distance, structures))
  assert own in structures or distance(nearest) == pytest.approx(least)


@settings
@given(spaces(), seeds)
def test_a_configuration_takes_any_structure_and_keeps_the_rest(space, seed):
  generator = rng(seed)
  a, b = space.sample(generator), space.sample(generator)
  before = copy.deepcopy(a)
  child = space.with_structure(a, space.structure(b))
  assert a == before
  space.validate(child)
  assert space.canonical(child) == child
  assert space.structure(child) == space.structure(b)
  both = set(space.active(a)) & set(space.active(child)) & set(space.names)
  assert {n: child[n] for n in both} == {n: a[n] for n in both}
  woken = set(space.active(child)) - set(space.active(a))
  for name in woken & set(space.names):
    assert child[name] == space.by_name[name].default
  assert space.with_structure(a, space.structure(a)) == a


def test_numbers_are_as_far_apart_as_on_their_scale_and_labels_by_1():
  space = mixed()
  near = space.baseline | {'layers': 6, 'shape': 'x'}
  far = space.baseline | {'layers': 4, 'shape': 'y'}
  structures = [space.structure(c) for c in (far, near)]
  assert space.nearest(space.baseline, structures) == structures[1]
  # Of two as near the first one counts.
  for values in ((3, 5), (5, 3)):
    pair = [space.structure(near | {'layers': v}) for v in values]
    assert space.nearest(space.baseline, pair) == pair[0]
  # Rounding may leave no distance between two; its own still wins.
  wide = Parameter('w', 'float', 'objective', 0, -1e9, 1e9, structural=True)
  pair = [(('w', 1e-12),), (('w', 0.0),)]
  assert wide.distance(1e-12, 0.0) == 0
  assert Space('wide', [wide]).nearest({'w': 0.0}, pair) == pair[1]
  with pytest.raises(ValueError, match=r'structures is \[\]; expected at le'):
    space.nearest(space.baseline, [])


@settings
@given(spaces(), st.randoms(use_true_random=False), seeds)
def test_an_extension_without_changes_is_its_base_but_for_what_it_fixes(
  space, random, seed
):
  plain = Space.from_json({'name': 'x', 'extends': 'base'}, space)
  assert plain == Space('x', space.parameters, space.free)
  values = space.sample(rng(seed))
  names = random.sample(list(values), random.randint(0, len(values)))
  fixed = {name: values[name] for name in names}
  value = {'name': 'x', 'extends': 'base', 'fixed': fixed}
  made = Space.from_json(json.loads(json.dumps(value)), space)
  assert made.free == space.free - set(names)
  for name in values:
    default = fixed.get(name, space.by_name[name].default)
    assert made.by_name[name].default == default
  child = made.mutate(made.sample(rng(seed)), rng(seed))
  assert {name: child[name] for name in names} == fixed
  assert Space.from_json(made.to_json()) == made


def test_choices_and_integers_lie_in_the_middle_of_equal_parts():
  space = Space('s', KINDS[2:5])
  vector = space.encode({'layers': 1, 'steps': 100, 'batch': 4})
  np.testing.assert_allclose(vector, [1 / 16, 1 - 0.5 / 101, 3 / 8])


def test_the_corners_of_the_unit_cube_are_the_bounds_exactly():
  space = mixed()
  low, high = space.decode(np.full(6, -0.1)), space.decode(np.ones(6))
  assert tuple(low.values()) == (1e-4, 0.0, 1, 0, 2, 'x')
  assert tuple(high.values()) == (1e-2, 0.5, 8, 100, 16, 'y')
  with pytest.raises(ValueError, match='point .*; expected 6 numbers'):
    space.decode(np.full(6, math.nan))


def test_samples_are_uniform_on_their_scales():
  space, generator = mixed(), rng()
  draws = [space.sample(generator) for _ in range(4000)]
  logs = [math.log(d['rate'] / 1e-4) / math.log(100) for d in draws]
  assert stats.kstest(logs, 'uniform').pvalue > ALPHA
  assert stats.kstest([d['decay'] * 2 for d in draws], 'uniform')[1] > ALPHA
  for name, size in (('layers', 8), ('batch', 4), ('shape', 2)):
    counts = np.unique([d[name] for d in draws], return_counts=True)[1]
    assert len(counts) == size
    assert stats.chisquare(counts).pvalue > ALPHA


def test_the_same_seed_gives_the_same_children():
  space = mixed()
  for name in ('mutate', 'perturb'):
    operator = getattr(space, name)
    first = [operator(space.baseline, rng(s)) for s in range(30)]
    assert first == [operator(space.baseline, rng(s)) for s in range(30)]
    assert len({json.dumps(child) for child in first}) > 20


@pytest.mark.parametrize('operator', ['mutate', 'perturb'])
def test_a_thousand_changes_never_leave_the_range(operator):
  space, generator = mixed(), rng()
  configuration, seen = space.baseline, {p.name: set() for p in KINDS}
  for _ in range(1000):
    configuration = getattr(space, operator)(configuration, generator)
    space.validate(configuration)
    for name, value in configuration.items():
      seen[name].add(value)
  assert min(seen['rate']) < 3e-4 and max(seen['rate']) > 5e-3
  assert seen['batch'] == {2, 4, 8, 16}
  if operator == 'mutate':
    assert seen['layers'] == set(range(1, 9))


@pytest.mark.parametrize('expected, mean', [(0, 1), (3, 3 + 0.5**6), (9, 6)])
def test_children_have_the_expected_number_of_changes(expected, mean):
  space, generator = mixed(), rng()
  changes = []
  for _ in range(3000):
    child = space.mutate(space.baseline, generator, expected=expected)
    changes.append(sum(child[p.name] != p.default for p in KINDS))
  assert min(changes) >= 1
  error = max(np.std(changes), 0.01) / math.sqrt(len(changes))
  assert abs(np.mean(changes) - mean) < 4 * error


def test_mutations_of_two_parameters_are_uncorrelated():
  space, generator = mixed(), rng()
  start = space.baseline | {'decay': 0.25}
  n = 4000
  moves = []
  for _ in range(n):
    child = space.mutate(start, generator, expected=6)
    moves.append([math.log(child['rate'] / 1e-3), child['decay'] - 0.25])
  moves = np.array(moves)
  for a in (moves, abs(moves)):
    assert abs(np.corrcoef(a.T)[0, 1]) < 4 / math.sqrt(n)


def test_perturbation_factors_are_equally_likely():
  space, generator = one('rate'), rng()
  ratios = [
    space.perturb({'rate': 1e-3}, generator, resample=0)['rate'] / 1e-3
    for _ in range(3000)
  ]
  values, counts = np.unique(np.round(ratios, 9), return_counts=True)
  assert values.tolist() == [0.8, 1.25]
  assert stats.chisquare(counts).pvalue > ALPHA


@pytest.mark.parametrize(
  'operator, share', [('mutate', 0.1), ('perturb', 0.25)]
)
def test_the_declared_share_is_drawn_anew(operator, share):
  space, generator = one('decay'), rng()
  change, n = getattr(space, operator), 4000
  ends = [change({'decay': 0.25}, generator, step=1e-9) for _ in range(n)]
  drawn = [e['decay'] for e in ends if abs(e['decay'] - 0.25) > 1e-6]
  assert stats.binomtest(len(drawn), n, share).pvalue > ALPHA
  uniform = stats.kstest(drawn, 'uniform', (0, 0.5))
  assert uniform.pvalue > ALPHA


def test_a_choice_moves_to_any_other_in_mutation_and_next_door_in_pbt():
  space, generator = one('batch'), rng()
  mutants = [space.mutate({'batch': 4}, generator) for _ in range(3000)]
  values, counts = np.unique([m['batch'] for m in mutants], return_counts=True)
  assert values.tolist() == [2, 8, 16]
  assert stats.chisquare(counts).pvalue > ALPHA
  for start, neighbours in ((2, [4]), (4, [2, 8]), (16, [8])):
    moved = [
      space.perturb({'batch': start}, generator, resample=0)['batch']
      for _ in range(1000)
    ]
    values, counts = np.unique(moved, return_counts=True)
    assert values.tolist() == neighbours
    assert len(counts) == 1 or stats.chisquare(counts).pvalue > ALPHA


def test_a_parameter_at_zero_moves_under_perturb():
  space, generator = one('decay'), rng()
  ends = [
    space.perturb({'decay': 0.0}, generator, resample=0)['decay']
    for _ in range(1000)
  ]
  # The other half was clipped to 0.
  assert stats.binomtest(int(np.count_nonzero(ends)), 1000).pvalue > ALPHA


def test_perturb_leaves_structural_parameters_alone():
  space, generator = mixed(), rng()
  for _ in range(100):
    start = space.sample(generator)
    child = space.perturb(start, generator)
    assert space.structure(child) == space.structure(start)
    assert child['rate'] != start['rate'] or start['rate'] in (1e-4, 1e-2)


def test_a_child_has_each_free_parameter_from_a_parent_of_its_own():
  space = Space('s', KINDS, frozenset({'rate', 'decay', 'layers'}))
  names = list(space.by_name)
  a = dict(zip(names, (1e-4, 0.0, 1, 0, 2, 'x'), strict=True))
  b = dict(zip(names, (1e-2, 0.5, 8, 9, 16, 'y'), strict=True))
  c = dict(zip(names, (1e-3, 0.1, 4, 5, 8, 'y'), strict=True))
  parents = dict(zip(space.free_names, (b, c, a), strict=True))
  child = space.recombine(a, list(parents.values()))
  assert {name: child[name] for name in parents} == {
    name: parent[name] for name, parent in parents.items()
  }
  assert all(child[name] == a[name] for name in names if name not in parents)


def test_an_inactive_parameter_goes_back_to_its_default():
  space = CONDITIONAL
  values = {'momentum': 0.9, 'nesterov': 1, 'rule': 'sgd'}
  assert space.canonical(values) == values
  assert space.active(values) == ('momentum', 'nesterov', 'rule')
  adam = space.canonical(values | {'rule': 'adam'})
  assert adam == {'momentum': 0.5, 'nesterov': 0, 'rule': 'adam'}
  assert space.with_structure(values, (('rule', 'adam'),)) == adam
  assert space.active(adam) == ('rule',)
  # A grandchild sleeps with its parent, and alone where a value is not listed.
  assert space.canonical(values | {'momentum': 0.7})['nesterov'] == 0


def test_a_parameter_that_a_mutation_wakes_starts_at_its_default():
  for seed in range(20):
    child = CONDITIONAL.mutate(CONDITIONAL.baseline, rng(seed))
    assert child == {'momentum': 0.5, 'nesterov': 0, 'rule': 'sgd'}


def test_canonical_numbers_have_the_type_of_their_parameter():
  space = Space('s', (*KINDS[1:3], KINDS[4]))
  values = {'decay': 0, 'layers': np.int64(2), 'batch': np.int64(8)}
  types = {name: type(v) for name, v in space.canonical(values).items()}
  assert types == {'decay': float, 'layers': int, 'batch': int}


def test_structure_and_hyperparameters_split_a_configuration():
  space = mixed()
  assert space.structure(space.baseline) == (('layers', 4), ('shape', 'x'))
  assert space.names == ('rate', 'decay', 'steps', 'batch')
  traced = space.hyperparameters(space.baseline)
  assert tuple(traced) == space.names
  assert list(traced.values()) == [1e-3, 0.0, 50.0, 4.0]
  assert all(type(value) is float for value in traced.values())


def test_restricting_tiers_and_structure_keeps_the_rest_at_default():
  space = mixed().restrict(['architecture'])
  assert space.free == {'layers', 'shape'}
  child = space.sample(rng())
  assert all(child[n] == space.baseline[n] for n in space.names)
  assert mixed().traced().free == {'rate', 'decay', 'steps', 'batch'}
  stuck = space.traced()
  assert stuck.free == frozenset()
  assert stuck.mutate(stuck.baseline, rng()) == stuck.baseline
  for tiers, message in (
    (['objective'], 'nothing to change in tiers .*; expected a tier'),
    (['weights'], 'tier is "weights"; expected one of configuration'),
  ):
    with pytest.raises(ValueError, match=message):
      mixed().restrict(tiers)


RATE = 'expected a number in [0.0001, 0.01]'


@pytest.mark.parametrize(
  'change, message',
  [
    ({'rate': 5.0}, f'rate is 5.0; {RATE}'),
    ({'rate': True}, f'rate is true; {RATE}'),
    ({'rate': None}, f'rate is null; {RATE}'),
    ({'rate': math.nan}, f'rate is NaN; {RATE}'),
    ({'rate': math.inf}, f'rate is Infinity; {RATE}'),
    ({'rate': 'a\nb'}, rf'rate is "a\nb"; {RATE}'),
    ({'layers': 2.0}, 'layers is 2.0; expected an integer in [1, 8]'),
    ({'layers': 9}, 'layers is 9; expected an integer in [1, 8]'),
    ({'batch': 5}, 'batch is 5; expected one of 2, 4, 8, 16'),
    ({'batch': 4.0}, 'batch is 4.0; expected one of 2, 4, 8, 16'),
    ({'shape': []}, 'shape is []; expected one of "x", "y"'),
    (
      {'lr': 1},
      'lr = 1 is unknown to space mixed; expected one of rate, decay',
    ),
    (
      {'l\nr': 1},
      r'"l\nr" = 1 is unknown to space mixed; expected one of rate',
    ),
    ({'layer': 1}, 'layer = 1 is unknown to space mixed; expected layers'),
  ],
)
def test_a_bad_value_is_named_with_its_range_on_one_line(change, message):
  with pytest.raises(ValueError) as error:
    mixed().validate(mixed().baseline | change)
  assert str(error.value).startswith(message)
  assert '\n' not in str(error.value)


def test_missing_values_and_strangers_are_refused():
  space = mixed()
  values = space.baseline
  del values['rate']
  with pytest.raises(ValueError, match='^rate is missing; expected a number'):
    space.validate(values)
  with pytest.raises(ValueError, match=r'^configuration is \[\]; expected'):
    space.validate([])
  flag = Parameter('flag', 'choice', 'objective', 0, choices=(0.0, 1.0))
  Space('flags', [flag]).validate({'flag': 1})
  with pytest.raises(ValueError, match='flag is true; expected one of 0.0'):
    Space('flags', [flag]).validate({'flag': True})


FLOAT = {
  'kind': 'float',
  'tier': 'objective',
  'default': 1,
  'low': 0,
  'high': 2,
}
CHOICE = {
  'kind': 'choice',
  'tier': 'objective',
  'default': 1,
  'choices': [1, 2],
}


def described(**entries):
  return json.dumps({'name': 'bad', 'parameters': entries})


@pytest.mark.parametrize(
  'text, message',
  [
    ('{', 'not JSON (Expecting property name'),
    ('[]', 'space is []; expected an object'),
    ('{"name": "x"}', 'parameters is missing; expected name, parameters'),
    ('{"extends": "x"}', 'extends: name is "x"; expected the path of a JSON'),
    ('{"name": "x", "parameters": 1}', 'parameters is 1; expected an object'),
    ('{"name": 1, "parameters": {}}', 'name is 1; expected one line of text'),
    ('{"name": "x", "parameters": {}}', 'parameters is []; expected at least'),
    ('{"name": "x", "name": "y"}', 'name is given twice; expected once'),
    (
      json.dumps({'name': 'x', 'parameters': {'a': FLOAT}, 'free': ['b']}),
      'free is "b"; expected one of a',
    ),
    (described(a=3), 'parameters.a is 3; expected an object'),
    (
      described(a=FLOAT | {'step': 1}),
      'parameters.a.step is unknown; expected',
    ),
    (described(a={'kind': 'int'}), 'parameters.a.tier is missing; expected'),
    (described(a=FLOAT | {'low': 3}), 'parameters.a.low is 3; expected less'),
    (
      described(a=FLOAT | {'initial': 1}),
      'parameters.a.initial is 1; expected true or false',
    ),
    (
      described(a=CHOICE | {'structural': True, 'initial': True}),
      'parameters.a.initial is true; expected false for a structural',
    ),
    (described(**{'a b': FLOAT}), 'parameters."a b".name is "a b"; expected'),
    (
      described(a=CHOICE, b=FLOAT | {'when': {'c': [1]}}),
      'parameters.b.when.c is unknown; expected a, b',
    ),
    (
      described(a=CHOICE, b=FLOAT | {'when': {'a': [3]}}),
      'parameters.b.when.a is 3; expected one of 1, 2',
    ),
    (
      described(a=FLOAT, b=CHOICE | {'structural': True, 'when': {'a': [1]}}),
      'parameters.b.when.a is traced; expected a structural parameter',
    ),
    (
      described(
        a=CHOICE | {'when': {'b': [1]}}, b=CHOICE | {'when': {'a': [1]}}
      ),
      'parameters.a.when is ["a", "b", "a"]; expected conditions without',
    ),
  ],
)
def test_a_bad_file_is_named_with_the_path_inside_it(tmp_path, text, message):
  path = tmp_path / 'bad.json'
  path.write_text(text)
  with pytest.raises(ValueError) as error:
    space_lib.load(path)
  assert str(error.value).startswith(f'{path}: {message}')
  assert '; expected ' in str(error.value)
  assert '\n' not in str(error.value)


def test_importing_the_space_imports_no_jax():
  code = 'import evo.space, sys; sys.exit("jax" in sys.modules)'
  root = pathlib.Path(space_lib.__file__).parents[1]
  assert subprocess.run([sys.executable, '-c', code], cwd=root).returncode == 0


def test_structures_that_a_search_may_meet_are_counted_out():
  shape = {'kind': 'choice', 'tier': 'configuration', 'structural': True}
  made = space_lib.Space.from_json(
    {
      'name': 'shapes',
      'parameters': {
        'batch': shape | {'default': 8, 'choices': [4, 8, 16]},
        'ema': shape | {'default': False, 'choices': [False, True]},
        # Has an effect with averages only.
        'kind': shape
        | {'default': 'a', 'choices': ['a', 'b'], 'when': {'ema': [True]}},
        'width': shape
        | {'tier': 'architecture', 'default': 1, 'choices': [1, 2]},
      },
    }
  )
  found = made.restrict(['configuration']).structures(most=12)
  assert found[0] == made.structure(made.baseline)
  assert len(found) == len(set(found)) == 3 * (1 + 2)
  assert made.restrict(['configuration']).structures(most=11) is None
  assert len(made.structures(most=24)) == 18
