"""Small transformers whose every tensor matters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import hyperparameters as traced
from models import transformer
from models.structure import Structure


@pytest.fixture(scope='session')
def small():
  """Makes structures that compile in a second, of any changes."""
  sizes = {'depth': 2, 'width': 16, 'heads': 2, 'head_dim': 8, 'context': 8}
  return lambda **changes: Structure(**({'vocabulary': 11} | sizes | changes))


@pytest.fixture(scope='session')
def shaken():
  """Makes weights of a structure that are away from their beginnings."""

  def make(structure):
    random = np.random.default_rng(5)
    shapes = jax.eval_shape(
      lambda: transformer.init_weights(structure, 0, traced.complete({}))
    )

    def fill(path, like):
      mean = 1.0 if path[-1].key in ('scale', 'residual', 'alpha') else 0.0
      sd = 0.2 if len(like.shape) > 1 else 0.1
      return jnp.float32(random.normal(mean, sd, like.shape))

    return jax.tree_util.tree_map_with_path(fill, shapes)

  return make
