import jax
import jax.numpy as jnp
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
    assert shardings.batch_shards() == 8
  assert 'sharding_constraint' in text
  assert shardings.batch_shards() == 1


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
