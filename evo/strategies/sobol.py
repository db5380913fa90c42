"""Sobol search: draws that fill the space more evenly than random ones."""

from typing import Any

from scipy.stats import qmc

from evo import member as member_lib
from evo import space as space_lib
from evo.strategies import random


class Sobol(random.Random):
  """Points of a scrambled Sobol sequence, trained as by random search.

  Sobol, USSR Comput. Math. and Math. Phys. 7 (1967), scrambled by scipy so
  that each point by itself is uniform. Of 2**k successive points, from a
  multiple of 2**k on, one lies in each 2**k-th of every parameter's scale;
  random draws leave gaps and clusters. However many parameters there are,
  every single one is covered so; pairs of them are only once points far
  outnumber parameters, so in dozens of dimensions expect little more.

  The sequence starts right after the given configurations, the baseline: this
  strategy alone does not share the other first members with the rest.
  """

  def __init__(self, space: space_lib.Space, **shared: Any):
    """Sets up.

    Args:
      space: what may change, with 1 to 21,201 free parameters.
      **shared: of `Strategy`.
    """
    super().__init__(space, **shared)
    rng = member_lib.generator(self.seed, 'sobol')
    self._sequence = qmc.Sobol(len(space.free), rng=rng)

  def initial_configuration(self, member: int) -> member_lib.Configuration:
    """Of the i-th member: given, else a point by its number."""
    i = member - self.first_member
    if i < len(self.initial):
      return self.initial[i]
    i -= len(self.initial)
    # The sequence only goes forward, at the cost of one draw a point.
    if i < self._sequence.num_generated:
      self._sequence.reset()
    if i > self._sequence.num_generated:
      self._sequence.fast_forward(i - self._sequence.num_generated)
    return self.space.decode(self._sequence.random()[0])
