"""Faults: named instants at which tests may end, stop or disturb this process.

Nothing happens at them, and nothing in the environment can change that: a test
sets `hook` in the process that it starts, before the command.
"""

from collections.abc import Callable


def _nothing(name: str) -> None:
  """What happens at every point of a run that is no test."""


# Called with the name of each point that is passed.
hook: Callable[[str], None] = _nothing


def point(name: str) -> None:
  """Marks an instant at which what is on storage is of interest.

  Args:
    name: what is about to be, or was, written: `ledger.before_append`.
  """
  hook(name)
