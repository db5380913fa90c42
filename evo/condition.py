"""Conditions: which parameters have an effect, given the values of others."""

import graphlib
from collections.abc import Collection, Mapping
from typing import Any

from evo import document
from evo.parameter import Parameter


def order(parameters: Mapping[str, Parameter]) -> tuple[str, ...]:
  """Names, each after those that its condition names.

  Raises:
    ValueError: a condition does not fit its parameters, or there is a cycle.
  """
  for name, p in parameters.items():
    p.check_condition(f'parameters.{name}.when', parameters)
  graph = {name: tuple(p.when or ()) for name, p in parameters.items()}
  try:
    return tuple(graphlib.TopologicalSorter(graph).static_order())
  except graphlib.CycleError as error:
    where, cycle = f'parameters.{error.args[1][0]}.when', error.args[1]
    words = 'conditions without a cycle'
    raise document.complaint(where, cycle, words) from error


def reachable(
  parameters: Mapping[str, Parameter],
  ordered: tuple[str, ...],
  free: Collection[str],
) -> set[str]:
  """The parameters that can be active where the others keep their defaults.

  Args:
    parameters: by name.
    ordered: their names as from `order`.
    free: names of those that may have other values.
  """
  found = set()
  for name in ordered:
    conditions = (parameters[name].when or {}).items()
    if all(
      o in found and (o in free or parameters[o].default in wanted)
      for o, wanted in conditions
    ):
      found.add(name)
  return found


def settle(
  parameters: Mapping[str, Parameter],
  ordered: tuple[str, ...],
  configuration: Mapping[str, Any],
) -> tuple[dict[str, Any], set[str]]:
  """Canonical values, in no particular order, and the active parameters.

  Args:
    parameters: by name.
    ordered: their names as from `order`.
    configuration: a value for each.
  """
  values, active = {}, set()
  for name in ordered:
    p = parameters[name]
    values[name] = p.default
    conditions = (p.when or {}).items()
    if all(o in active and values[o] in wanted for o, wanted in conditions):
      active.add(name)
      values[name] = p.typed(configuration[name])
  return values, active
