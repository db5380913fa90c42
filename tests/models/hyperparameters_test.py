import jax.numpy as jnp
import pytest

from models import hyperparameters


def test_what_is_left_out_has_its_default():
  whole = hyperparameters.complete({'beta1': jnp.float32(0.5)})
  assert set(whole) == set(hyperparameters.DEFAULTS)
  assert whole['beta1'] == 0.5
  assert whole['learning_rate'] == jnp.float32(1e-3)


def test_all_are_float32_scalars():
  whole = hyperparameters.complete({'warmup': 0})
  assert {(v.dtype, v.shape) for v in whole.values()} == {
    (jnp.dtype('float32'), ())
  }


def test_an_unknown_name_is_refused():
  with pytest.raises(ValueError, match=r'^hyperparameters speed; expected'):
    hyperparameters.complete({'speed': 0.9})
