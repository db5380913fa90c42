"""The trainee: a transformer that learns to predict the next token of a text.

It has the shape of `evo.trainee.Trainee` and does not import it.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models import hyperparameters as traced
from models import (
  objective,
  optimiser,
  randomness,
  schedule,
  transformer,
  windows,
)
from models.data import Corpus
from models.structure import Structure

PyTree = Any
Pairs = tuple[tuple[str, Any], ...]

# Evaluated at a time where a training step reads fewer: enough to keep a CPU's
# cores busy, few enough for its cache.
EVALUATION_TOKENS = 1024


class Cost(NamedTuple):
  """What one member costs.

  Attributes:
    flops_per_step: of one training step.
    tokens_per_step: targets in one training step.
    flops_per_evaluation: of one evaluation, by split.
  """

  flops_per_step: float
  tokens_per_step: int
  flops_per_evaluation: dict[str, float]


class LanguageModel:
  """Pure functions of one member over a corpus.

  State is {'weights', 'mean', 'variance'}, the last two Adam's moments: three
  nested dicts of float32 arrays of the same shapes. The count of steps is not
  part of it, `step` brings it.

  Attributes:
    metric: `bpb`, bits per byte of text.
    data: arrays by split; `train` is {'tokens': [tokens]}, each other split
      `windows.Windows`.
    digest: of the corpus.
    corpus: where the data came from.
  """

  metric = 'bpb'

  def __init__(self, corpus: Corpus, compute_dtype: jnp.dtype = jnp.float32):
    """Of a corpus, computing in bfloat16 on accelerators, float32 on CPUs."""
    self.corpus = corpus
    self.digest = corpus.digest
    self.data = {'train': {'tokens': corpus.train}, **corpus.evaluation}
    self._dtype = compute_dtype

  def structure(self, pairs: Pairs) -> Structure:
    """The structure of a configuration's structural part.

    Args:
      pairs: (name, value) of any fields of `Structure` but its vocabulary,
        which is the corpus's.

    Raises:
      ValueError: a name is unknown or a value out of its range.
    """
    given = dict(pairs)
    names = [field.name for field in dataclasses.fields(Structure)]
    names.remove('vocabulary')
    if unknown := sorted(set(given) - set(names)):
      raise ValueError(
        f'structure {", ".join(unknown)}; expected some of {", ".join(names)}'
      )
    made = Structure(vocabulary=self.corpus.vocabulary, **given)
    if made.context != self.corpus.context:
      raise ValueError(
        f'context {made.context}; expected {self.corpus.context}, for which '
        'the windows of evaluation are cut'
      )
    return made

  def init(
    self,
    structure: Pairs,
    hyperparameters: dict[str, jax.Array],
    seed: jax.Array,
  ) -> PyTree:
    """A fresh state."""
    h = traced.complete(hyperparameters)
    weights = transformer.init_weights(
      self.structure(structure), seed, h['init_scale']
    )
    return {'weights': weights, **optimiser.init_moments(weights)}

  def step(
    self,
    structure: Pairs,
    data: PyTree,
    hyperparameters: dict[str, jax.Array],
    state: PyTree,
    seed: jax.Array,
    step: jax.Array,
    fraction: jax.Array,
  ) -> tuple[PyTree, jax.Array]:
    """One training step; see `evo.trainee.Trainee.step`."""
    made = self.structure(structure)
    h = traced.complete(hyperparameters)
    drawn = windows.draw(data['tokens'], seed, step, made.batch, made.context)
    key = jax.random.fold_in(randomness.named_key(seed, 'dropout'), step)

    def loss_of(weights: PyTree) -> jax.Array:
      logits = transformer.apply(made, weights, drawn[:, :-1], key, self._dtype)
      return objective.training_loss(
        logits, drawn[:, 1:], h['label_smoothing'], h['z_loss']
      )

    loss, gradient = jax.value_and_grad(loss_of)(state['weights'])
    moments = {name: state[name] for name in ('mean', 'variance')}
    rate = schedule.learning_rate(h, fraction)
    weights, moments = optimiser.update(
      state['weights'], moments, gradient, rate, h, step
    )
    return {'weights': weights, **moments}, loss

  def evaluate(
    self,
    structure: Pairs,
    data: windows.Windows,
    hyperparameters: dict[str, jax.Array],
    state: PyTree,
  ) -> jax.Array:
    """Bits per byte over the windows of a split, without any dropout."""
    del hyperparameters  # none of them may reach the metric
    made = self.structure(structure)
    count = data.tokens.shape[0]
    rows = min(count, max(EVALUATION_TOKENS // made.context, made.batch))
    batches = math.ceil(count / rows)
    # Windows that fill the last batch up score nothing.
    fill = batches * rows - count
    tokens = jnp.pad(data.tokens, ((0, fill), (0, 0)))
    first = jnp.pad(data.first, (0, fill), constant_values=made.context)

    def score(batch: tuple[jax.Array, jax.Array]) -> jax.Array:
      rows, first = batch
      logits = transformer.apply(
        made, state['weights'], rows[:, :-1], None, self._dtype
      )
      place = jnp.arange(made.context)[None, :]
      scored = place >= first[:, None]
      return jnp.where(scored, objective.nats(logits, rows[:, 1:]), 0).sum()

    total = jax.lax.map(
      score,
      (
        tokens.reshape(batches, rows, -1),
        first.reshape(batches, rows),
      ),
    ).sum()
    targets = count * made.context - data.first.sum()
    return total / targets / math.log(2) / data.bytes_per_token

  def nats_per_token(self, bpb: float, split: str) -> float:
    """A metric of a split, in nats per token."""
    ratio = float(self.corpus.evaluation[split].bytes_per_token)
    return bpb * math.log(2) * ratio

  def cost(self, structure: Pairs) -> Cost:
    """Analytic cost: matrix products alone, a multiply and an add being two.

    A training step takes 6 FLOPs per weight of a matrix product and token
    (arXiv:2001.08361, section 2.1) and 12 x depth x heads x head_dim x context
    per token for attention, which counts the half that causality masks, as
    nanoGPT and PaLM do. An evaluation takes a third of that per token. Looking
    up an embedding is no matrix product; the head is one, tied or not.
    """
    made = self.structure(structure)
    inner = made.heads * made.head_dim
    matrices = made.depth * made.width * (4 * inner + 2 * made.hidden)
    matrices += made.width * made.vocabulary
    per_token = 6 * matrices + 12 * made.depth * inner * made.context
    tokens = made.batch * made.context
    return Cost(
      float(per_token * tokens),
      tokens,
      {
        name: per_token / 3 * split.tokens.shape[0] * made.context
        for name, split in self.corpus.evaluation.items()
      },
    )
