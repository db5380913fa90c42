"""Function tasks: what strategies are compared on without a model.

  task = make('hpolib:protein_structure')
  state, loss, truth = task.train(task.state0, leg, rng)

Losses and truths are lower where better.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from evo import document, parameter, task_tables
from evo import member as member_lib
from evo import space as space_lib

Leg = member_lib.Leg
Outcome = tuple[Any, float, float]

_EVERY, _STEPS = 20, 1000  # Of the deceptive task: a segment, a budget.


@dataclasses.dataclass(frozen=True)
class Task:
  """Something to search that costs nothing to train.

  Attributes:
    name: as `make` takes it.
    space: what may change.
    segments: of a member's whole budget.
    train: (state, leg, rng) -> (state, loss, truth): runs a leg from the state
      of its source, which it leaves as it is. The loss is what a strategy is
      told; the truth is the regret of the new state without noise. All
      randomness comes from the generator.
    metric: name of the loss.
    population: members that train side by side, unless told otherwise.
    state0: of a fresh member.
    initial: configurations of the first members, by seed; where it is None
      they are the strategy's own.
  """

  name: str
  space: space_lib.Space
  segments: int
  train: Callable[[Any, Leg, np.random.Generator], Outcome]
  metric: str = 'regret'
  population: int = 8
  state0: Any = None
  initial: Callable[[int], list[member_lib.Configuration]] | None = None

  @property
  def slots(self) -> int:
    """Legs at work at once: a whole cohort, or one where all are whole runs.

    Values of a function are looked up one by one, as in the literature.
    """
    return self.population if self.segments > 1 else 1


def make(name: str) -> Task:
  """Makes the task of a name.

  Args:
    name: one of `NAMES`.

  Raises:
    ValueError: the name is unknown, or what it needs is not installed.
  """
  document.require(name in NAMES, 'task', name, f'one of {", ".join(NAMES)}')
  return _TOYS[name]() if name in _TOYS else _lookup(name)


def _quadratic() -> Task:
  """Jaderberg et al., "Population Based Training", arXiv 1711.09846, figure 2.

  Two members of the state (.9, .9), each blind to one of its two coordinates;
  together they reach what neither can alone. A segment is 5 of 200 steps of
  descent. Both start even, hence a noise of 1e-9.
  """

  def train(theta: np.ndarray, leg: Leg, rng: np.random.Generator) -> Outcome:
    h = np.array([leg.configuration['h0'], leg.configuration['h1']])
    theta = theta * (1 - 0.02 * h) ** (5 * (leg.stop - leg.start))
    regret = float(np.sum(theta**2))
    return theta, regret + 1e-9 * rng.normal(), regret

  return Task(
    name='quadratic',
    space=_space(
      'quadratic', *(_number(h, 'float', 0.5, 0.0, 1.0) for h in ('h0', 'h1'))
    ),
    segments=40,
    train=train,
    population=2,
    state0=np.array([0.9, 0.9]),
    initial=lambda seed: [{'h0': 1.0, 'h1': 0.0}, {'h0': 0.0, 'h1': 1.0}],
  )


def _deceptive() -> Task:
  """The deceptive toy of PBT-Zoo (github.com/AwesomeLemon/PBT-Zoo).

  A small v pays now and costs later; patience follows the line 1 - t/T. The
  state is theta and the values that v had in each segment behind it: heirs
  take over both. The fitness is read before the last step, as there.
  """

  def train(state: Any, leg: Leg, rng: np.random.Generator) -> Outcome:
    del rng  # There is no noise.
    theta, history = state
    v = leg.configuration['v']
    for _ in range(leg.start, leg.stop):
      history = (*history, v)
      patient = 1 - np.arange(len(history)) * _EVERY / _STEPS
      penalty = 0.2 * np.abs(np.array(history) - patient).sum()
      factor = 1 - 0.002 * max(2 - v - penalty, 0.0)
      before = theta * factor ** (_EVERY - 1)
      theta = before * factor
    regret = float(before**2)
    return (theta, history), regret, regret

  def initial(seed: int) -> list[member_lib.Configuration]:
    rng = member_lib.generator(seed, 'deceptive')
    return [{'v': v} for v in rng.uniform(0.9, 1.1, 22).tolist()]

  return Task(
    name='deceptive',
    space=_space('deceptive', _number('v', 'log_float', 1.0, 1e-4, 1.1)),
    segments=_STEPS // _EVERY,
    train=train,
    population=22,
    state0=(0.9, ()),
    initial=initial,
  )


def _conditional() -> Task:
  """A bowl of which parts are active only with one of three optimisers.

  The optimum is adam at lr .001, 5 layers and beta2 .95; the baseline is off
  it everywhere.
  """

  def train(state: Any, leg: Leg, rng: np.random.Generator) -> Outcome:
    del rng  # There is no noise.
    c = leg.configuration
    regret = (math.log10(c['lr']) + 3) ** 2 + 0.1 * (c['layers'] - 5) ** 2
    regret += {'adam': 0.0, 'sgd': 0.4, 'lion': 0.2}[c['opt']]
    if c['opt'] == 'sgd':
      regret += 4 * (c['momentum'] - 0.9) ** 2
    if c['opt'] == 'adam':
      regret += 20 * (c['beta2'] - 0.95) ** 2
    return state, regret, regret

  space = _space(
    'conditional',
    _number('lr', 'log_float', 1e-2, 1e-5, 1e-1),
    _number('layers', 'int', 2, 1, 8, structural=True),
    task_tables.choice('opt', ['adam', 'sgd', 'lion'], 'lion'),
    _number('momentum', 'float', 0.5, 0.0, 0.99, when={'opt': ['sgd']}),
    _number('beta2', 'float', 0.9, 0.8, 0.999, when={'opt': ['adam']}),
  )
  return Task('conditional', space, 1, train)


def _lookup(name: str) -> Task:
  """A query draws one of the stored repeats of a configuration."""
  table = task_tables.load(name)

  def train(state: Any, leg: Leg, rng: np.random.Generator) -> Outcome:
    losses = table.losses(leg.configuration)
    return state, float(rng.choice(losses)), float(losses.mean() - table.best)

  return Task(name, table.space, 1, train, metric=table.metric)


def _number(
  name: str, kind: str, default: float, low: float, high: float, **more: Any
) -> parameter.Parameter:
  return parameter.Parameter(
    name, kind, 'configuration', default, low, high, **more
  )


def _space(name: str, *parameters: parameter.Parameter) -> space_lib.Space:
  return space_lib.Space(name, parameters)


_TOYS = {
  'conditional': _conditional,
  'deceptive': _deceptive,
  'quadratic': _quadratic,
}
NAMES = (*sorted(_TOYS), *task_tables.NAMES)
WORDS = ', '.join((*sorted(_TOYS), *task_tables.WORDS))
