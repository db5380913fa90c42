import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evo import collectives, hlo, mesh

SIZES = {'member': 2, 'data': 4, 'fsdp': 1, 'tensor': 2}


def _text(*lines: str, other: str = '') -> str:
  body = '\n'.join(f'  %i{n} = {line}' for n, line in enumerate(lines))
  return (
    f'HloModule m\n\n{other}\nENTRY %main (x: f32[]) -> f32[] {{\n'
    '  %x = f32[] parameter(0)\n'
    f'{body}\n'
    '  ROOT %r = f32[] add(%x, %x)\n}\n'
  )


def _find(*lines: str, sizes=SIZES, other: str = ''):
  return collectives.find(hlo.Module(_text(*lines, other=other)), sizes)


IDS = 'use_global_device_ids=true'


@pytest.mark.parametrize(
  ('groups', 'axes'),
  [
    # Places are member * 8 + data * 2 + tensor.
    ('{{0,1},{2,3},{4,5},{6,7},{8,9},{10,11},{12,13},{14,15}}', ('tensor',)),
    ('{{0,2,4,6},{1,3,5,7},{8,10,12,14},{9,11,13,15}}', ('data',)),
    ('{{0,8},{1,9},{2,10},{3,11},{4,12},{5,13},{6,14},{7,15}}', ('member',)),
    ('{{0,9}}', ('member', 'tensor')),
    ('[8,2]<=[16]', ('tensor',)),
    ('[4,4]<=[2,4,2]T(0,2,1)', ('data',)),
    ('[8,2]<=[2,8]T(1,0)', ('member',)),
    ('[2,8]<=[16]', ('data', 'tensor')),
    ('[1,16]<=[16]', ('member', 'data', 'tensor')),
    ('{}', ('member', 'data', 'tensor')),
  ],
)
def test_groups_of_devices_tell_the_axes(groups, axes):
  (found,) = _find(
    f'f32[64] all-reduce(%x), channel_id=1, replica_groups={groups}, {IDS}'
  )
  assert found.axes == axes


def test_groups_of_one_device_are_no_traffic():
  assert not _find(
    f'f32[64] all-reduce(%x), replica_groups=[16,1]<=[16], {IDS}'
  )


def test_groups_of_replicas_are_all_devices():
  (found,) = _find('f32[64] all-reduce(%x), channel_id=1, replica_groups={{0}}')
  assert found.axes == ('member', 'data', 'tensor')


def test_pairs_that_stay_where_they_are_do_not_count():
  (found,) = _find(
    'f32[64] collective-permute(%x), source_target_pairs={{0,0},{1,3},{3,1}}'
  )
  assert found.axes == ('data',)
  assert found.sent == 256


@pytest.mark.parametrize(
  ('line', 'kind', 'sent'),
  [
    # Of 4 devices: a ring sends three quarters of the array, to add up twice.
    ('bf16[64] all-reduce(%x)', 'all-reduce', 2 * 128 * 3 / 4),
    ('(f32[8], f32[8,3]) all-reduce(%x, %x)', 'all-reduce', 2 * 128 * 3 / 4),
    ('f32[64] all-gather(%x)', 'all-gather', 256 * 3 / 4),
    ('(f32[16], f32[64]) all-gather-start(%x)', 'all-gather', 256 * 3 / 4),
    ('f32[16] reduce-scatter(%x)', 'reduce-scatter', 256 * 3 / 4),
    ('f32[64] all-to-all(%x)', 'all-to-all', 256 * 3 / 4),
  ],
)
def test_what_a_device_sends_is_counted_by_kind(line, kind, sent):
  (found,) = _find(f'{line}, replica_groups=[4,4]<=[2,4,2]T(0,2,1), {IDS}')
  assert (found.kind, found.sent, found.times) == (kind, sent, 1)


def test_a_permutation_that_has_begun_holds_its_operand_too():
  (found,) = _find(
    '(f32[64], f32[64], u32[], u32[]) collective-permute-start(%x),'
    ' source_target_pairs={{0,8},{8,0}}'
  )
  assert found.axes == ('member',)
  assert found.sent == pytest.approx(256, rel=0.02)


def test_devices_outside_of_the_mesh_are_refused():
  with pytest.raises(ValueError):
    _find(f'f32[64] all-reduce(%x), replica_groups={{{{0,16}}}}, {IDS}')


def test_a_collective_without_groups_is_refused():
  with pytest.raises(ValueError, match='expected groups of devices'):
    _find(f'f32[64] all-reduce(%x), {IDS}')


# As the TPU's compiler writes it: one all-gather, begun in a fusion, gone on
# with in another one that multiplies, and ended in a third.
_CHAIN = """
%begin (p: f32[16]) -> f32[64] {
  %p = f32[16] parameter(0)
  ROOT %g = f32[64] all-gather(%p), replica_groups=[4,4]<=[2,4,2]T(0,2,1), \
use_global_device_ids=true, backend_config={"async_collective_fusion_config":\
{"flag_start":"-1","flag_end":"-1"}}
}

%go_on (p: f32[16]) -> f32[64] {
  %p = f32[16] parameter(0)
  ROOT %g = f32[64] all-gather(%p), replica_groups=[4,4]<=[2,4,2]T(0,2,1), \
use_global_device_ids=true, backend_config={"async_collective_fusion_config":\
{"flag_start":"2","flag_end":"8"}}
}

%all-reduce-scatter.1 (p: f32[64]) -> f32[16] {
  %p = f32[64] parameter(0)
  %g = f32[64] all-reduce(%p), replica_groups=[4,4]<=[2,4,2]T(0,2,1), \
use_global_device_ids=true
  ROOT %d = f32[16] dynamic-slice(%g)
}
"""


def test_a_collective_in_a_chain_of_fusions_counts_once():
  calls = ('begin', 'go_on', 'go_on')
  found = _find(
    *(f'f32[64] fusion(%x), kind=kCustom, calls=%{name}' for name in calls),
    other=_CHAIN,
  )
  assert [(c.kind, c.axes, c.sent) for c in found] == [
    ('all-gather', ('data',), 192.0)
  ]


def test_a_sum_of_which_a_part_is_kept_is_a_reduce_scatter():
  (found,) = _find(
    'f32[16] fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1',
    other=_CHAIN,
  )
  assert (found.kind, found.axes, found.sent) == (
    'reduce-scatter',
    ('data',),
    192.0,
  )


def test_what_hosts_carry_between_slices_is_told_apart():
  (found,) = _find(
    '(f32[64], u32[], token[]) send(%x, %x), is_host_transfer=true,'
    ' frontend_attributes={_xla_host_transfer_handler_name='
    '"xla_megascale_runtime"}'
  )
  assert found.axes == (collectives.BETWEEN_SLICES,)
  assert found.kind == 'send'


def test_sums_are_by_kind_and_axes():
  add = collectives.Collective('all-reduce', ('data',), 10.0, 3)
  more = collectives.Collective('all-reduce', ('data',), 1.0, 5)
  other = collectives.Collective('all-reduce', ('tensor',), 1.0, 1)
  assert collectives.summary([add, other, more]) == [
    {'kind': 'all-reduce', 'axes': ['data'], 'times': 8, 'bytes_sent': 35.0},
    {'kind': 'all-reduce', 'axes': ['tensor'], 'times': 1, 'bytes_sent': 1.0},
  ]


def _compiled(function, sizes, *specs):
  made = mesh.make(sizes)
  args = [
    jax.ShapeDtypeStruct(
      (8, 64), jnp.float32, sharding=jax.NamedSharding(made, spec)
    )
    for spec in specs
  ]
  mapped = jax.shard_map(
    function, mesh=made, in_specs=specs, out_specs=specs[0], check_vma=False
  )
  text = jax.jit(mapped).lower(*args).compile().as_text()
  return collectives.find(hlo.Module(text), dict(made.shape))


@pytest.mark.parametrize('axis', ['member', 'data'])
def test_of_a_compiled_program_the_loop_and_the_axis_are_known(axis):
  def function(x):
    return jax.lax.fori_loop(
      0, 5, lambda i, x: jnp.sin(jax.lax.psum(x, axis)), x
    )

  found = _compiled(
    function, {'member': 2, 'data': 2}, jax.P(('member', 'data'))
  )
  # Two rows of 64 floats on each of the four devices; of two devices each
  # sends half of them, twice.
  assert found == [collectives.Collective('all-reduce', (axis,), 512.0, 5)]


def test_of_a_compiled_program_over_both_axes_both_are_known():
  found = _compiled(
    lambda x: jax.lax.psum(x, ('member', 'data')),
    {'member': 2, 'data': 2},
    jax.P(('member', 'data')),
  )
  assert [c.axes for c in found] == [('member', 'data')]
  np.testing.assert_allclose([c.sent for c in found], 2 * 512 * 3 / 4)


def test_a_compiled_ring_is_a_permutation_over_its_axis():
  found = _compiled(
    lambda x: jax.lax.ppermute(x, 'data', [(0, 1), (1, 0)]),
    {'member': 2, 'data': 2},
    jax.P(('member', 'data')),
  )
  assert found == [
    collectives.Collective('collective-permute', ('data',), 512.0, 1)
  ]
