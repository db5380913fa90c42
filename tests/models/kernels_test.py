import pytest

from models import kernels

# As in a compiled program, shortened: of 2 sequences, 3 heads and heads of 128
# channels, blocks of 256 in 1024 queries and keys.
_Q = 'bf16[2,3,1024,128]{3,2,1,0}'


def _call(phase: str, results: str, blocks: tuple[str, str] = ('', '')) -> str:
  suffix = '' if phase == 'fwd' else f'_{phase}'
  sizes = ', '.join(
    f'\\"block_{side}{suffix}\\": {size}'
    for side, size in zip(('q', 'kv'), blocks)
  )
  return (
    f'({results}) custom-call(%a, %b), custom_call_target="tpu_custom_call",'
    f' operand_layout_constraints={{s8[1,1,1]{{2,1,0}}, {_Q}, {_Q}, {_Q},'
    ' s32[1024,128]{1,0}}, frontend_attributes={kernel_metadata={\n'
    f'"xprof_metadata":"{{{sizes}}}"\n}}}},'
    f' metadata={{op_name="splash_mha_{phase}_segmented_residuals/pallas_call"}}'
  )


# Of 4 x 4 blocks, 4 + 3 + 2 + 1 are computed.
_SHARE = 10 / 16
_PRODUCT = 2 * 2 * 3 * 1024**2 * 128 * _SHARE


@pytest.mark.parametrize(
  ('phase', 'results', 'products'),
  [
    ('fwd', 'f32[2,1024,128]{2,1,0}, bf16[2,3,1024,128]{3,2,1,0}', 2),
    ('dq', 'f32[2,1024,128]{2,1,0}, bf16[2,3,1024,128]{3,2,1,0}', 3),
    ('dkv', 'bf16[2,3,1024,128]{3,2,1,0}, bf16[2,3,1024,128]{3,2,1,0}', 4),
    # In one pass for all gradients, each block of keys has its part of dq.
    ('dkv', 'bf16[2,4,3,1024,128]{4,3,2,1,0}, bf16[2,3,1024,128]{3,2,1,0}', 5),
  ],
)
def test_a_pass_does_its_products_of_the_blocks_below_the_diagonal(
  phase, results, products
):
  text = _call(phase, results, (256, 256))
  assert kernels.flops(text) == products * _PRODUCT


def test_blocks_that_the_diagonal_crosses_are_computed_in_full():
  text = _call('fwd', 'bf16[2,3,1024,128]', (512, 1024))
  assert kernels.flops(text) == 2 * _PRODUCT / _SHARE


def test_other_kernels_are_refused():
  with pytest.raises(ValueError, match='expected one of flash attention'):
    kernels.flops(
      'f32[8] custom-call(%a), custom_call_target="tpu_custom_call"'
    )
