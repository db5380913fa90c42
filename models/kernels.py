"""FLOPs of kernels, read from compiled programs: the compiler knows none."""

import math
import re

# Matrix products that a pass of the flash kernel does for a block of queries
# and keys; what goes back goes over the logits again.
_PRODUCTS = {'fwd': 2, 'dq': 3, 'dkv': 4}
_FUSED_BACK = 5  # One pass for all three gradients.


def flops(text: str) -> float:
  """Of one call, a multiply and an add being two.

  Of the causal mask's blocks those are counted that the kernel computes: it
  skips what is masked as a whole, and does the others in full.

  Args:
    text: of the call, in a program compiled for TPUs.

  Raises:
    ValueError: it is not one of the flash kernel's.
  """
  found = re.search(r'splash_m[hq]a_(fwd|dq|dkv)_', text)
  layouts = re.search(r'operand_layout_constraints=\{(.*?)\}, \w+=', text)
  if not found or not layouts:
    raise ValueError(f'kernel {text[:80]!r}; expected one of flash attention')
  q, k = _floats(layouts[1])[:2]
  products = _PRODUCTS[found[1]]
  result = text[: text.index('custom-call(')]
  if found[1] == 'dkv' and any(len(s) > len(q) for s in _floats(result)):
    products = _FUSED_BACK  # It also gives the queries' part of each block.
  pairs = _pairs(q[-2], k[-2], *_blocks(found[1], text))
  return products * 2.0 * math.prod(q[:-2]) * q[-1] * pairs


def _floats(text: str) -> list[tuple[int, ...]]:
  """Shapes of the arrays of floats, of two axes at least."""
  shapes = re.findall(r'\bb?f\d+\[([\d,]+)\]', text)
  found = [tuple(int(n) for n in shape.split(',')) for shape in shapes]
  return [shape for shape in found if len(shape) > 1]


def _blocks(phase: str, text: str) -> tuple[int, int]:
  """Queries and keys of a block."""
  suffix = '' if phase == 'fwd' else f'_{phase}'
  sides = (
    re.search(rf'\bblock_{side}{suffix}\\?": (\d+)', text)
    for side in ('q', 'kv')
  )
  return tuple(int(side[1]) for side in sides)


def _pairs(queries: int, keys: int, q: int, kv: int) -> int:
  """Queries times keys in blocks that are not masked as a whole."""
  ends = range(q, queries + 1, q)
  return sum(q * kv * min(math.ceil(end / kv), keys // kv) for end in ends)
