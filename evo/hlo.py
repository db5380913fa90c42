"""Compiled programs, read from their text: what they do and how often.

XLA's text of an optimised program has one instruction a line, apart from
attributes that hold line breaks. Loops carry no count: it is the constant that
their condition compares with.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterator

_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$')
_INSTRUCTION = re.compile(r'^\s+(?:ROOT )?%([\w.\-]+) = (.*)$', re.DOTALL)
_OPCODE = re.compile(r'([a-z][\w\-]*)\(')
_CALLED = re.compile(r'(?:calls|to_apply)=%?([\w.\-]+)')
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_TWO = re.compile(r'(?:true|false)_computation=%?([\w.\-]+)')
_CONSTANT = re.compile(r'constant\((\d+)\)')
_ARRAY = re.compile(r'(\w+)\[([\d,]*)\]')


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One instruction.

  Attributes:
    name: of its result.
    shape: of its result, such as `f32[8,128]{1,0}`.
    opcode: such as `fusion`.
    text: all of it behind the equals sign.
  """

  name: str
  shape: str
  opcode: str
  text: str

  def attribute(self, name: str) -> str | None:
    """The name that an attribute such as `body` refers to."""
    found = re.search(rf'\b{name}=%?([\w.\-]+)', self.text)
    return found[1] if found else None


class Module:
  """A compiled program.

  Attributes:
    computations: instructions in order, by the computation's name.
    entry: name of the one that is run.
  """

  def __init__(self, text: str):
    """Reads a program.

    Args:
      text: as `jax.stages.Compiled.as_text` gives it.

    Raises:
      ValueError: there is no program in it.
    """
    self.computations: dict[str, list[Instruction]] = {}
    self.entry = ''
    for name, is_entry, lines in _computations(text):
      self.computations[name] = [_instruction(line) for line in lines]
      self.entry = name if is_entry else self.entry
    if not self.entry:
      raise ValueError('no ENTRY in the text; expected a compiled program')

  def total(self, measure: Callable[[Instruction], float]) -> float:
    """The sum of a measure over one run; of branches the largest counts."""

    @functools.cache
    def of(name: str) -> float:
      return sum(each(i) for i in self.computations[name])

    def each(instruction: Instruction) -> float:
      inner = [of(name) for name in self._inner(instruction)]
      if instruction.opcode == 'while':
        return self.trips(instruction) * sum(inner)
      if instruction.opcode == 'conditional':
        return max(inner)
      return measure(instruction) + sum(inner)

    return of(self.entry)

  def visits(self) -> Iterator[tuple[Instruction, int]]:
    """Every instruction that may run, and how often; branches all of them."""
    yield from self._visits(self.entry, 1)

  def fused(self, instruction: Instruction) -> list[Instruction]:
    """What a fusion holds, fusions in it included; of others nothing."""
    if instruction.opcode != 'fusion':
      return []
    found = self.computations[instruction.attribute('calls')]
    return [j for i in found for j in (i, *self.fused(i))]

  def trips(self, loop: Instruction) -> int:
    """How often a loop turns.

    Raises:
      ValueError: its condition compares with nothing constant.
    """
    condition = loop.attribute('condition')
    numbers = [
      int(found[1])
      for i in self.computations[condition]
      if i.opcode == 'constant'
      and i.shape.startswith(('s32[]', 'u32[]'))
      and (found := _CONSTANT.search(i.text))
    ]
    if not numbers:
      raise ValueError(f'{condition} has no constant; expected a counted loop')
    return max(numbers)

  def _visits(self, name: str, times: int) -> Iterator[tuple[Instruction, int]]:
    for instruction in self.computations[name]:
      yield instruction, times
      loop = instruction.opcode == 'while'
      turns = self.trips(instruction) if loop else 1
      for inner in self._inner(instruction):
        yield from self._visits(inner, times * turns)

  def _inner(self, instruction: Instruction) -> list[str]:
    """Computations that an instruction runs one instruction after another.

    Those of fusions and reductions are part of the instruction itself.
    """
    match instruction.opcode:
      case 'while':
        return [instruction.attribute('body')]
      case 'conditional':
        listed = _BRANCHES.search(instruction.text)
        if listed:
          return re.findall(r'[\w.\-]+', listed[1])
        return _TWO.findall(instruction.text)
      case 'call' | 'async-start':
        return _CALLED.findall(instruction.text)
    return []


def size(shape: str) -> float:
  """Bytes of an array or of all in a tuple, without any padding.

  Args:
    shape: such as `f32[8,128]{1,0}` or `(bf16[4], u32[])`.
  """
  total = 0.0
  for kind, lengths in _ARRAY.findall(shape):
    bits = re.search(r'\d+', kind)
    count = math.prod(int(n) for n in lengths.split(',') if n)
    total += count * (int(bits[0]) if bits else 8) / 8
  return total


def _computations(text: str) -> Iterator[tuple[str, bool, list[str]]]:
  """Name, whether it is the entry, and the instructions of each."""
  name, entry, lines = None, False, []
  for line in text.splitlines():
    if begin := _COMPUTATION.match(line):
      name, entry, lines = begin[2], bool(begin[1]), []
    elif name and line == '}':
      yield name, entry, lines
      name = None
    elif name and _INSTRUCTION.match(line):
      lines.append(line)
    elif name and lines:
      lines[-1] += '\n' + line  # An attribute with a line break in it.


def _instruction(line: str) -> Instruction:
  name, text = _INSTRUCTION.match(line).groups()
  end = _end_of_shape(text)
  opcode = _OPCODE.match(text[end:].lstrip())
  return Instruction(name, text[:end], opcode[1] if opcode else '', text)


def _end_of_shape(text: str) -> int:
  """Tuples hold blanks, other shapes do not."""
  if not text.startswith('('):
    return text.index(' ')
  depth = 0
  for place, character in enumerate(text):
    depth += (character == '(') - (character == ')')
    if not depth:
      return place + 1
  raise ValueError(f'{text[:40]} has no end; expected a shape')
