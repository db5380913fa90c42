import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from models import hyperparameters, shardings, transformer
from models.structure import Structure

SIZES = {'data': 2, 'fsdp': 4, 'tensor': 2}


def _specs(**choices):
  structure = Structure(17, **choices)
  weights = jax.eval_shape(
    lambda: transformer.init_weights(structure, 0, hyperparameters.complete({}))
  )
  return shardings.specs({'weights': weights, 'mean': weights}, SIZES)


def test_matrices_are_split_over_fsdp_and_tensor_and_vectors_are_not():
  weights = _specs()['weights']
  block = weights['blocks']['0']
  assert block['attention']['q']['kernel'] == jax.P(('fsdp',), ('tensor',))
  assert block['attention']['out']['kernel'] == jax.P(('tensor',), ('fsdp',))
  assert block['mlp']['down']['kernel'] == jax.P(('tensor',), ('fsdp',))
  assert block['attention_norm']['scale'] == jax.P(None)


def test_what_the_optimiser_keeps_lies_where_its_weights_do():
  state = _specs()
  assert state['mean'] == state['weights']


def test_an_axis_that_does_not_divide_stays_whole():
  # A vocabulary of 17 over 2.
  assert _specs()['weights']['embedding'] == jax.P(None, ('fsdp',))


def test_every_large_tensor_of_every_structure_has_a_place_in_the_table():
  everything = _specs(
    value_embeddings='all', position='learned', activation='swiglu', bias=True
  )
  for path, spec in jax.tree_util.tree_leaves_with_path(
    everything['weights'], is_leaf=lambda x: isinstance(x, jax.P)
  ):
    # Two axes of an array cannot be split over the same devices.
    parts = [(x,) if isinstance(x, str) else x for x in spec if x]
    used = [axis for axes in parts for axis in axes]
    assert len(used) == len(set(used)), path
    large = not {'bias', 'scale', 'value_gate'} & {p.key for p in path}
    assert any(spec) == large, path


def test_arrays_are_split_as_the_mesh_of_the_program_says():
  mesh = jax.sharding.AbstractMesh(
    (2, 4, 2), ('data', 'fsdp', 'tensor'), axis_types=(AxisType.Auto,) * 3
  )
  with jax.sharding.use_abstract_mesh(mesh):
    text = str(
      jax.make_jaxpr(lambda x: shardings.constrain(x, 'batch', None))(
        jnp.zeros((8, 3))
      )
    )
    assert shardings.shards('batch') == 8
  assert 'sharding_constraint' in text
  assert shardings.shards('batch') == 1


def test_rows_are_looked_up_in_a_whole_table():
  mesh = jax.sharding.AbstractMesh((2,), ('fsdp',), axis_types=(AxisType.Auto,))
  table, index = jnp.arange(12.0).reshape(4, 3), jnp.array([[2, 0]])
  assert shardings.rows(table, index).tolist() == [[[6, 7, 8], [0, 1, 2]]]
  with jax.sharding.use_abstract_mesh(mesh):
    text = str(jax.make_jaxpr(shardings.rows)(table, index))
  assert text.index('sharding_constraint') < text.index('gather')


def test_devices_that_share_a_batch_run_what_one_alone_would():
  mesh = jax.make_mesh(
    (4, 1), ('data', 'fsdp'), axis_types=(AxisType.Auto,) * 2
  )
  rows, w = jnp.arange(24.0).reshape(8, 3), jnp.array([1.0, -2.0, 0.5])
  seen = []

  def function(rows, w):
    seen.append(rows.shape[0])
    return jnp.tanh(rows @ w)

  def loss(w, rows):
    return (shardings.by_rows(function, rows, w) ** 2).mean()

  whole = jax.value_and_grad(loss)(w, rows)
  with jax.set_mesh(mesh):
    parts = jax.jit(jax.value_and_grad(loss))(w, rows)
  assert set(seen) == {8, 2}
  for a, b in zip(whole, parts):
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_the_product_is_the_gradient_of_the_rows():
  random = np.random.default_rng(0)
  table = jnp.float32(random.normal(size=(5, 3)))
  index = jnp.int32(random.integers(0, 5, (2, 7)))
  weights = jnp.float32(random.normal(size=(2, 7, 3)))

  def loss(table, most):
    return (jnp.sin(shardings.rows(table, index, most)) * weights).sum()

  for most in (4, 5):
    text = str(jax.make_jaxpr(jax.grad(loss), static_argnums=1)(table, most))
    assert ('scatter' in text) == (most == 4)
  scattered, product = (jax.grad(loss)(table, most) for most in (4, 5))
  np.testing.assert_allclose(product, scattered, rtol=1e-5)


@pytest.mark.parametrize(
  ('sizes', 'said'),
  [
    ({'member': 3, 'data': 4, 'fsdp': 2, 'tensor': 2}, None),
    ({'data': 8, 'fsdp': 2}, 'batch is 8; .* data x fsdp, which is 16'),
    ({'fsdp': 8}, 'width is 20; .* fsdp, which is 8'),
    ({'tensor': 8}, 'heads is 4; .* tensor, which is 8'),
    ({'tensor': 4}, 'kv_heads is 2; .* tensor, which is 4'),
  ],
)
def test_members_that_do_not_divide_are_refused_with_numbers(sizes, said):
  structure = Structure(17, batch=8, width=20, heads=4, kv_sharing=2)
  found = shardings.refusal(structure, sizes)
  assert (found is None) if said is None else re.search(said, found)


def test_a_gathered_weight_stays_split_over_tensor_alone():
  mesh = jax.sharding.AbstractMesh(
    (4, 2), ('fsdp', 'tensor'), axis_types=(AxisType.Auto,) * 2
  )
  with jax.sharding.use_abstract_mesh(mesh):
    text = str(
      jax.make_jaxpr(lambda x: shardings.gather(('mlp', 'up', 'kernel'), x))(
        jnp.zeros((8, 8))
      )
    )
  assert "'tensor'" in text.split('sharding=')[1].split('spec=')[-1]
  assert 'fsdp' not in text.split('spec=')[-1].split(')')[0]


@pytest.mark.parametrize('heads', [(12,), (4, 3)])
@pytest.mark.parametrize('name', ['q', 'out'])
def test_a_weight_is_gathered_and_its_gradient_split_again(name, heads):
  """With an axis of their own for heads, as a loop stacks them, or without."""
  mesh = jax.make_mesh(
    (2, 2), ('fsdp', 'tensor'), axis_types=(AxisType.Auto,) * 2
  )
  path = ('attention', name, 'kernel')
  shape = (8, *heads) if name == 'q' else (*heads, 8)

  def loss(x):
    return (shardings.gather(path, x) ** 2).sum()

  with jax.set_mesh(mesh):
    together = jax.jit(lambda x: shardings.gather(path, x))(jnp.ones(shape))
    gradient = jax.jit(jax.grad(loss))(jnp.ones(shape))
  split = {'fsdp': 0, 'tensor': 1} if name == 'q' else {'tensor': 0}
  split['fsdp'] = 0 if name == 'q' else len(heads)
  for x, axes in ((together, ['tensor']), (gradient, ['fsdp', 'tensor'])):
    part = list(shape)
    for axis in axes:
      part[split[axis]] //= 2
    assert x.addressable_shards[0].data.shape == tuple(part)


def test_what_is_shaped_as_the_weights_is_split_as_they_are():
  mesh = jax.make_mesh((4,), ('fsdp',), axis_types=(AxisType.Auto,))
  tree = {'mlp': {'up': {'kernel': jnp.ones((8, 4)), 'bias': jnp.ones(8)}}}
  with jax.set_mesh(mesh):
    found = jax.jit(shardings.as_weights)(tree)['mlp']['up']
  assert found['kernel'].sharding.spec == jax.P('fsdp')
  assert found['bias'].sharding.is_fully_replicated
