import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from models import randomness


def test_names_and_seeds_have_keys_of_their_own():
  keys = {
    tuple(jax.random.key_data(randomness.named_key(seed, name)).tolist())
    for seed in (0, 1)
    for name in ('windows', 'dropout')
  }
  assert len(keys) == 4


def test_an_array_does_not_depend_on_its_company_or_order():
  alone = randomness.named_normals(7, {'a': (3, 50)})['a']
  others = {'b': (100, 100), 'a': (3, 50), 'c': (2,)}
  np.testing.assert_array_equal(alone, randomness.named_normals(7, others)['a'])
  backwards = dict(reversed(others.items()))
  np.testing.assert_array_equal(
    alone, randomness.named_normals(7, backwards)['a']
  )


def test_an_array_that_grows_keeps_its_rows():
  small = randomness.named_normals(7, {'a': (60, 90)})['a']
  large = randomness.named_normals(7, {'a': (80, 90)})['a']
  np.testing.assert_array_equal(small, large[:60])


def test_draws_are_standard_normal_across_blocks():
  draws = randomness.named_normals(7, {'a': (100_000,), 'b': (100_000,)})
  a, b = np.asarray(draws['a']), np.asarray(draws['b'])
  assert abs(a.mean()) < 0.015 and abs(a.std() - 1) < 0.01
  assert abs(np.corrcoef(a, b)[0, 1]) < 0.015
  assert len(np.unique(a)) > 99_000  # no block is drawn twice


def test_a_traced_seed_draws_what_a_known_one_does():
  draw = jax.jit(lambda seed: randomness.named_normals(seed, {'a': (9,)})['a'])
  np.testing.assert_array_equal(
    draw(jnp.int32(3)), randomness.named_normals(3, {'a': (9,)})['a']
  )


def test_devices_that_share_a_member_draw_a_part_each():
  shapes = {'a': (64, 512), 'b': (3,), 'c': (64, 512), 'd': (100, 50)}

  def draw():
    return randomness.named_normals(7, shapes)

  mesh = jax.make_mesh((4,), ('fsdp',), axis_types=(AxisType.Auto,))
  split = jax.NamedSharding(mesh, jax.P('fsdp'))
  out = {'a': split, 'b': None, 'c': split, 'd': split}
  with jax.set_mesh(mesh):
    compiled = jax.jit(draw, out_shardings=out).lower().compile()
    chex.assert_trees_all_equal(compiled(), draw())
  # Of the 8 blocks of `a` and of `c` each has two.
  assert '[2,2,4096]' in compiled.as_text()
  assert not re.search(r'\[(2,8|16|18),4096\]', compiled.as_text())
