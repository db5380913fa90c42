"""What the parameters of a space have to be for the model to take them.

The ready space `nanogpt` has every parameter of the model, with every label
that it knows; a test holds it to that. So bad spaces are refused without
starting JAX, which the model's own list of traced parameters would.
"""

from evo import document
from evo import space as space_lib
from evo.parameter import Parameter
from launch import cli
from models import structure


def load(name: str) -> space_lib.Space:
  """A ready space, or the one in a JSON file, checked against the model.

  Raises:
    ValueError: one line naming the file and the path in it.
    OSError: a file cannot be read.
  """
  path = cli.find_space(name)
  space = space_lib.load(path, cli.ready_space)
  try:
    check(space)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  return space


def check(space: space_lib.Space) -> None:
  """Raises ValueError unless the model has all parameters of a space.

  A structural one has to be declared so, and a traced one not: the model
  builds its program from the former and computes with the latter. Which act
  where training begins alone is for the space to say.

  Raises:
    ValueError: one line naming `parameters.NAME` or an attribute of it.
  """
  known = space_lib.load(cli.ready_space('nanogpt')).by_name
  for name, p in space.by_name.items():
    where = f'parameters.{name}'
    if name not in known:
      near = document.near(name, known)
      raise ValueError(f'{where} is unknown to the model; expected {near}')
    if p.structural and not known[name].structural:
      words = 'false: a new value of it needs no new program'
      raise document.complaint(f'{where}.structural', True, words)
    if known[name].structural and not p.structural:
      words = 'true: each value of it is a program of its own'
      raise document.complaint(f'{where}.structural', False, words)
    if p.structural:
      _check_values(where, p, known[name])
  if 'context' in space.by_name:
    _check_contexts(space.by_name['context'])
  try:
    baseline = dict(space.structure(space.baseline))
    structure.Structure(vocabulary=1, **baseline)
  except ValueError as error:
    raise ValueError(f'the baseline has {error}') from error


def _check_values(where: str, p: Parameter, known: Parameter) -> None:
  """Refuses labels that the model does not know, and numbers it cannot take."""
  if isinstance(known.default, bool | str):
    document.require(p.kind == 'choice', f'{where}.kind', p.kind, 'choice')
    for value in p.choices:
      ok = known.accepts(value)
      document.require(ok, f'{where}.choices', value, known.expected)
    return
  whole = p.name != 'mlp_ratio'
  ok = p.kind == 'choice' or (p.kind == 'int' if whole else p.kind != 'int')
  words = 'choice or ' + ('int' if whole else 'float')
  document.require(ok, f'{where}.kind', p.kind, words)
  for value in p.choices or [p.low]:
    ok = type(value) is int or (type(value) is float and not whole)
    words = 'whole numbers from 1' if whole else 'numbers above 0'
    path = f'{where}.{"choices" if p.choices else "low"}'
    document.require(ok and value > 0, path, value, words)


def _check_contexts(p: Parameter) -> None:
  """Evaluation cuts windows of the largest context into shorter ones."""
  largest = max(p.values)
  for value in p.values:
    ok = largest % value == 0
    words = f'divisors of the largest, {largest}'
    document.require(ok, 'parameters.context', value, words)
