"""Conditions: the order in which they are settled, and what is active."""

import pytest

from evo import condition
from evo import parameter as parameter_lib


def flag(name, **when):
  when = {other: [value] for other, value in when.items()} or None
  return parameter_lib.Parameter(
    name, 'choice', 'architecture', 0, choices=(0, 1), when=when
  )


def by_name(*parameters):
  return {p.name: p for p in parameters}


CHAIN = by_name(flag('c', b=1), flag('b', a=1), flag('a'), flag('d', a=0, b=0))


def test_names_come_after_those_that_their_condition_names():
  order = condition.order(CHAIN)
  assert sorted(order) == ['a', 'b', 'c', 'd']
  for name, p in CHAIN.items():
    for other in p.when or ():
      assert order.index(other) < order.index(name)


@pytest.mark.parametrize(
  'a, b, active',
  [(0, 1, 'a'), (1, 0, 'ab'), (1, 1, 'abc')],
)
def test_what_depends_on_the_inactive_is_inactive_and_at_its_default(
  a, b, active
):
  given = {'a': a, 'b': b, 'c': 1, 'd': 1}
  values, found = condition.settle(CHAIN, condition.order(CHAIN), given)
  assert found == set(active)
  assert values == {n: given[n] if n in active else 0 for n in given}


def test_all_conditions_have_to_hold():
  both = by_name(flag('a'), flag('b'), flag('c', a=1, b=1))
  order = condition.order(both)
  for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
    found = condition.settle(both, order, {'a': a, 'b': b, 'c': 1})[1]
    assert ('c' in found) == (a == b == 1)


@pytest.mark.parametrize(
  'parameters, message',
  [
    ([flag('a', a=1)], 'parameters.a.when is ["a", "a"]; expected conditions'),
    (
      [flag('a', b=1), flag('b', c=1), flag('c', b=1)],
      'parameters.b.when is ["b", "c", "b"]; expected conditions without',
    ),
    ([flag('a', b=1)], 'parameters.a.when.b is unknown; expected a'),
    ([flag('a'), flag('b', a=2)], 'parameters.b.when.a is 2; expected one of'),
  ],
)
def test_conditions_without_sense_are_refused(parameters, message):
  with pytest.raises(ValueError) as error:
    condition.order(by_name(*parameters))
  # The cycle may begin anywhere.
  turned = message.replace('["b", "c", "b"]', '["c", "b", "c"]')
  turned = turned.replace('parameters.b', 'parameters.c')
  assert str(error.value).startswith((message, turned))
