"""A search that notes what its host does with its time, part by part.

  python -m launch.benchmarks.host_time FILE FLAGS...

Seconds go to a JSON file. The devices train meanwhile, so the sum is no
overhead: only what the devices wait for is.
"""

import collections
import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable

from evo import checkpoint, clock, ledger, population, program
from evo import turn as turn_lib

# Methods by the part of the work that they are; none calls another.
_PARTS = {
  'checkpoint': [
    (checkpoint.Checkpoints, 'save'),
    (checkpoint.Checkpoints, 'wait'),
  ],
  'ledger': [(ledger.Ledger, 'append'), (ledger.Events, 'write')],
  'dispatch': [
    (population.Population, name)
    for name in ('segment', 'evaluate', 'inherit', 'refill', 'place', 'take')
  ],
  'reading results': [(turn_lib.Turn, 'read')],
  'compiling': [(program.Program, 'compile')],
}


def main() -> None:
  """Runs a search with all parts metered."""
  path, sys.argv[1:] = sys.argv[1], sys.argv[2:]
  spent = collections.Counter()
  for part, methods in _PARTS.items():
    for owner, name in methods:
      setattr(owner, name, _metered(getattr(owner, name), part, spent))
  asked = clock.Clock.asked

  def asking(self: clock.Clock):
    spent['strategy'] = self.asking
    return asked(self)

  clock.Clock.asked = asking
  from launch import search

  try:
    search.run()
  finally:
    pathlib.Path(path).write_text(json.dumps(spent))


def _metered(
  method: Callable, part: str, spent: collections.Counter
) -> Callable:
  @functools.wraps(method)
  def run(*args, **kwargs):
    begin = time.monotonic()
    try:
      return method(*args, **kwargs)
    finally:
      spent[part] += time.monotonic() - begin

  return run


if __name__ == '__main__':
  main()
