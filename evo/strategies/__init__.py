"""Search strategies, by the names that flags and checks use.

  s = strategies.make('evolution', space, seed=0, population=8)
  legs = s.ask(n)
  s.tell(results)

No model, flags, files or devices are needed. A strategy's module is imported
when it is made, so that one with heavy needs costs the others nothing.
"""

import importlib
from typing import Any

from evo import space as space_lib
from evo import strategy as strategy_lib

_CLASSES = {
  'asha': 'ASHA',
  'cmaes': 'CMAES',
  'evolution': 'Evolution',
  'gp': 'GP',
  'hybrid': 'Hybrid',
  'hyperband': 'Hyperband',
  'mfpbt': 'MFPBT',
  'pb2': 'PB2',
  'pbt': 'PBT',
  'pbt_tournament': 'PBTTournament',
  'random': 'Random',
  'sobol': 'Sobol',
  'tpe': 'TPE',
}
NAMES = tuple(sorted(_CLASSES))


def make(
  name: str,
  space: space_lib.Space,
  seed: int = 0,
  population: int = 8,
  **options: Any,
) -> strategy_lib.Strategy:
  """Makes the strategy of a name.

  Args:
    name: one of `NAMES`.
    space: what may change.
    seed: of the strategy's own draws.
    population: members that train side by side.
    **options: `segments`, `initial` and what the strategy's class documents.

  Returns:
    A strategy that has not been asked yet.

  Raises:
    ValueError: the name is unknown, or an option is out of its range.
  """
  if name not in _CLASSES:
    raise ValueError(
      f'strategy is {name!r}; expected one of {", ".join(NAMES)}'
    )
  module = importlib.import_module(f'{__name__}.{name}')
  return getattr(module, _CLASSES[name])(
    space, seed=seed, population=population, **options
  )
