"""The trainee: a transformer that learns to predict the next token of a text.

It has the shape of `evo.trainee.Trainee` and does not import it.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from models import cost as costs
from models import (
  curriculum,
  growth,
  objective,
  optimiser,
  randomness,
  shardings,
  transformer,
  windows,
)
from models import hyperparameters as traced
from models.compute import CPU, Compute
from models.data import Corpus
from models.structure import Structure

PyTree = Any
Pairs = tuple[tuple[str, Any], ...]

# Evaluated at a time where a training step reads fewer: enough to keep a CPU's
# cores busy, few enough for its cache.
EVALUATION_TOKENS = 1024


class LanguageModel:
  """Pure functions of one member over a corpus.

  State is a dict of nested dicts of float32 arrays: 'weights', beside them
  what `optimiser.init_moments` says and, if the structure has an average, that
  as 'average', shaped as the weights. The count of steps is not part of it,
  `step` brings it.

  Attributes:
    metric: `bpb`, bits per byte of text.
    data: arrays by split; `train` is {'tokens': [tokens]}, each other split
      `windows.Windows`.
    digest: of the corpus.
    corpus: where the data came from.
  """

  metric = 'bpb'

  def __init__(self, corpus: Corpus, compute: Compute = CPU):
    """Of a corpus, computed as suits a kind of device."""
    self.corpus = corpus
    self.digest = corpus.digest
    self.data = {'train': {'tokens': corpus.train}, **corpus.evaluation}
    self._compute = compute

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
    if self.corpus.context % made.context:
      raise ValueError(
        f'context {made.context}; expected a divisor of {self.corpus.context}, '
        'for which the windows of evaluation are cut'
      )
    return made

  def init(
    self,
    structure: Pairs,
    hyperparameters: dict[str, jax.Array],
    seed: jax.Array,
  ) -> PyTree:
    """A fresh state."""
    made = self.structure(structure)
    h = traced.complete(hyperparameters)
    weights = transformer.init_weights(made, seed, h)
    state = {
      'weights': weights,
      **optimiser.init_moments(made.optimiser, weights),
    }
    if made.ema:
      # Copied, for a donated state may hold no array twice.
      state['average'] = jax.tree.map(jnp.copy, weights)
    return state

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
    length = curriculum.piece_length(made.context, h, fraction)

    def losses(drawn, weights, h, length, fraction, key=None) -> jax.Array:
      x = transformer.stream(
        made, weights, h, drawn[:, :-1], key, self._compute, length
      )
      return self._losses(made, weights, h, x, drawn[:, 1:], fraction)

    def loss_of(weights: PyTree) -> jax.Array:
      args = drawn, weights, h, length, fraction
      # What is dropped out is drawn for a batch as a whole.
      split = not made.dropout
      lost = shardings.by_rows(losses, *args) if split else losses(*args, key)
      return objective.mean(lost, h, fraction)

    moments = dict(state)
    weights, average = moments.pop('weights'), moments.pop('average', None)
    loss, gradient = jax.value_and_grad(loss_of)(
      optimiser.training_weights(made.optimiser, weights, moments, h)
    )
    weights, moments = optimiser.update(
      *(made.optimiser, weights, moments, shardings.as_weights(gradient)),
      *(h, fraction, step),
    )
    state = {'weights': weights, **moments}
    if made.ema:
      kept = h['ema_decay']
      state['average'] = jax.tree.map(
        lambda a, w: kept * a + (1 - kept) * w, average, weights
      )
    return state, loss

  def trained_weights(self, structure: Pairs, state: PyTree) -> PyTree:
    """The weights that are evaluated: an average, if the member keeps one."""
    averages = self.structure(structure).ema
    return state['average' if averages else 'weights']

  def evaluate(
    self,
    structure: Pairs,
    data: windows.Windows,
    hyperparameters: dict[str, jax.Array],
    state: PyTree,
  ) -> jax.Array:
    """Bits per byte over the windows of a split, without any dropout.

    Plain cross entropy of the same targets for every structure. Of the
    hyperparameters only those of the network have a part in it.
    """
    made = self.structure(structure)
    h = traced.complete(hyperparameters)
    weights = self.trained_weights(structure, state)
    whole, data = data, windows.cut(data, made.context)
    count = data.tokens.shape[0]
    batches, rows = _batches(made, count)
    # Devices share a batch only where all have as many of its rows. Budgets
    # do not count the rows added, so that they are the same on every mesh.
    rows += -rows % shardings.shards('batch')
    # Windows that fill the last batch up score nothing.
    fill = batches * rows - count
    tokens = jnp.pad(data.tokens, ((0, fill), (0, 0)))
    first = jnp.pad(data.first, (0, fill), constant_values=made.context)

    def score(batch: tuple[jax.Array, jax.Array]) -> jax.Array:
      rows, first = batch
      logits = transformer.apply(
        made, weights, h, rows[:, :-1], compute=self._compute
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
    targets = count * made.context - whole.first.sum()
    return total / targets / math.log(2) / data.bytes_per_token

  def inherit(
    self, old: Pairs, new: Pairs, state: PyTree, fresh: PyTree
  ) -> PyTree:
    """A child's state out of its parent's; see `growth.inherit`.

    Args:
      old: structure of the parent.
      new: structure of the child.
      state: of the parent, NumPy arrays.
      fresh: state of the child as `init` makes it, NumPy arrays.
    """
    return growth.inherit(
      self.structure(old), self.structure(new), state, fresh
    )

  def share(self, old: Pairs, new: Pairs) -> float:
    """Part of a child's weights that `inherit` takes from its parent."""
    return growth.share(self.structure(old), self.structure(new))

  def _losses(
    self,
    structure: Structure,
    weights: PyTree,
    hyperparameters: dict[str, jax.Array],
    x: jax.Array,
    targets: jax.Array,
    fraction: jax.Array,
  ) -> jax.Array:
    """Losses `[batch, length]` of the end of a stream, some rows at a time."""

    def lose(x: jax.Array, targets: jax.Array) -> jax.Array:
      logits = transformer.logits(structure, weights, hyperparameters, x)
      return objective.losses(logits, targets, hyperparameters, fraction)

    shards = shardings.shards('batch')
    rows, length = targets.shape
    of_row = length * structure.vocabulary
    most = self._compute.logits // of_row if self._compute.logits else rows
    chunks = _chunks(rows // shards, max(most, 1)) if rows % shards == 0 else 1
    if chunks == 1:
      return lose(x, targets)

    def cut(x: jax.Array) -> jax.Array:
      # The rows of a device stay on it.
      x = x.reshape(shards, chunks, -1, *x.shape[1:]).swapaxes(0, 1)
      return x.reshape(chunks, -1, *x.shape[3:])

    lost = jax.lax.map(
      lambda chunk: jax.checkpoint(lose)(*chunk), (cut(x), cut(targets))
    )
    lost = lost.reshape(chunks, shards, -1, length).swapaxes(0, 1)
    return lost.reshape(rows, length)

  def nats_per_token(self, bpb: float, split: str) -> float:
    """A metric of a split, in nats per token."""
    ratio = float(self.corpus.evaluation[split].bytes_per_token)
    return bpb * math.log(2) * ratio

  def specs(self, state: PyTree, sizes: dict[str, int]) -> PyTree:
    """How a state is split over a member's devices; see `models.shardings`."""
    return shardings.specs(state, sizes)

  def refusal(self, structure: Pairs, sizes: dict[str, int]) -> str | None:
    """Why members cannot be split like this; see `models.shardings`."""
    return shardings.refusal(self.structure(structure), sizes)

  def cost(self, structure: Pairs) -> costs.Cost:
    """Analytic cost; see `models.cost`."""
    made = self.structure(structure)
    evaluation = {}
    for name, split in self.corpus.evaluation.items():
      count = split.tokens.shape[0] * (self.corpus.context // made.context)
      read = math.prod(_batches(made, count)) * made.context
      evaluation[name] = costs.token_flops(made) * read
    return costs.Cost(
      flops_per_step=costs.step_flops(made),
      tokens_per_step=made.batch * made.context,
      flops_per_evaluation=evaluation,
      weights=transformer.number_of_weights(made),
    )


def _chunks(rows: int, most: int) -> int:
  """Parts of a batch, as few as leave at most so many rows in each."""
  fit = (n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= most)
  return next(fit, rows)


def _batches(structure: Structure, count: int) -> tuple[int, int]:
  """Batches that so many windows are evaluated in, and windows in each."""
  most = max(EVALUATION_TOKENS // structure.context, structure.batch)
  batches = math.ceil(count / most)
  return batches, math.ceil(count / batches)
