"""Kept states: what members end with, saved for heirs, export and scoring."""

from typing import Any

import jax
import numpy as np

from evo import checkpoint as checkpoint_lib
from evo import member as member_lib
from evo import populations as populations_lib
from evo import seats as seats_lib
from evo import space as space_lib
from evo import trainee as trainee_lib

Weights = member_lib.Weights


def checkpoint_name(weights: Weights) -> str:
  """Of a kept state."""
  return f'member-{weights[0]}-{weights[1]}'


class Kept:
  """The kept states of one engine."""

  def __init__(
    self,
    trainee: trainee_lib.Trainee,
    space: space_lib.Space,
    seats: seats_lib.Seats,
    populations: populations_lib.Populations,
    checkpoints: checkpoint_lib.Checkpoints,
  ):
    """Reads and writes nothing yet.

    Args:
      trainee: what a member is.
      space: of its configurations.
      seats: whose legs are in which slots.
      populations: of the species.
      checkpoints: where the states are.
    """
    self._trainee, self._space, self._seats = trainee, space, seats
    self._populations, self._checkpoints = populations, checkpoints

  def save(self, weights: Weights) -> None:
    """Saves the state of a member that is still held in a slot."""
    id, slot = self._seats.find(weights)
    row = self._populations[id].take(slot)
    self._checkpoints.save(checkpoint_name(weights), row, remember=True)

  def restore(self, weights: Weights) -> Any:
    """The state of a member, on the host."""
    population = self._populations[self._seats.species_of[weights[0]]]
    rows = self._checkpoints.restore(
      checkpoint_name(weights), population.abstract_row()
    )
    return populations_lib.host_row(rows)

  def score(self, leg: member_lib.Leg, stop: int, split: str) -> float:
    """The loss of a state on a split; charged to nobody.

    Args:
      leg: the member's last one.
      stop: segments behind the state.
      split: to score.
    """
    structure = self._space.structure(leg.configuration)
    row = self.restore((leg.member, stop))
    hyperparameters = {
      name: np.float32(value)
      for name, value in self._space.hyperparameters(leg.configuration).items()
    }

    @jax.jit
    def evaluate(data: Any, hyperparameters: Any, row: Any) -> jax.Array:
      return self._trainee.evaluate(structure, data, hyperparameters, row)

    return float(evaluate(self._trainee.data[split], hyperparameters, row))
