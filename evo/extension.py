"""Spaces made of other spaces: what a file of one changes in its base.

  {
    "name": "mine",
    "extends": "nanochat",
    "parameters": {
      "learning_rate": {"low": 0.001, "high": 0.03},
      "width": {"choices": [96, 128, 192]},
      "noise": {"kind": "float", "tier": "objective", "default": 0, ...}
    },
    "fixed": {"depth": 6}
  }

`extends` is the name of a ready space, or the path of a JSON file, relative
to the file that says so. An entry with a `kind` is a whole parameter, new or
in the place of the base's; any other changes attributes of the base's, and
null takes one away. `fixed` sets defaults that a search leaves alone. `free`
lists all that it may change; without it that is what the base's may, and all
new parameters.

Where choices are taken away, conditions of the base that ask for them no
longer do. A parameter left without a way to become active stays at its
default and is not free.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from evo import document
from evo.parameter import Parameter

Parameters = dict[str, Parameter]
Find = Callable[[str], pathlib.Path]


def find_nothing(name: str) -> pathlib.Path:
  """Finds no ready space, which is all that `evo` knows."""
  raise document.complaint('name', name, 'the path of a JSON file')


def merge(
  value: Any, base: Parameters | None, base_free: frozenset[str]
) -> tuple[Parameters, frozenset[str]]:
  """The parameters of a document, and the names of the free ones.

  Args:
    value: the document, as parsed.
    base: parameters of the space that it extends, by name; None where it
      stands alone.
    base_free: names of the free ones among them.

  Raises:
    ValueError: names the path in the document of what is wrong.
  """
  document.require(isinstance(value, dict), 'space', value, 'an object')
  also = ('free', 'fixed', '$schema')
  if base is None:
    document.check_keys('', value, ('name', 'parameters'), also)
  else:
    document.check_keys('', value, ('name', 'extends'), ('parameters', *also))
  text = value.get('$schema', '')
  document.require(isinstance(text, str), '$schema', text, 'text')
  entries = _object(value, 'parameters')
  parameters, idle = _narrowed(_merged(entries, base), entries)
  parameters = _fixed(parameters, fixed := _object(value, 'fixed'))
  if 'free' in value:
    return parameters, _listed(value['free'], idle, fixed)
  free = base_free | (parameters.keys() - (base or {}).keys())
  return parameters, free - idle - fixed.keys()


def read(
  path: str | pathlib.Path, find: Find, make: Callable[[Any, Any], Any]
) -> Any:
  """Makes a space of a JSON file, after those that it extends.

  Args:
    path: of the file.
    find: the file of a ready space by its name; raises ValueError.
    make: the space of a document and of the space that it extends, or None;
      raises ValueError.

  Raises:
    ValueError: one line naming the file, the path in it and what is wrong.
    OSError: a file cannot be read.
  """
  space = None
  for where, value in reversed(_chain(pathlib.Path(path), find)):
    try:
      space = make(value, space)
    except ValueError as error:
      raise ValueError(f'{where}: {error}') from error
  return space


def _chain(path: pathlib.Path, find: Find) -> list[tuple[pathlib.Path, Any]]:
  """Files and their documents: one, then what it extends, and so on."""
  links, words = [], 'a space'
  while True:
    try:
      value = document.parse(document.content(path, words), words)
      links.append((path, value))
      if not isinstance(value, dict) or 'extends' not in value:
        return links
      base = _base(value['extends'], path.parent, find)
      ok = base.resolve() not in [link.resolve() for link, _ in links]
      other = 'a space that does not extend this one'
      document.require(ok, 'extends', value['extends'], other)
    except ValueError as error:
      raise ValueError(f'{path}: {error}') from error
    path = base


def _base(name: Any, folder: pathlib.Path, find: Find) -> pathlib.Path:
  """The file that `extends` names."""
  ok = isinstance(name, str)
  document.require(ok, 'extends', name, 'a name or the path of a JSON file')
  if not name.endswith('.json'):
    try:
      return find(name)
    except ValueError as error:
      raise ValueError(f'extends: {error}') from error
  words = 'a file, its path relative to this one'
  document.require((folder / name).is_file(), 'extends', name, words)
  return folder / name


def _object(value: dict[str, Any], key: str) -> dict[str, Any]:
  found = value.get(key, {})
  document.require(isinstance(found, dict), key, found, 'an object')
  return found


def _merged(entries: dict[str, Any], base: Parameters | None) -> Parameters:
  """Parameters of the base and of the entries, in order."""
  made = dict(base or {})
  for name, entry in entries.items():
    changes = base is not None and isinstance(entry, dict)
    if changes and 'kind' not in entry:
      if name not in base:
        where = f'parameters.{document.plain(name)}'
        near = document.near(name, base)
        words = f'expected a kind, a tier and a default, or {near}'
        raise ValueError(f'{where} is new here; {words}')
      entry = base[name].to_json() | entry
    try:
      made[name] = Parameter.from_json(name, entry)
    except ValueError as error:
      raise ValueError(f'parameters.{error}') from error
  return made


def _narrowed(
  parameters: Parameters, entries: dict[str, Any]
) -> tuple[Parameters, set[str]]:
  """Takes what can no longer be from conditions that the base made.

  Returns:
    The parameters, and the names of those that can no longer be active, whose
    conditions are gone.
  """
  made, idle = dict(parameters), set()
  for name, p in parameters.items():
    if p.when is None or 'when' in entries.get(name, {}):
      continue
    when = {
      other: tuple(filter(parameters[other].accepts, values))
      for other, values in p.when.items()
    }
    if all(when.values()):
      made[name] = dataclasses.replace(p, when=when)
    else:
      idle.add(name)
  added = idle
  while added:
    made |= {name: dataclasses.replace(made[name], when=None) for name in added}
    idle = idle | added
    added = {n for n, p in made.items() if idle & (p.when or {}).keys()}
  return made, idle


def _fixed(parameters: Parameters, fixed: Mapping[str, Any]) -> Parameters:
  """The parameters with the defaults that are fixed."""
  made = dict(parameters)
  for name, value in fixed.items():
    where = f'fixed.{document.plain(name)}'
    if name not in parameters:
      near = document.near(name, parameters)
      raise ValueError(f'{where} is unknown; expected {near}')
    parameters[name].check(where, value)
    made[name] = dataclasses.replace(parameters[name], default=value)
  return made


def _listed(
  free: Any, idle: set[str], fixed: Mapping[str, Any]
) -> frozenset[str]:
  """The names that are listed as free, not yet checked to be known."""
  ok = isinstance(free, list) and all(isinstance(name, str) for name in free)
  document.require(ok, 'free', free, 'a list of names')
  for name in free:
    ok = name not in fixed
    document.require(ok, 'free', name, 'a parameter that is not fixed')
    ok = name not in idle
    document.require(ok, 'free', name, 'a parameter that can become active')
  return frozenset(free)
