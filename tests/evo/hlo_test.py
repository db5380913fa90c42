import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from evo import chips, hlo


def _compile(function, *shapes):
  args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return hlo.Module(jax.jit(function).lower(*args).compile().as_text())


def _products(instruction: hlo.Instruction) -> float:
  return float(instruction.opcode in ('dot', 'custom-call'))


def test_what_a_loop_does_counts_as_often_as_it_turns():
  def nested(x, w):
    def inner(x, _):
      return jnp.sin(x @ w), None

    def outer(x, _):
      return jax.lax.scan(inner, x, length=3)[0], None

    return jax.lax.scan(outer, x, length=5)[0]

  module = _compile(nested, (256, 256), (256, 256))
  visited = sum(
    times for i, times in module.visits() if re.search(r'^sin|sine', i.name)
  )
  assert visited == 15


def test_of_two_branches_the_dearer_one_counts():
  text = """HloModule m

%cheap (p: f32[]) -> f32[] {
  %p = f32[] parameter(0)
  ROOT %a = f32[] add(%p, %p)
}

%dear (q: f32[]) -> f32[] {
  %q = f32[] parameter(0)
  %b = f32[] add(%q, %q), metadata={note="first
second"}
  ROOT %c = f32[] add(%b, %b)
}

ENTRY %main (x: f32[], i: s32[]) -> f32[] {
  %x = f32[] parameter(0)
  %i = s32[] parameter(1)
  ROOT %r = f32[] conditional(%i, %x, %x), branch_computations={%cheap, %dear}
}
"""
  module = hlo.Module(text)
  assert module.total(lambda i: float(i.opcode == 'add')) == 2
  assert sum(i.opcode == 'add' for i, _ in module.visits()) == 3
  assert [i.name for i in module.computations['dear']] == ['q', 'b', 'c']


def test_loops_may_count_without_a_sign():
  text = """HloModule m

%body (p: u32[]) -> u32[] {
  %p = u32[] parameter(0)
  ROOT %n = u32[] add(%p, %p)
}

%until (p: u32[]) -> pred[] {
  %p = u32[] parameter(0)
  %c = u32[] constant(7)
  ROOT %l = pred[] compare(%p, %c), direction=LT
}

ENTRY %main (x: u32[]) -> u32[] {
  %x = u32[] parameter(0)
  ROOT %w = u32[] while(%x), condition=%until, body=%body
}
"""
  assert hlo.Module(text).total(lambda i: float(i.opcode == 'add')) == 7


def test_a_fusion_tells_what_it_holds():
  text = """HloModule m

%inner (p: f32[]) -> f32[] {
  %p = f32[] parameter(0)
  ROOT %s = f32[] sine(%p)
}

%outer (q: f32[]) -> f32[] {
  %q = f32[] parameter(0)
  ROOT %f = f32[] fusion(%q), kind=kLoop, calls=%inner
}

ENTRY %main (x: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  ROOT %g = f32[] fusion(%x), kind=kLoop, calls=%outer
}
"""
  module = hlo.Module(text)
  x, fusion = module.computations['main']
  assert [i.name for i in module.fused(fusion)] == ['q', 'f', 'p', 's']
  assert module.fused(x) == []


@pytest.mark.parametrize(
  ('shape', 'size'),
  [
    ('f32[8,128]{1,0:T(8,128)S(1)}', 4096),
    ('(bf16[4]{0:T(8,128)(2,1)}, u32[]{:S(2)})', 12),
    ('pred[3]', 3),
    ('f8e4m3fn[16]', 16),
    ('s4[8]', 4),
    ('f32[0,5]', 0),
  ],
)
def test_a_shape_tells_its_bytes(shape, size):
  assert hlo.size(shape) == size


def test_text_without_a_program_is_refused():
  with pytest.raises(ValueError, match='expected a compiled program'):
    hlo.Module('nothing')


# In a process of its own: the TPU's compiler wants the environment first.
_CHAIN = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.experimental import topologies
from evo import chips, hlo
topology, name, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
chip = chips.CHIPS[name]
devices = topologies.get_topology_desc(
  platform='tpu', topology_name=topology,
  chip_config_name=chip.configuration).devices
mesh = jax.sharding.Mesh(np.array(devices[:1]), ('one',))
where = jax.NamedSharding(mesh, jax.P())
x = jax.ShapeDtypeStruct((n, n), jnp.bfloat16, sharding=where)
w = jax.ShapeDtypeStruct((4, n, n), jnp.bfloat16, sharding=where)
def chain(x, w):
  for i in range(4):
    x = x @ w[i]
  return x
module = hlo.Module(jax.jit(chain).lower(x, w).compile().as_text())
print(chip.seconds(module) / (4 * 2 * n**3 / chip.peak))
"""


@pytest.mark.parametrize(
  ('topology', 'name', 'size'),
  [
    ('v4:2x2x1', 'v4', 8192),
    ('v5e:2x2', 'v5e', 4096),
    pytest.param('v5e:2x2', 'v5e', 8192, marks=pytest.mark.slow),
    pytest.param('v5p:2x2x1', 'v5p', 8192, marks=pytest.mark.slow),
    pytest.param('v6e:2x2', 'v6e', 4096, marks=pytest.mark.slow),
  ],
)
def test_chains_of_large_products_take_what_the_roofline_says(
  topology, name, size
):
  pytest.importorskip('libtpu')
  process = subprocess.run(
    [sys.executable, '-c', _CHAIN, topology, name, str(size)],
    env=os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'TPU_SKIP_MDS_QUERY': '1',
      'TPU_WORKER_HOSTNAMES': 'localhost',
      'TPU_WORKER_ID': '0',
      # Compilers need no chip, so they may run side by side.
      'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
    },
    cwd=pathlib.Path(__file__).parents[2],
    capture_output=True,
    text=True,
    check=True,
  )
  assert 1 <= float(process.stdout.split()[-1]) <= 1.15


def test_every_chip_says_what_its_peak_is_made_of():
  for chip in chips.CHIPS.values():
    products = chip.peak / chip.clock / 2 / 128**2
    assert products == pytest.approx(round(products), rel=0.01)
