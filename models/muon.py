"""Muon's step: matrices made nearly orthogonal by Newton and Schulz.

Source: https://kellerjordan.github.io/posts/muon, as in `optax.contrib.muon`
0.2.8 with its `consistent_rms` (arXiv:2502.16982), so that one learning rate
suits matrices of all shapes, and AdamW too. Rewritten to iterate on all
matrices of a shape at once.
"""

import collections
import math

import jax
import jax.numpy as jnp

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
RMS = 0.2  # of a step, in learning rates: about what AdamW's has

Path = tuple[str, ...]


def orthogonalise(
  matrices: dict[Path, jax.Array], epsilon: jax.Array
) -> dict[Path, jax.Array]:
  """Brings all singular values of matrices near 1, and scales by shape.

  Args:
    matrices: float32 `[inputs, outputs]`, of any length.
    epsilon: added to the norms that they are divided by.

  Returns:
    Matrices whose entries have a root mean square of about `RMS`.
  """
  stacks = collections.defaultdict(list)
  for path, x in matrices.items():
    stacks[min(x.shape), max(x.shape)].append(path)
  result = {}
  for (rows, columns), paths in stacks.items():
    turn = {p: matrices[p].shape != (rows, columns) for p in paths}
    x = jnp.stack([_wide(_unit(matrices[p], epsilon), turn[p]) for p in paths])
    x = _newton_schulz(x) * (RMS * math.sqrt(columns))
    result |= {p: _wide(x[i], turn[p]) for i, p in enumerate(paths)}
  return result


def flops(shape: tuple[int, int]) -> float:
  """Dot-product FLOPs of `orthogonalise` for one matrix."""
  rows, columns = min(shape), max(shape)
  products = 4 * rows**2 * columns + 2 * rows**3
  return ITERATIONS * products + 2.0 * rows * columns


def _wide(x: jax.Array, turn: bool) -> jax.Array:
  return x.T if turn else x


def _unit(x: jax.Array, epsilon: jax.Array) -> jax.Array:
  return x * (1 / (jnp.sqrt(jnp.tensordot(x, x, x.ndim)) + epsilon))


def _newton_schulz(x: jax.Array) -> jax.Array:
  """The quintic iteration, of `[matrix, rows, columns]` with rows <= columns."""
  a, b, c = COEFFICIENTS
  for _ in range(ITERATIONS):
    gram = x @ x.mT
    x = a * x + (b * gram + c * gram @ gram) @ x
  return x
