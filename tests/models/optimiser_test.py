import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend import core as extend

from models import hyperparameters, optimiser
from models.structure import OPTIMISERS

WEIGHTS = {
  'embedding': jnp.linspace(-1, 1, 20).reshape(5, 4),
  'positions': jnp.linspace(1, 2, 12).reshape(3, 4),
  'head': jnp.linspace(2, 3, 20).reshape(4, 5),
  'norm': {'scale': jnp.ones(4)},
  'blocks': {
    '0': {
      'attention': {
        'q': {'kernel': jnp.linspace(-2, 1, 32).reshape(4, 8)},
        'value_embedding': jnp.linspace(1, 3, 10).reshape(5, 2),
        'value_gate': jnp.linspace(-1, 2, 8).reshape(4, 2),
      },
      'mlp': {
        'down': {
          'kernel': jnp.linspace(-3, 1, 32).reshape(8, 4),
          'bias': jnp.ones(4),
        }
      },
      'x0': jnp.ones(()),
    }
  },
}
ZEROS = jax.tree.map(jnp.zeros_like, WEIGHTS)
UPDATE = jax.jit(optimiser.update, static_argnums=0)


def _update(kind, moments, gradient, fraction, step=0, **changes):
  h = hyperparameters.complete({'warmup': 0, 'decay_start': 1} | changes)
  return UPDATE(
    kind, WEIGHTS, moments, gradient, h, jnp.float32(fraction), jnp.int32(step)
  )


def _by_group(tree):
  """Leaves by the name of their group."""
  result = {}
  for path, leaf in jax.tree.leaves_with_path(tree):
    names = tuple(part.key for part in path)
    result.setdefault(optimiser.group(names, leaf.ndim), []).append(leaf)
  return result


def test_every_tensor_has_a_group():
  counts = {name: len(leaves) for name, leaves in _by_group(WEIGHTS).items()}
  assert counts == {
    **{'embedding': 2, 'head': 1, 'value': 1},
    **{'matrix': 3, 'scalar': 3},
  }


@pytest.mark.parametrize(('fraction', 'left'), [(0, 1), (0.5, 0.6), (1, 0.2)])
def test_decay_is_of_the_group_and_falls_along_a_cosine(fraction, left):
  decays = {'matrix': 0.3, 'embedding': 0.2, 'head': 0.1, 'value': 0.05}
  rates = {'embedding': 0.5, 'value': 0.5, 'head': 2}
  weights, _ = _update(
    'adamw',
    optimiser.init_moments('adamw', WEIGHTS),
    ZEROS,
    fraction,
    learning_rate=0.5,
    final_fraction=1,
    weight_decay_final=0.2,
    weight_decay=decays['matrix'],
    embedding_decay=decays['embedding'],
    head_decay=decays['head'],
    value_decay=decays['value'],
    embedding_rate=rates['embedding'],
    head_rate=rates['head'],
  )
  before = _by_group(WEIGHTS)
  for name, leaves in _by_group(weights).items():
    shrunk = 0.5 * rates.get(name, 1) * decays.get(name, 0) * left
    for x, y in zip(before[name], leaves, strict=True):
      np.testing.assert_allclose(y, (1 - shrunk) * x, rtol=1e-6)


def test_the_momentum_of_muon_warms_up():
  start = optimiser.init_moments('muon', WEIGHTS)
  # From .85 at 0 to .95 at .2; of a first gradient 1 the mean keeps the rest.
  for fraction, momentum in ((0, 0.85), (0.1, 0.9), (0.2, 0.95), (0.7, 0.95)):
    _, moments = _update(
      'muon',
      start,
      jax.tree.map(jnp.ones_like, WEIGHTS),
      fraction,
      momentum=0.95,
      momentum_warmup=0.2,
      gradient_clip=1e3,
    )
    for name, leaves in _by_group(moments['mean']).items():
      kept = 1 - momentum if name == 'matrix' else 0.1
      for leaf in leaves:
        np.testing.assert_allclose(leaf, kept, rtol=1e-5)


@pytest.mark.parametrize('kind', ['adamw', 'muon', 'schedule_free'])
def test_an_inherited_count_goes_on(kind):
  def unbiased(beta, count):
    return (1 - beta) / (1 - beta**count)

  zero = optimiser.init_moments(kind, WEIGHTS)
  for count in (1, 21):
    means = {
      'adamw': unbiased(0.9, count),
      'muon': 0.9 * unbiased(0.9, count + 1) + unbiased(0.9, count),
      'schedule_free': 1.0,
    }
    weights, _ = _update(
      kind,
      zero,
      jax.tree.map(jnp.ones_like, WEIGHTS),
      0.0,
      step=count - 1,
      learning_rate=0.1,
      head_decay=0.0,
      beta1=0.9,
      beta2=0.99,
      momentum=0.95,
    )
    expected = 0.1 * means[kind] / math.sqrt(unbiased(0.99, count))
    moved = WEIGHTS['head'] - weights['head']
    np.testing.assert_allclose(moved, expected, rtol=1e-4)


def test_clipping_shortens_to_the_norm_and_spares_the_short():
  gradient = {'a': jnp.array([3.0]), 'b': jnp.array([[4.0]])}
  short = optimiser.clip(gradient, jnp.float32(1))
  np.testing.assert_allclose(optax.tree.norm(short), 1, rtol=1e-6)
  same = optimiser.clip(gradient, jnp.float32(6))
  np.testing.assert_array_equal(same['b'], gradient['b'])


def test_a_gradient_that_is_split_over_devices_is_clipped_where_it_lies():
  mesh = jax.make_mesh(
    (4,), ('fsdp',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  gradient = jnp.linspace(-1, 3, 96).reshape(8, 12)
  clip = jax.jit(optimiser.clip)
  for spec in (jax.P('fsdp'), jax.P(None, 'fsdp')):
    parts = jax.device_put({'w': gradient}, jax.NamedSharding(mesh, spec))
    program = clip.lower(parts, jnp.float32(1)).compile().as_text()
    assert 'all-reduce' in program and 'all-gather' not in program
    length = jnp.linalg.norm(clip(parts, jnp.float32(1))['w'])
    np.testing.assert_allclose(length, 1, rtol=1e-5)


def test_clipping_a_gradient_of_zeros_leaves_zeros():
  zeros = optimiser.clip({'a': jnp.zeros(3)}, jnp.float32(1))
  np.testing.assert_array_equal(zeros['a'], 0)


@pytest.mark.parametrize('kind', OPTIMISERS)
def test_moments_are_float32_of_their_own_before_and_after_a_step(kind):
  def check(moments):
    leaves = jax.tree.leaves((WEIGHTS, moments))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype('float32')}
    # A donated state may hold no array twice.
    assert len({x.unsafe_buffer_pointer() for x in leaves}) == len(leaves)

  moments = optimiser.init_moments(kind, WEIGHTS)
  check(moments)
  check(jax.jit(lambda w: optimiser.init_moments(kind, w))(WEIGHTS))
  _, after = _update(kind, moments, WEIGHTS, 0.5)
  check(after)
  shapes = jax.tree.map(jnp.shape, moments)
  assert shapes == jax.tree.map(jnp.shape, after)


def test_moments_are_trees_as_the_weights():
  shapes = jax.tree.map(jnp.shape, WEIGHTS)
  vectors = {
    **{name: shapes[name] for name in ('embedding', 'positions', 'head')},
    'norm': shapes['norm'],
    'blocks': {
      '0': {
        'attention': {'value_embedding': (5, 2)},
        'mlp': {'down': {'bias': (4,)}},
        'x0': (),
      }
    },
  }
  expected = {
    'adamw': {'mean': shapes, 'variance': shapes},
    'lion': {'mean': shapes},
    'muon': {'mean': shapes, 'variance': vectors},
    'schedule_free': {
      **{'variance': shapes, 'z': shapes},
      **{'weight_sum': (), 'max_rate': ()},
    },
  }
  for kind in OPTIMISERS:
    moments = optimiser.init_moments(kind, WEIGHTS)
    assert jax.tree.map(jnp.shape, moments) == expected[kind]


def test_an_unknown_optimiser_is_refused():
  with pytest.raises(ValueError, match="optimiser 'sgd'; expected one of"):
    optimiser.init_moments('sgd', WEIGHTS)


def test_schedule_free_stands_still_while_its_rate_is_zero():
  moments = optimiser.init_moments('schedule_free', WEIGHTS)
  weights, moments = _update('schedule_free', moments, WEIGHTS, 0.0, warmup=0.1)
  for x, y, z in zip(*map(jax.tree.leaves, (WEIGHTS, weights, moments['z']))):
    np.testing.assert_array_equal(x, z)
    np.testing.assert_allclose(x, y, rtol=1e-6)
  assert moments['weight_sum'] == 0


def _dots(jaxpr):
  """Dot-product FLOPs of a program, by the shapes of its dots."""
  total = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      (contracted, _), _ = equation.params['dimension_numbers']
      inner = math.prod(equation.invars[0].aval.shape[i] for i in contracted)
      total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
    for part in extend.jaxprs_in_params(equation.params):
      total += _dots(part)
  return total


@pytest.mark.parametrize('kind', OPTIMISERS)
def test_flops_are_those_of_the_dots_of_an_update(kind):
  h = hyperparameters.complete({})
  moments = optimiser.init_moments(kind, WEIGHTS)
  program = jax.make_jaxpr(optimiser.update, static_argnums=0)(
    kind, WEIGHTS, moments, WEIGHTS, h, jnp.float32(0), jnp.int32(0)
  )
  shapes = jax.eval_shape(lambda: WEIGHTS)
  assert optimiser.flops(kind, shapes) == _dots(program.jaxpr)


def test_flops_of_muon_are_five_rounds_of_three_products():
  shapes = {'up': jax.ShapeDtypeStruct((3, 8), jnp.float32)}
  weights, rounds = 24, 2 * (3 * 8 * 3 + 3 * 3 * 3 + 3 * 3 * 8)
  expected = 2 * weights + 2 * weights + 5 * rounds
  assert optimiser.flops('muon', shapes) == expected


@pytest.mark.parametrize('kind', ['muon', 'schedule_free'])
def test_a_member_has_the_same_bits_alone_and_among_others(kind):
  def begin(key):
    matrices = {name: jax.random.normal(key, (24, 40)) for name in 'ab'}
    weights = {**matrices, 'head': jax.random.normal(key, (40, 24))}
    return weights, optimiser.init_moments(kind, weights)

  def one(member):
    gradient = jax.tree.map(jnp.sin, member[0])
    h = hyperparameters.complete({'warmup': 0})
    step = jnp.int32(3)
    return optimiser.update(kind, *member, gradient, h, jnp.float32(0.1), step)

  def run(members, devices):
    mesh = jax.make_mesh(
      (devices,), ('member',), axis_types=(jax.sharding.AxisType.Auto,)
    )
    spec = jax.P('member')
    mapped = jax.shard_map(
      lambda members: jax.lax.map(one, members),
      mesh=mesh,
      in_specs=spec,
      out_specs=spec,
    )
    return jax.jit(mapped)(members)

  members = jax.vmap(begin)(jax.random.split(jax.random.key(0), 4))
  among, spread = run(members, 1), run(members, 4)
  alone = run(jax.tree.map(lambda x: x[2:3], members), 1)
  for a, b, c in zip(*map(jax.tree.leaves, (among, spread, alone))):
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a[2], c[0])
