"""What a member is: something that can be initialised, trained and scored.

`models` supplies the transformer on text. To search over a model of your own,
write one `Trainee`; everything else in `evo` then works for it.
"""

from typing import Any, NamedTuple, Protocol

import jax

PyTree = Any
Structure = tuple[tuple[str, Any], ...]
Hyperparameters = dict[str, jax.Array]


class Cost(NamedTuple):
  """What one member costs.

  Attributes:
    flops_per_step: of one training step.
    tokens_per_step: examples seen in one training step.
    flops_per_evaluation: of one evaluation, by split.
    weights: trained scalars.
  """

  flops_per_step: float
  tokens_per_step: int
  flops_per_evaluation: dict[str, float]
  weights: int


class Trainee(Protocol):
  """Pure functions of ONE member; populations map them over their slots.

  `structure` is static (the key of one compiled program); `hyperparameters`
  are float32 scalars, traced; `state` is any pytree of arrays. Randomness
  comes from the member's `seed` (int32 scalar, traced) alone, so a member's
  result does not depend on its neighbours.

  Attributes:
    metric: name of the loss that `evaluate` returns, lower is better.
    data: arrays by split, replicated over the devices; `train` is handed to
      `step`, each other split to `evaluate`.
    digest: names the data in results.
  """

  metric: str
  data: dict[str, PyTree]
  digest: str

  def init(
    self,
    structure: Structure,
    hyperparameters: Hyperparameters,
    seed: jax.Array,
  ) -> PyTree:
    """A fresh state."""
    ...

  def step(
    self,
    structure: Structure,
    data: PyTree,
    hyperparameters: Hyperparameters,
    state: PyTree,
    seed: jax.Array,
    step: jax.Array,
    fraction: jax.Array,
  ) -> tuple[PyTree, jax.Array]:
    """One training step.

    Args:
      structure: static part of the configuration.
      data: `self.data['train']`.
      hyperparameters: traced part of the configuration, float32 scalars.
      state: of this member.
      seed: of this member, int32 scalar.
      step: steps behind the lineage, int32 scalar, from 0.
      fraction: of the budget done before this step, float32 in [0, 1).

    Returns:
      The new state and the training loss (float32 scalar).
    """
    ...

  def evaluate(
    self,
    structure: Structure,
    data: PyTree,
    hyperparameters: Hyperparameters,
    state: PyTree,
  ) -> jax.Array:
    """The metric on one split's data, a float32 scalar; lower is better."""
    ...

  def specs(self, state: PyTree, sizes: dict[str, int]) -> PyTree:
    """How a state is split where a member has several devices.

    Never called where each member has one. The functions above are then traced
    with the mesh's other axes under the compiler's control (`Auto`): they may
    constrain where their arrays lie, and mean the same if they do not.

    Args:
      state: shapes of a member's state.
      sizes: of the mesh axes; `data`, `fsdp` and `tensor` are the member's own.

    Returns:
      A `PartitionSpec` for each array, over these three axes.
    """
    ...

  def cost(self, structure: Structure) -> Cost:
    """Analytic cost of a member of this structure.

    Raises:
      ValueError: there can be none of this structure. A leg that proposes it
        ends at once, as `infeasible`.
    """
    ...
