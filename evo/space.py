"""Search spaces: named parameters, and the ways to draw and change values.

A configuration holds one JSON-able value per parameter. It is canonical where
every inactive parameter holds its default, so that configurations that train
alike are equal. Operators take canonical configurations and return new ones;
all randomness comes from the generator that they are given.
"""

import dataclasses
import functools
import itertools
import json
import math
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from evo import condition, document, extension, parameter

Configuration = dict[str, Any]
Parameter = parameter.Parameter


@dataclasses.dataclass(frozen=True)
class Space:
  """Parameters, and which of them a search may change.

  Attributes:
    name: of the space.
    parameters: with distinct names; conditions may refer to later ones.
    free: names that operators may change; by default all. The others keep the
      value that a configuration has, and the default in a new one.

  Raises:
    ValueError: a duplicate or unknown name, or a cycle of conditions.
  """

  name: str
  parameters: Sequence[Parameter]
  free: frozenset[str] | None = None

  def __post_init__(self):
    object.__setattr__(self, 'parameters', tuple(self.parameters))
    free = self.by_name if self.free is None else self.free
    object.__setattr__(self, 'free', frozenset(free))
    _check_space(self)

  @functools.cached_property
  def by_name(self) -> dict[str, Parameter]:
    """The parameters by name, in order."""
    return {p.name: p for p in self.parameters}

  @functools.cached_property
  def conditional_order(self) -> tuple[str, ...]:
    """Names, each after those that its condition names."""
    return condition.order(self.by_name)

  @property
  def names(self) -> tuple[str, ...]:
    """Names of the traced parameters, in order."""
    return tuple(p.name for p in self.parameters if not p.structural)

  @property
  def free_names(self) -> tuple[str, ...]:
    """Names of the free parameters, in order: the axes of `encode`."""
    return tuple(p.name for p in self.parameters if p.name in self.free)

  @property
  def baseline(self) -> Configuration:
    """The defaults."""
    return {p.name: p.default for p in self.parameters}

  def restrict(self, tiers: Iterable[str]) -> 'Space':
    """This space where only what is free and of these tiers stays free.

    What can then never be active is not free either, such as Muon's momentum
    where the optimiser stays AdamW: models would only lose their way in it.

    Raises:
      ValueError: an unknown tier, or nothing is left to change.
    """
    tiers, words = tuple(tiers), f'one of {", ".join(parameter.TIERS)}'
    for tier in tiers:
      document.require(tier in parameter.TIERS, 'tier', tier, words)
    free = {name for name in self.free if self.by_name[name].tier in tiers}
    free &= condition.reachable(self.by_name, self.conditional_order, free)
    if not free:
      what = f'{self.name} has nothing to change in tiers {list(tiers)}'
      raise ValueError(f'{what}; expected a tier with a free parameter')
    return dataclasses.replace(self, free=frozenset(free))

  def rebase(self, configuration: Configuration) -> 'Space':
    """This space with another baseline."""
    moved = [
      dataclasses.replace(p, default=configuration[p.name])
      for p in self.parameters
    ]
    return dataclasses.replace(self, parameters=moved)

  def traced(self) -> 'Space':
    """This space with structural parameters not free; may leave none free."""
    return dataclasses.replace(self, free=self.free & frozenset(self.names))

  def continued(self) -> 'Space':
    """This space for who takes over weights; may leave none free.

    What acts only where training begins is not free.
    """
    free = {name for name in self.free if not self.by_name[name].initial}
    return dataclasses.replace(self, free=frozenset(free))

  def active(self, configuration: Configuration) -> tuple[str, ...]:
    """Names of the parameters that have an effect, in order."""
    order = self.conditional_order
    active = condition.settle(self.by_name, order, configuration)[1]
    return tuple(name for name in self.by_name if name in active)

  def canonical(self, configuration: Configuration) -> Configuration:
    """Puts inactive parameters at their default, all of them in order.

    Numbers take the type of their parameter (1 becomes 1.0). The configuration
    must be complete; `validate` those that come from outside first.
    """
    order = self.conditional_order
    values = condition.settle(self.by_name, order, configuration)[0]
    return {name: values[name] for name in self.by_name}

  def validate(self, configuration: Configuration) -> None:
    """Raises a one-line ValueError unless complete and within the ranges.

    Inactive parameters need a valid value too, but not their default.
    """
    ok = isinstance(configuration, dict)
    document.require(ok, 'configuration', configuration, 'values by parameter')
    for name, value in configuration.items():
      if name not in self.by_name:
        what = f'{document.plain(name)} = {document.show(value)} is unknown'
        near = document.near(name, self.by_name)
        raise ValueError(f'{what} to space {self.name}; expected {near}')
    for name, p in self.by_name.items():
      if name not in configuration:
        raise ValueError(f'{name} is missing; expected {p.expected}')
      p.check(name, configuration[name])

  def sample(self, rng: np.random.Generator) -> Configuration:
    """Draws the free parameters uniformly on their scales."""
    return self.decode(rng.random(len(self.free)))

  def mutate(
    self,
    configuration: Configuration,
    rng: np.random.Generator,
    *,
    step: float = 0.15,
    resample: float = 0.1,
    expected: float = 1.5,
  ) -> Configuration:
    """A child that differs in at least one free active parameter, if any.

    Ageing evolution (Real et al. 2019, arXiv 1802.01548) changes exactly one
    per child. Here each of n changes with probability min(1, expected / n),
    and one drawn uniformly where none did: most children still have one
    change, which is easy to attribute, and the others can take steps that pay
    only together. `expected=0` is Real's.

    A parameter that this makes active starts at its default, as in ConfigSpace
    (automl/ConfigSpace, `change_hp_value`): a change of its condition is then
    judged alone, and there is less to verify later.

    Args:
      configuration: the parent's.
      rng: source of randomness.
      step: sd of the Gaussian step, relative to the range on its scale. It is
        clipped to the range; where a bound stops all of it, it is mirrored.
        An int is rounded and moves by at least 1. A choice, numeric or not,
        becomes another one, drawn uniformly.
      resample: probability that a changed number is drawn anew instead.
      expected: changes per child before the minimum of one.

    Returns:
      The child's configuration.
    """
    names = [n for n in self.active(configuration) if n in self.free]
    if not names:
      return self.canonical(configuration)
    changed = rng.random(len(names)) < expected / len(names)
    if not changed.any():
      changed[rng.integers(len(names))] = True
    child = dict(configuration)
    for name in np.array(names)[changed].tolist():
      child[name] = self.by_name[name].mutated(child[name], rng, step, resample)
    return self.canonical(child)

  def perturb(
    self,
    configuration: Configuration,
    rng: np.random.Generator,
    *,
    factors: tuple[float, ...] = (0.8, 1.25),
    step: float = 0.1,
    resample: float = 0.25,
  ) -> Configuration:
    """PBT's explore: moves every free active traced parameter.

    Structural parameters stay, since weights would not fit. Only log_float is
    multiplied: a parameter that may be 0 would never leave it.

    Args:
      configuration: the donor's.
      rng: source of randomness.
      factors: a log_float is multiplied by one of them, drawn uniformly.
      step: sd of the Gaussian added to a float or an int (then rounded),
        relative to high - low. A choice goes to an adjacent one, either side
        equally likely. Numbers are clipped to their range, so one at a bound
        may stay there.
      resample: probability of drawing a parameter anew instead.

    Returns:
      The new configuration.
    """
    child = dict(configuration)
    for name in self.active(configuration):
      p = self.by_name[name]
      if name in self.free and not p.structural:
        child[name] = p.perturbed(child[name], rng, factors, step, resample)
    return self.canonical(child)

  def recombine(
    self, configuration: Configuration, parents: Sequence[Configuration]
  ) -> Configuration:
    """Each free parameter from a parent of its own, the rest as it is.

    Args:
      configuration: what is not free is taken from it.
      parents: one for each of `free_names`; may be the same ones.

    Returns:
      The child's configuration.
    """
    pairs = zip(self.free_names, parents, strict=True)
    given = {name: parent[name] for name, parent in pairs}
    return self.canonical(configuration | given)

  def structure(self, configuration: Configuration) -> tuple:
    """The structural part: (name, value) pairs sorted by name; hashable."""
    structural = configuration.keys() - set(self.names)
    return tuple((name, configuration[name]) for name in sorted(structural))

  def structures(self, most: int) -> list[tuple] | None:
    """All structures that a search may meet, the baseline's first.

    Those that differ from the baseline in free parameters. None where there
    are more than `most`, or where a float makes them uncountable.
    """
    free = [self.by_name[n] for n in self.free_names]
    free = [p for p in free if p.structural]
    if math.prod(len(p.values) or math.inf for p in free) > most:
      return None
    names = [p.name for p in free]
    changes = itertools.product(*(p.values for p in free))
    configurations = (dict(zip(names, values)) for values in changes)
    found = [self.structure(self.baseline)] + [
      self.structure(self.canonical(self.baseline | c)) for c in configurations
    ]
    return list(dict.fromkeys(found))

  def hyperparameters(self, configuration: Configuration) -> dict[str, float]:
    """The traced part, in order."""
    return {name: float(configuration[name]) for name in self.names}

  def nearest(
    self, configuration: Configuration, structures: Sequence[tuple]
  ) -> tuple:
    """The structure that is nearest to a configuration's own.

    Distances of structural parameters add up: numbers by how far apart they
    lie on their scale, at most 1; text, true and false 1 unless they are the
    same. The first of those equally near; its own where it is among them.
    Raises ValueError where there are none.
    """
    document.require(structures, 'structures', structures, 'at least one')
    if (own := self.structure(configuration)) in structures:
      return own

    def distance(structure: tuple) -> float:
      parts = ((self.by_name[n], configuration[n], v) for n, v in structure)
      return sum(p.distance(before, after) for p, before, after in parts)

    return min(structures, key=distance)

  def with_structure(
    self, configuration: Configuration, structure: tuple
  ) -> Configuration:
    """The configuration with another structure, as from `structure`.

    What stays active keeps its value; what becomes active is at its default.
    """
    return self.canonical(configuration | dict(structure))

  def with_start(
    self, configuration: Configuration, lineage: Configuration
  ) -> Configuration:
    """The configuration, begun as a lineage: its values of what is initial."""
    initial = {p.name: lineage[p.name] for p in self.parameters if p.initial}
    return self.canonical(configuration | initial)

  def encode(self, configuration: Configuration) -> np.ndarray:
    """Coordinates [free parameter] in the unit cube, float64.

    `decode` of a uniform point is a uniform draw.
    """
    names = self.free_names
    return np.array([self.by_name[n].unit(configuration[n]) for n in names])

  def decode(self, vector: np.ndarray) -> Configuration:
    """The configuration at a point, clipped to the unit cube.

    Raises:
      ValueError: a coordinate is NaN, or there are too many or too few.
    """
    size = len(self.free)
    ok = np.shape(vector) == (size,) and not np.isnan(vector).any()
    point = np.asarray(vector).tolist()
    document.require(ok, 'point', point, f'{size} numbers')
    drawn = zip(self.free_names, point, strict=True)
    values = {name: self.by_name[name].at(u) for name, u in drawn}
    return self.canonical(self.baseline | values)

  def to_json(self) -> dict[str, Any]:
    """What `from_json` takes; `free` is left out where it is everything."""
    parameters = {p.name: p.to_json() for p in self.parameters}
    value = {'name': self.name, 'parameters': parameters}
    if len(self.free) < len(self.parameters):
      value['free'] = self.free_names
    return json.loads(json.dumps(value))  # Lists for tuples.

  @classmethod
  def from_json(
    cls, value: dict[str, Any], base: 'Space | None' = None
  ) -> 'Space':
    """Reads {name, parameters: {NAME: {kind, tier, default, ...}}, free, fixed}.

    Args:
      value: the document; `evo.extension` says what its keys do.
      base: the space that it extends, which it then has to say.

    Raises:
      ValueError: names the path of what is wrong, such as
        `parameters.learning_rate.low`.
    """
    given = (base.by_name, base.free) if base else (None, frozenset())
    parameters, free = extension.merge(value, *given)
    return cls(value['name'], parameters.values(), free)


def load(
  path: str | pathlib.Path, find: extension.Find = extension.find_nothing
) -> Space:
  """Reads a space from a JSON file, and the files of those that it extends.

  `find` gives the file of a ready space by its name or raises ValueError;
  `extension.read` tells the rest.
  """
  return extension.read(path, find, Space.from_json)


def _check_space(space: Space) -> None:
  ok = isinstance(space.name, str) and space.name and space.name.isprintable()
  document.require(ok, 'name', space.name, 'one line of text')
  names = [p.name for p in space.parameters]
  ok = 1 <= len(names) == len(set(names))
  document.require(ok, 'parameters', names, 'at least one, with distinct names')
  for name in sorted(space.free):
    document.require(name in names, 'free', name, document.near(name, names))
  _ = space.conditional_order  # Raises where conditions make no sense.
