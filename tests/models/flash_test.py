import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl

from models import attention, flash

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
      return jnp.square(flash.attend(*qkv, pieces)).sum()

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


def test_short_or_odd_sequences_do_not_fit_the_kernel():
  assert flash.fits(2048, 128) and flash.fits(128, 64)
  assert not flash.fits(64, 128) and not flash.fits(200, 128)
