"""Another program's process that works when it is told to, and says how long.

Two frameworks in one process would fight for the cores. This one waits for a
line while the other is measured.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TextIO


class Peer:
  """A process that answers each line of JSON with one."""

  def __init__(self, module: str, *arguments: str):
    """Starts `python -m module` and waits until it is ready."""
    self._process = subprocess.Popen(
      [sys.executable, '-m', module, *arguments],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    self._answer()

  def __enter__(self) -> 'Peer':
    return self

  def __exit__(self, *unused: Any) -> None:
    self._process.kill()
    self._process.communicate()

  def ask(self, **request: Any) -> Any:
    """What it answers.

    Raises:
      RuntimeError: it ended instead.
    """
    self._process.stdin.write(json.dumps(request) + '\n')
    self._process.stdin.flush()
    return self._answer()

  def _answer(self) -> Any:
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError(f'{self._process.args} ended; see above')
    return json.loads(line)


def serve(answer: Callable[..., Any], out: TextIO | None = None) -> None:
  """The other side: says that it is ready, then answers until nobody asks.

  Args:
    answer: JSON-able, to the keywords of a request.
    out: where it goes, by default stdout.
  """
  print(0, file=out, flush=True)
  for line in sys.stdin:
    print(json.dumps(answer(**json.loads(line))), file=out, flush=True)


def missing(*packages: str) -> str:
  """Those that are not installed and how to get them, or nothing."""
  absent = [p for p in packages if importlib.util.find_spec(p) is None]
  if not absent:
    return ''
  return f"needs {' and '.join(absent)}: pip install 'datapoint[bench]'"
