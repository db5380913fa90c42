"""What a transformer costs, without running or compiling it.

Counted are the FLOPs of matrix products, a multiply and an add being two, as
they are executed: attention in full, though causality masks half of it.
Looking up an embedding is no matrix product; the head is one, tied or not.
"""

import functools
from typing import Any, NamedTuple

import jax
from flax import traverse_util

from models import hyperparameters, optimiser, transformer
from models.structure import Structure


class Cost(NamedTuple):
  """What one member costs.

  Attributes:
    flops_per_step: of one training step.
    tokens_per_step: targets in one training step.
    flops_per_evaluation: of one evaluation, by split.
    weights: trained numbers, embeddings among them.
  """

  flops_per_step: float
  tokens_per_step: int
  flops_per_evaluation: dict[str, float]
  weights: int


def step_flops(structure: Structure) -> float:
  """Of one training step.

  The network forwards, twice that backwards (arXiv:2001.08361, section 2.1),
  and the optimiser. Norms, activations and other elementwise work is left out.
  """
  tokens = structure.batch * structure.context
  backwards_too = 3 * token_flops(structure) * tokens
  return backwards_too + optimiser.flops(structure.optimiser, shapes(structure))


def token_flops(structure: Structure) -> float:
  """Of one token's way forwards through the network, among a whole context."""
  flat = traverse_util.flatten_dict(shapes(structure))
  multiplied = sum(
    w.size
    for path, w in flat.items()
    if optimiser.group(path, w.ndim) in ('matrix', 'head')
  )
  if structure.tied:
    multiplied += structure.width * structure.vocabulary
  inner = structure.heads * structure.head_dim
  # Queries with keys, probabilities with values.
  multiplied += 2 * structure.depth * inner * structure.context
  return 2.0 * multiplied


@functools.lru_cache
def shapes(structure: Structure) -> dict[str, Any]:
  """The weights, a nested dict of shapes and dtypes."""
  return jax.eval_shape(
    lambda: transformer.init_weights(structure, 0, hyperparameters.complete({}))
  )
