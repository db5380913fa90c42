"""Tests of programs that compile once."""

import jax.numpy as jnp
import pytest

from evo import program


def test_a_program_compiles_at_its_first_call_and_never_again():
  meter = program.Meter()
  double = program.Program(lambda x: 2 * x, meter)
  assert meter.compilations == 0 and double.text() == ''
  assert float(double(jnp.float32(2))) == 4.0
  seconds = meter.compiling
  assert float(double(jnp.float32(3))) == 6.0
  assert meter.compilations == 1 and meter.compiling == seconds > 0
  assert 'HloModule' in double.text()


def test_another_shape_is_an_error_and_no_compilation():
  double = program.Program(lambda x: 2 * x, program.Meter())
  double(jnp.zeros(3))
  with pytest.raises(TypeError):
    double(jnp.zeros(4))
