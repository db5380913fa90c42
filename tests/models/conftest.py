"""Shared by the tests of `models`."""

import jax
import pytest


@pytest.fixture(autouse=True)
def _no_rank_promotion():
  with jax.numpy_rank_promotion('raise'):
    yield
