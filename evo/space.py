"""Search spaces: named parameters, and the ways to draw and change values.

A configuration holds one JSON-able value per parameter. It is canonical where
every inactive parameter holds its default, so that configurations that train
alike are equal. Operators take canonical configurations and return new ones;
all randomness comes from the generator that they are given.
"""

import dataclasses
import functools
import graphlib
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Value = bool | int | float | str
Configuration = dict[str, Any]

KINDS = ('float', 'log_float', 'int', 'choice')
TIERS = ('configuration', 'architecture', 'objective')


@dataclasses.dataclass(frozen=True)
class Parameter:
  """One named dimension of a search space.

  Attributes:
    name: an identifier.
    kind: `float`, `log_float` (scaled by its logarithm), `int` or `choice`.
    tier: `configuration`, `architecture` or `objective`.
    default: its value in the baseline, and wherever it is inactive.
    low: smallest value; None for a choice.
    high: largest value (inclusive); None for a choice.
    choices: at least two distinct scalars; order matters to `Space.perturb`.
    structural: whether it is static, so that changing it compiles a program.
      Otherwise it is traced, and then its values must be numbers.
    when: {other parameter: values}; active only where each other parameter is
      active and has one of its values. A structural parameter cannot depend
      on a traced one, since changing that must not compile.
    note: evidence for the range; free text that changes nothing.

  Raises:
    ValueError: an attribute is wrong: "NAME.ATTRIBUTE is X; expected Y".
  """

  name: str
  kind: str
  tier: str
  default: Value
  low: float | None = None
  high: float | None = None
  choices: Sequence[Value] = ()
  structural: bool = False
  when: Mapping[str, Sequence[Value]] | None = dataclasses.field(
    default=None, hash=False
  )
  note: str = ''

  def __post_init__(self):
    _check_labels(self)
    _check_bounds(self)
    _check_choices(self)
    ok = self.accepts(self.default)
    _require(ok, f'{self.name}.default', self.default, self.expected)
    object.__setattr__(self, 'choices', tuple(self.choices))
    if self.kind != 'choice':
      for field in ('default', 'low', 'high'):
        number = int if self.kind == 'int' else float
        object.__setattr__(self, field, number(getattr(self, field)))
    if self.when is not None:
      when = {other: tuple(values) for other, values in self.when.items()}
      object.__setattr__(self, 'when', when)

  @property
  def expected(self) -> str:
    """The allowed values in words, for messages."""
    if self.kind == 'choice':
      return 'one of ' + ', '.join(map(_show, self.choices))
    noun = 'an integer' if self.kind == 'int' else 'a number'
    return f'{noun} in [{_show(self.low)}, {_show(self.high)}]'

  def accepts(self, value: Any) -> bool:
    """Whether the value is allowed; a bool is no number, NaN is never."""
    if self.kind == 'choice':
      return any(_same(value, choice) for choice in self.choices)
    return _is_number(value, self.kind) and self.low <= value <= self.high

  def to_json(self) -> dict[str, Any]:
    """The parameter without its name; attributes at their default left out."""
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)[1:]
      if getattr(self, field.name) != field.default
    }


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
    return {parameter.name: parameter for parameter in self.parameters}

  @functools.cached_property
  def conditional_order(self) -> tuple[str, ...]:
    """Names, each after those that its condition names."""
    graph = {p.name: tuple(p.when or ()) for p in self.parameters}
    return tuple(graphlib.TopologicalSorter(graph).static_order())

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

    Raises:
      ValueError: an unknown tier, or nothing is left to change.
    """
    tiers = tuple(tiers)
    for tier in tiers:
      _require(tier in TIERS, 'tier', tier, 'one of ' + ', '.join(TIERS))
    free = {name for name in self.free if self.by_name[name].tier in tiers}
    if not free:
      what = f'space {self.name} has nothing to change in tiers {_show(tiers)}'
      raise ValueError(f'{what}; expected a tier with a free parameter')
    return dataclasses.replace(self, free=frozenset(free))

  def traced(self) -> 'Space':
    """This space with structural parameters not free; may leave none free."""
    return dataclasses.replace(self, free=self.free & frozenset(self.names))

  def active(self, configuration: Configuration) -> tuple[str, ...]:
    """Names of the parameters that have an effect, in order."""
    active = _settle(self, configuration)[1]
    return tuple(name for name in self.by_name if name in active)

  def canonical(self, configuration: Configuration) -> Configuration:
    """Puts inactive parameters at their default, all of them in order.

    Numbers take the type of their parameter (1 becomes 1.0). The configuration
    must be complete; `validate` those that come from outside first.
    """
    values = _settle(self, configuration)[0]
    return {name: values[name] for name in self.by_name}

  def validate(self, configuration: Configuration) -> None:
    """Raises a one-line ValueError unless complete and within the ranges.

    Inactive parameters need a valid value too, but not their default.
    """
    ok = isinstance(configuration, dict)
    _require(ok, 'configuration', configuration, 'values by parameter')
    for name in configuration:
      if name not in self.by_name:
        what = f'{_plain(name)} = {_show(configuration[name])} is unknown'
        known = ', '.join(self.by_name)
        raise ValueError(f'{what} to space {self.name}; expected {known}')
    for name, parameter in self.by_name.items():
      if name not in configuration:
        raise ValueError(f'{name} is missing; expected {parameter.expected}')
      value = configuration[name]
      _require(parameter.accepts(value), name, value, parameter.expected)

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
      parameter = self.by_name[name]
      child[name] = _mutated(parameter, child[name], rng, step, resample)
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
      parameter = self.by_name[name]
      if name not in self.free or parameter.structural:
        continue
      if rng.random() < resample:
        child[name] = _at(parameter, rng.random())
      else:
        child[name] = _perturbed(parameter, child[name], rng, factors, step)
    return self.canonical(child)

  def cross(
    self, a: Configuration, b: Configuration, rng: np.random.Generator
  ) -> Configuration:
    """Uniform crossover: each free parameter from a or b, the rest from a."""
    names = np.array(self.free_names, dtype=object)
    taken = names[rng.random(len(names)) < 0.5]
    return self.canonical(a | {name: b[name] for name in taken})

  def structure(self, configuration: Configuration) -> tuple:
    """The structural part: (name, value) pairs sorted by name; hashable."""
    structural = configuration.keys() - set(self.names)
    return tuple((name, configuration[name]) for name in sorted(structural))

  def hyperparameters(self, configuration: Configuration) -> dict[str, float]:
    """The traced part, in order."""
    return {name: float(configuration[name]) for name in self.names}

  def encode(self, configuration: Configuration) -> np.ndarray:
    """Coordinates [free parameter] in the unit cube, float64.

    Of n integers or choices the i-th lies at (i + 1/2) / n, so that `decode`
    of a uniform point is a uniform draw.
    """
    names = self.free_names
    return np.array([_unit(self.by_name[n], configuration[n]) for n in names])

  def decode(self, vector: np.ndarray) -> Configuration:
    """The configuration at a point, clipped to the unit cube.

    Raises:
      ValueError: a coordinate is NaN, or there are too many or too few.
    """
    size = len(self.free)
    ok = np.shape(vector) == (size,) and not np.isnan(vector).any()
    _require(ok, 'point', np.asarray(vector).tolist(), f'{size} numbers')
    drawn = zip(self.free_names, vector, strict=True)
    values = {name: _at(self.by_name[name], float(u)) for name, u in drawn}
    return self.canonical(self.baseline | values)

  def to_json(self) -> dict[str, Any]:
    """What `from_json` takes; `free` is left out where it is everything."""
    parameters = {p.name: p.to_json() for p in self.parameters}
    value = {'name': self.name, 'parameters': parameters}
    if len(self.free) < len(self.parameters):
      value['free'] = self.free_names
    return json.loads(json.dumps(value))  # Lists for tuples.

  @classmethod
  def from_json(cls, value: dict[str, Any]) -> 'Space':
    """Reads {name, parameters: {NAME: {kind, tier, default, ...}}, free}.

    Raises:
      ValueError: names the path of what is wrong, such as
        `parameters.learning_rate.low`.
    """
    _check_keys('', value, ('name', 'parameters'), ('free',))
    entries, free = value['parameters'], value.get('free')
    _require(isinstance(entries, dict), 'parameters', entries, 'an object')
    fields = [field.name for field in dataclasses.fields(Parameter)][1:]
    for name, entry in entries.items():
      _check_keys(f'parameters.{_plain(name)}', entry, fields[:3], fields[3:])
    try:
      parameters = [Parameter(name, **entry) for name, entry in entries.items()]
    except ValueError as error:
      raise ValueError(f'parameters.{error}') from error
    if free is not None:
      _require(_is_texts(free), 'free', free, 'a list of names')
    return cls(value['name'], parameters, free)


def load(path: str | pathlib.Path) -> Space:
  """Reads a space from a JSON file.

  Raises:
    ValueError: one line naming the file, the path in it and what is wrong.
    OSError: the file cannot be read.
  """
  content = pathlib.Path(path).read_bytes()
  try:
    return Space.from_json(_unpaired('', _parsed(content)))
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error


class _Pairs(list):
  """The members of a JSON object as they stand, duplicates included."""


def _parsed(content: bytes) -> Any:
  try:
    return json.loads(content, object_pairs_hook=_Pairs)
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f'not JSON ({error}); expected a space') from error


def _unpaired(path: str, value: Any) -> Any:
  """Turns pairs into dicts, refusing duplicate keys by their path."""
  if type(value) is list:
    return [_unpaired(path, item) for item in value]
  if not isinstance(value, _Pairs):
    return value
  result = {}
  for key, child in value:
    where = _join(path, key)
    if key in result:
      raise ValueError(f'{where} is given twice; expected once')
    result[key] = _unpaired(where, child)
  return result


def _check_keys(
  path: str, value: Any, required: Sequence[str], optional: Sequence[str]
) -> None:
  _require(isinstance(value, dict), path or 'space', value, 'an object')
  known = ', '.join((*required, *optional))
  for key in value:
    if key not in (*required, *optional):
      raise ValueError(f'{_join(path, key)} is unknown; expected {known}')
  for key in required:
    if key not in value:
      raise ValueError(f'{_join(path, key)} is missing; expected {known}')


def _check_labels(p: Parameter) -> None:
  named = isinstance(p.name, str) and p.name.isidentifier()
  where = _plain(p.name)
  _require(named, f'{where}.name', p.name, 'letters, digits and underscores')
  for field, known in (('kind', KINDS), ('tier', TIERS)):
    label = getattr(p, field)
    _require(label in known, f'{where}.{field}', label, ', '.join(known))
  ok = isinstance(p.structural, bool)
  _require(ok, f'{where}.structural', p.structural, 'true or false')
  _require(isinstance(p.note, str), f'{where}.note', p.note, 'text')
  if p.when is not None:
    ok = isinstance(p.when, Mapping) and p.when
    _require(ok, f'{where}.when', p.when, 'lists of values by parameter')
    for other, values in p.when.items():
      ok = isinstance(values, list | tuple) and values
      _require(ok, f'{where}.when.{_plain(other)}', values, 'a list of values')


def _check_bounds(p: Parameter) -> None:
  low, high = f'{p.name}.low', f'{p.name}.high'
  if p.kind == 'choice':
    _require(p.low is None, low, p.low, 'nothing for a choice')
    _require(p.high is None, high, p.high, 'nothing for a choice')
    return
  noun = 'an integer' if p.kind == 'int' else 'a finite number'
  _require(_is_number(p.low, p.kind), low, p.low, noun)
  _require(_is_number(p.high, p.kind), high, p.high, noun)
  positive = p.kind != 'log_float' or p.low > 0
  _require(positive, low, p.low, 'more than 0 for a log_float')
  _require(p.low < p.high, low, p.low, f'less than high, {_show(p.high)}')


def _check_choices(p: Parameter) -> None:
  where = f'{p.name}.choices'
  if p.kind != 'choice':
    _require(p.choices == (), where, p.choices, f'nothing for kind {p.kind}')
    return
  _require(isinstance(p.choices, list | tuple), where, p.choices, 'a list')
  for choice in p.choices:
    number = _is_number(choice, 'float')
    ok = number or isinstance(choice, bool | str)
    _require(ok, where, choice, 'true, false, text and finite numbers')
    ok = number or p.structural
    _require(ok, where, choice, 'only numbers unless it is structural')
  # True and 1 count as one: they are equal as keys of compiled programs.
  ok = 2 <= len(p.choices) == len(set(p.choices))
  _require(ok, where, p.choices, 'at least two distinct values')


def _check_space(space: Space) -> None:
  ok = isinstance(space.name, str) and space.name and space.name.isprintable()
  _require(ok, 'name', space.name, 'one line of text')
  names = [p.name for p in space.parameters]
  ok = 1 <= len(names) == len(set(names))
  _require(ok, 'parameters', names, 'at least one, with distinct names')
  for name in space.free:
    _require(name in names, 'free', name, 'one of ' + ', '.join(names))
  for p in space.parameters:
    for other, values in (p.when or {}).items():
      where = f'parameters.{p.name}.when.{_plain(other)}'
      if other not in names:
        raise ValueError(f'{where} is unknown; expected {", ".join(names)}')
      parent = space.by_name[other]
      if p.structural and not parent.structural:  # It would recompile.
        raise ValueError(f'{where} is traced; expected a structural parameter')
      for value in values:
        _require(parent.accepts(value), where, value, parent.expected)
  try:
    _ = space.conditional_order
  except graphlib.CycleError as error:
    cycle = error.args[1]
    where = f'parameters.{cycle[0]}.when'
    raise _bad(where, cycle, 'conditions without a cycle') from error


def _settle(
  space: Space, configuration: Configuration
) -> tuple[Configuration, set[str]]:
  """Canonical values, in no particular order, and the active parameters."""
  values, active = {}, set()
  for name in space.conditional_order:
    p = space.by_name[name]
    values[name] = p.default
    conditions = (p.when or {}).items()
    if all(o in active and values[o] in wanted for o, wanted in conditions):
      active.add(name)
      values[name] = _typed(p, configuration[name])
  return values, active


def _typed(p: Parameter, value: Any) -> Value:
  """The value as its parameter writes it: 0 as 0.0, NumPy's as Python's."""
  if p.kind == 'choice':
    return p.choices[p.choices.index(value)]
  return int(value) if p.kind == 'int' else float(value)


def _values(p: Parameter) -> Sequence[Value]:
  """All values of an int or a choice, in order; none of the others."""
  return range(p.low, p.high + 1) if p.kind == 'int' else p.choices


def _unit(p: Parameter, value: Any) -> float:
  """The value's place on its scale, in [0, 1]."""
  if values := _values(p):
    return (values.index(value) + 0.5) / len(values)
  scale = math.log if p.kind == 'log_float' else float
  return (scale(value) - scale(p.low)) / (scale(p.high) - scale(p.low))


def _at(p: Parameter, u: float) -> Value:
  """The value at a place on its scale, clipped to [0, 1]."""
  u = min(max(u, 0.0), 1.0)
  if values := _values(p):
    return values[min(int(u * len(values)), len(values) - 1)]
  if u in (0, 1):  # Exact at the bounds, where rounding could miss them.
    return p.high if u else p.low
  if p.kind == 'float':
    return _clip(p, p.low + u * (p.high - p.low))
  low, high = math.log(p.low), math.log(p.high)
  return _clip(p, math.exp(low + u * (high - low)))


def _clip(p: Parameter, value: float) -> float:
  return min(max(value, p.low), p.high)


def _mutated(
  p: Parameter,
  value: Any,
  rng: np.random.Generator,
  step: float,
  resample: float,
) -> Value:
  if p.kind == 'choice' or rng.random() < resample:
    return _redrawn(p, value, rng)
  noise = rng.normal(0, step)
  moved = _moved(p, value, noise)
  return _moved(p, value, -noise) if moved == value else moved


def _redrawn(p: Parameter, value: Any, rng: np.random.Generator) -> Value:
  """A uniform draw among the other values."""
  if not (values := _values(p)):
    return _at(p, rng.random())
  i = int(rng.integers(len(values) - 1))
  return values[i + (i >= values.index(value))]


def _moved(p: Parameter, value: Any, noise: float) -> Value:
  """A step of this share of the range on its scale, clipped; ints move."""
  if p.kind != 'int':
    return _at(p, _unit(p, value) + noise)
  least = 1 if noise > 0 else -1
  return _clip(p, value + (round(noise * (p.high - p.low)) or least))


def _perturbed(
  p: Parameter,
  value: Any,
  rng: np.random.Generator,
  factors: tuple[float, ...],
  step: float,
) -> Value:
  if p.kind == 'choice':
    i = p.choices.index(value)
    adjacent = p.choices[max(i - 1, 0) : i] + p.choices[i + 1 : i + 2]
    return adjacent[rng.integers(len(adjacent))]
  if p.kind == 'log_float':
    return _clip(p, value * factors[rng.integers(len(factors))])
  moved = value + rng.normal(0, step * (p.high - p.low))
  return _clip(p, round(moved) if p.kind == 'int' else moved)


def _is_number(value: Any, kind: str) -> bool:
  """Whether it is a finite number of the kind, small enough to subtract."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return False
  if kind == 'int':
    return isinstance(value, int) and abs(value) <= 2**53
  return abs(value) <= 1e300


def _same(value: Any, choice: Value) -> bool:
  """Whether a value stands for a choice: 1 for 1.0, but not for True."""
  if isinstance(value, bool) or isinstance(choice, bool):
    return value is choice
  kind = int | float if isinstance(choice, float) else type(choice)
  return isinstance(value, kind) and value == choice


def _is_texts(value: Any) -> bool:
  return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _require(ok: Any, what: str, value: Any, expected: str) -> None:
  if not ok:
    raise _bad(what, value, expected)


def _bad(what: str, value: Any, expected: str) -> ValueError:
  return ValueError(f'{what} is {_show(value)}; expected {expected}')


def _show(value: Any) -> str:
  """A value as JSON on one line."""
  return json.dumps(value, default=repr, skipkeys=True)


def _plain(name: Any) -> str:
  """A name as it is where it is one, else quoted on one line."""
  ok = isinstance(name, str) and name.isidentifier()
  return name if ok else _show(name)


def _join(path: str, key: Any) -> str:
  return f'{path}.{_plain(key)}' if path else _plain(key)
