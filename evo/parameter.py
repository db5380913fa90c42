"""Parameters of a search space: their ranges, scales and steps."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evo import document

Value = bool | int | float | str

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
    initial: whether it acts where training begins, and never again; only a
      traced one may. Who takes over weights keeps their lineage's value.
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
  initial: bool = False
  when: Mapping[str, Sequence[Value]] | None = dataclasses.field(
    default=None, hash=False
  )
  note: str = ''

  def __post_init__(self):
    _check_labels(self)
    _check_bounds(self)
    _check_choices(self)
    self.check(f'{self.name}.default', self.default)
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
      return 'one of ' + ', '.join(map(document.show, self.choices))
    noun = 'an integer' if self.kind == 'int' else 'a number'
    return f'{noun} in [{document.show(self.low)}, {document.show(self.high)}]'

  def accepts(self, value: Any) -> bool:
    """Whether the value is allowed; a bool is no number, NaN is never."""
    if self.kind == 'choice':
      return any(_same(value, choice) for choice in self.choices)
    return _is_number(value, self.kind) and self.low <= value <= self.high

  def check(self, where: str, value: Any) -> None:
    """Raises ValueError, with the path of the value, unless it is allowed."""
    document.require(self.accepts(value), where, value, self.expected)

  def check_condition(
    self, path: str, others: Mapping[str, 'Parameter']
  ) -> None:
    """Raises ValueError unless `when`, at the path, fits its parameters."""
    for name, values in (self.when or {}).items():
      where = f'{path}.{document.plain(name)}'
      if name not in others:
        raise ValueError(f'{where} is unknown; expected {", ".join(others)}')
      other = others[name]
      if self.structural and not other.structural:  # It would recompile.
        raise ValueError(f'{where} is traced; expected a structural parameter')
      for value in values:
        other.check(where, value)

  @property
  def values(self) -> Sequence[Value]:
    """All values of an int or a choice, in order; none of the others."""
    if self.kind == 'int':
      return range(self.low, self.high + 1)
    return self.choices

  @property
  def has_scale(self) -> bool:
    """Whether the values are numbers; text, true and false have no order."""
    return not any(isinstance(choice, bool | str) for choice in self.choices)

  def typed(self, value: Any) -> Value:
    """The value as the parameter writes it: 0 as 0.0, NumPy's as Python's."""
    if self.kind == 'choice':
      return self.choices[self.choices.index(value)]
    return int(value) if self.kind == 'int' else float(value)

  def unit(self, value: Any) -> float:
    """The value's place on its scale, in [0, 1].

    Of n integers or choices the i-th lies at (i + 1/2) / n, so that `at` of a
    uniform number is a uniform draw.
    """
    if values := self.values:
      return (values.index(value) + 0.5) / len(values)
    scale = math.log if self.kind == 'log_float' else float
    low, high = scale(self.low), scale(self.high)
    return (scale(value) - low) / (high - low)

  def at(self, u: float) -> Value:
    """The value at a place on its scale, clipped to [0, 1]."""
    u = min(max(u, 0.0), 1.0)
    if values := self.values:
      return values[min(int(u * len(values)), len(values) - 1)]
    if u in (0, 1):  # Exact at the bounds, where rounding could miss them.
      return self.high if u else self.low
    if self.kind == 'float':
      return self._clip(self.low + u * (self.high - self.low))
    low, high = math.log(self.low), math.log(self.high)
    return self._clip(math.exp(low + u * (high - low)))

  def distance(self, a: Value, b: Value) -> float:
    """How far apart two values are, in [0, 1].

    Numbers: on the parameter's scale, as a share of the range; text, true and
    false: 1 unless they are the same.
    """
    if not self.has_scale:
      return float(a != b)
    return abs(self.unit(a) - self.unit(b))

  def mutated(
    self, value: Any, rng: np.random.Generator, step: float, resample: float
  ) -> Value:
    """Another value; `Space.mutate` describes the arguments."""
    if self.kind == 'choice' or rng.random() < resample:
      return self._redrawn(value, rng)
    noise = rng.normal(0, step)
    moved = self._moved(value, noise)
    return self._moved(value, -noise) if moved == value else moved

  def perturbed(
    self,
    value: Any,
    rng: np.random.Generator,
    factors: tuple[float, ...],
    step: float,
    resample: float,
  ) -> Value:
    """A value nearby or anew; `Space.perturb` describes the arguments."""
    if rng.random() < resample:
      return self.at(rng.random())
    if self.kind == 'choice':
      i = self.choices.index(value)
      adjacent = self.choices[max(i - 1, 0) : i] + self.choices[i + 1 : i + 2]
      return adjacent[rng.integers(len(adjacent))]
    if self.kind == 'log_float':
      return self._clip(value * factors[rng.integers(len(factors))])
    moved = value + rng.normal(0, step * (self.high - self.low))
    return self._clip(round(moved) if self.kind == 'int' else moved)

  def to_json(self) -> dict[str, Any]:
    """The parameter without its name; attributes at their default left out."""
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)[1:]
      if getattr(self, field.name) != field.default
    }

  @classmethod
  def from_json(cls, name: str, value: dict[str, Any]) -> 'Parameter':
    """Reads {kind, tier, default, ...}.

    Raises:
      ValueError: names the path of what is wrong, such as `NAME.low`.
    """
    where = document.plain(name)
    document.require(isinstance(value, dict), where, value, 'an object')
    fields = [field.name for field in dataclasses.fields(cls)][1:]
    document.check_keys(where, value, fields[:3], fields[3:])
    return cls(name, **value)

  def _clip(self, value: float) -> float:
    return min(max(value, self.low), self.high)

  def _redrawn(self, value: Any, rng: np.random.Generator) -> Value:
    """A uniform draw among the other values."""
    if not (values := self.values):
      return self.at(rng.random())
    i = int(rng.integers(len(values) - 1))
    return values[i + (i >= values.index(value))]

  def _moved(self, value: Any, noise: float) -> Value:
    """A step of this share of the range on its scale, clipped; ints move."""
    if self.kind != 'int':
      return self.at(self.unit(value) + noise)
    least = 1 if noise > 0 else -1
    return self._clip(value + (round(noise * (self.high - self.low)) or least))


def _check_labels(p: Parameter) -> None:
  named = isinstance(p.name, str) and p.name.isidentifier()
  named = named and p.name.isascii()
  where = document.plain(p.name)
  document.require(
    named, f'{where}.name', p.name, 'letters, digits and underscores'
  )
  for field, known in (('kind', KINDS), ('tier', TIERS)):
    label = getattr(p, field)
    document.require(
      label in known, f'{where}.{field}', label, ', '.join(known)
    )
  ok = isinstance(p.structural, bool)
  document.require(ok, f'{where}.structural', p.structural, 'true or false')
  ok = isinstance(p.initial, bool)
  document.require(ok, f'{where}.initial', p.initial, 'true or false')
  ok = not (p.initial and p.structural)
  words = 'false for a structural parameter'
  document.require(ok, f'{where}.initial', p.initial, words)
  document.require(isinstance(p.note, str), f'{where}.note', p.note, 'text')
  if p.when is not None:
    ok = isinstance(p.when, Mapping) and p.when
    document.require(
      ok, f'{where}.when', p.when, 'lists of values by parameter'
    )
    for other, values in p.when.items():
      ok = isinstance(values, list | tuple) and values
      document.require(
        ok, f'{where}.when.{document.plain(other)}', values, 'a list of values'
      )


def _check_bounds(p: Parameter) -> None:
  low, high = f'{p.name}.low', f'{p.name}.high'
  if p.kind == 'choice':
    document.require(p.low is None, low, p.low, 'nothing for a choice')
    document.require(p.high is None, high, p.high, 'nothing for a choice')
    return
  noun = 'an integer' if p.kind == 'int' else 'a finite number'
  document.require(_is_number(p.low, p.kind), low, p.low, noun)
  document.require(_is_number(p.high, p.kind), high, p.high, noun)
  positive = p.kind != 'log_float' or p.low > 0
  document.require(positive, low, p.low, 'more than 0 for a log_float')
  document.require(
    p.low < p.high, low, p.low, f'less than high, {document.show(p.high)}'
  )


def _check_choices(p: Parameter) -> None:
  where = f'{p.name}.choices'
  if p.kind != 'choice':
    document.require(
      p.choices == (), where, p.choices, f'nothing for kind {p.kind}'
    )
    return
  document.require(
    isinstance(p.choices, list | tuple), where, p.choices, 'a list'
  )
  for choice in p.choices:
    number = _is_number(choice, 'float')
    ok = number or isinstance(choice, bool | str)
    document.require(ok, where, choice, 'true, false, text and finite numbers')
    ok = number or p.structural
    document.require(ok, where, choice, 'only numbers unless it is structural')
  # True and 1 count as one: they are equal as keys of compiled programs.
  ok = 2 <= len(p.choices) == len(set(p.choices))
  document.require(ok, where, p.choices, 'at least two distinct values')


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
