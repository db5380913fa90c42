import sys

import pytest

from launch import topology


@pytest.mark.parametrize(
  ('name', 'chips', 'accelerator'),
  [
    ('v5e:16x16', 256, 'v5litepod-256'),
    ('v5e:2x4', 8, 'v5litepod-8'),
    ('v6e:8x16', 128, 'v6e-128'),
    ('v4:2x2x1', 4, 'v4-8'),
    ('v5p:4x4x4', 64, 'v5p-128'),
    ('v5p:4x4x8', 128, 'v5p-256'),
    ('2xv5e:16x16', 512, 'v5litepod-256'),
  ],
)
def test_a_name_tells_the_chips(name, chips, accelerator):
  made = topology.parse(name)
  assert made.name == name
  assert made.chips == chips
  assert made.accelerator == accelerator


@pytest.mark.parametrize(
  ('name', 'told'),
  [
    ('v5e:3x5', 'of 15 chips; expected v5e:4x4, of 16'),
    ('v5e:16x32', 'of 512 chips; expected v5e:16x16, of 256'),
    ('v5e:4x2', 'expected v5e:2x4, of 8'),
    ('v5p:4x4x6', 'of 96 chips; expected v5p:4x4x8, of 128'),
    ('v4:16x16x20', 'expected v4:'),
    ('0xv5e:4x4', 'v4, v5e, v5p, v6e'),
    ('v5e-256', 'such as v5e:16x16'),
    ('v9:2x2', 'v4, v5e, v5p, v6e'),
    ('', 'v4, v5e, v5p, v6e'),
  ],
)
def test_of_a_name_that_does_not_exist_the_nearest_are_told(name, told):
  with pytest.raises(ValueError, match='expected') as error:
    topology.parse(name)
  assert told in str(error.value)
  assert '\n' not in str(error.value)


def test_without_the_compiler_it_says_how_to_install_it(monkeypatch):
  monkeypatch.setitem(sys.modules, 'libtpu', None)
  with pytest.raises(ValueError, match=r"expected pip install '.\[tpu\]'"):
    topology.prepare_backend(topology.parse('v5e:2x4'))


@pytest.mark.parametrize(
  ('name', 'sizes', 'rings'),
  [
    ('v5e:16x16', {'member': 16, 'data': 16}, {'member', 'data'}),
    # A row of 16 is cut in two, and 8 rows of 8 are no rings.
    ('v5e:16x16', {'member': 32, 'fsdp': 8}, set()),
    ('v5e:8x16', {'member': 8, 'data': 16}, {'data'}),
    ('v5e:8x8', {'member': 8, 'data': 8}, set()),
    ('v5p:4x4x4', {'member': 16, 'fsdp': 4}, {'member', 'fsdp'}),
    # Of two lines of 4 or 8 beside each other, one is the way back.
    ('v5p:2x4x4', {'member': 8, 'fsdp': 4}, {'member'}),
    ('v5p:4x4x8', {'member': 16, 'data': 8}, {'member', 'data'}),
    ('v5p:4x8x8', {'member': 16, 'data': 16}, {'data'}),
    ('2xv5e:16x16', {'member': 32, 'data': 16}, {'data'}),
  ],
)
def test_a_ring_is_a_line_whose_ends_are_joined_or_an_even_block(
  name, sizes, rings
):
  pytest.importorskip('libtpu')
  made = topology.parse(name)
  topology.prepare_backend(made)
  mesh = made.mesh(sizes)
  split = {axis for axis, size in mesh.shape.items() if size > 1}
  assert made.rings(mesh) & split == rings
