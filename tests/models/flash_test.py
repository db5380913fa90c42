import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl
from jax.sharding import AxisType

from models import attention, compute, flash, transformer
from models import hyperparameters as traced
from models.structure import Structure

LENGTH, HEAD_DIM = 256, 64


def _normal(name: int, *shape: int) -> jax.Array:
  random = np.random.default_rng(name)
  return jnp.asarray(random.normal(size=shape), jnp.float32)


@pytest.fixture
def interpreted(monkeypatch):
  """Runs the kernel without a TPU."""
  call = pl.pallas_call
  monkeypatch.setattr(
    pl, 'pallas_call', lambda *a, **k: call(*a, **k | {'interpret': True})
  )


@pytest.mark.parametrize('pieces', [None, 100])
def test_the_kernel_attends_as_what_is_written_out(interpreted, pieces):
  q = _normal(0, 2, LENGTH, 4, HEAD_DIM)
  k, v = (_normal(i, 2, LENGTH, 2, HEAD_DIM) for i in (1, 2))
  place = jnp.arange(LENGTH)
  visible = place[:, None] >= place[None]
  if pieces:
    piece = place // pieces
    visible &= piece[:, None] == piece[None]
    pieces = jnp.float32(pieces)

  @jax.jit
  def both(q, k, v):
    def ours(*qkv):
      heads_first = (jnp.swapaxes(x, 1, 2) for x in qkv)
      return jnp.square(flash.attend(*heads_first, pieces)).sum()

    def theirs(*qkv):
      return jnp.square(
        attention.attend(*qkv, visible, jnp.float32(0), None)
      ).sum()

    return [
      jax.value_and_grad(f, argnums=(0, 1, 2))(q, k, v) for f in (ours, theirs)
    ]

  (loss, slopes), (expected, wanted) = both(q, k, v)
  np.testing.assert_allclose(loss, expected, rtol=1e-4)
  for slope, right in zip(slopes, wanted):
    np.testing.assert_allclose(slope, right, atol=2e-3)


@pytest.mark.parametrize(
  ('choice', 'pieces'),
  [
    pytest.param({}, None, marks=pytest.mark.slow),
    ({'kv_sharing': 2, 'bias': True, 'value_embeddings': 'all'}, 100),
    pytest.param(
      {'position': 'learned', 'qk_norm': False, 'activation': 'gelu'},
      None,
      marks=pytest.mark.slow,
    ),
  ],
)
def test_a_member_of_a_tpu_computes_what_is_written_out(
  interpreted, choice, pieces
):
  structure = Structure(
    *(17, 2, 64, 2, HEAD_DIM), context=LENGTH, batch=1, **choice
  )
  h = traced.complete({'qk_scale': 1.3, 'rope_fraction': 0.8})
  tokens = jnp.arange(LENGTH)[None] * 7 % 17
  pieces = pieces and jnp.float32(pieces)
  tpu = dataclasses.replace(compute.TPU, dtype=jnp.float32)

  @functools.partial(jax.jit, static_argnums=0)
  def both(how, weights):
    def loss(weights):
      y = transformer.apply(
        structure, weights, h, tokens, compute=how, length=pieces
      )
      return jnp.square(y).mean()

    return jax.value_and_grad(loss)(weights)

  weights = transformer.init_weights(structure, 0, h)
  weights = jax.tree.map(lambda w: w + 0.1 * _normal(w.size, *w.shape), weights)
  (loss, slopes), (expected, wanted) = (
    both(how, weights) for how in (tpu, compute.CPU)
  )
  np.testing.assert_allclose(loss, expected, rtol=1e-4)
  largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(wanted))
  for slope, right in zip(jax.tree.leaves(slopes), jax.tree.leaves(wanted)):
    np.testing.assert_allclose(slope, right, rtol=1e-3, atol=1e-4 * largest)


def test_a_loop_keeps_of_each_block_the_middles_of_its_branches(interpreted):
  how = dataclasses.replace(compute.TPU, written_out=0)
  structure = Structure(*(17, 2, 64, 2, HEAD_DIM), context=LENGTH, batch=1)
  h = traced.complete({})
  tokens = jnp.zeros((1, LENGTH), jnp.int32)

  def loss(weights):
    logits = transformer.apply(structure, weights, h, tokens, compute=how)
    return logits.astype(jnp.float32).mean()

  weights = transformer.init_weights(structure, 0, h)
  residuals = jax.eval_shape(lambda w: jax.vjp(loss, w)[1], weights)
  kept = {
    x.shape
    for x in jax.tree.leaves(residuals)
    if x.ndim > 3 and x.shape[0] == structure.depth and LENGTH in x.shape
  }
  assert kept == {
    (2, 1, LENGTH, 64),  # the stream
    (2, 1, LENGTH, 256),  # hidden channels
    (2, 1, 2, LENGTH, HEAD_DIM),  # what attention gives
    (2, 1, 2, LENGTH),  # and its softmax's normalisers
  }


def test_the_kernel_of_a_member_is_split_over_its_devices():
  mesh = jax.sharding.AbstractMesh(
    (2, 4, 2), ('member', 'fsdp', 'tensor'), axis_types=(AxisType.Auto,) * 3
  )
  attend = jax.shard_map(
    lambda q: flash.attend(q, q, q, jnp.float32(100)),
    mesh=mesh,
    in_specs=jax.P(),
    out_specs=jax.P(),
    axis_names={'member'},
    check_vma=False,
  )
  q = jax.ShapeDtypeStruct((8, 4, LENGTH, HEAD_DIM), jnp.float32)
  text = str(jax.make_jaxpr(attend)(q))
  assert f'f32[2,2,{LENGTH},{HEAD_DIM}]' in text


def test_short_or_odd_sequences_do_not_fit_the_kernel():
  assert flash.fits(2048, 128) and flash.fits(128, 64)
  assert not flash.fits(64, 128) and not flash.fits(200, 128)
