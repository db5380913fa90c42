"""Commands of this package as processes of their own, timed."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence


@contextlib.contextmanager
def started(
  module: str, flags: Sequence[str], environment: Mapping[str, str] = {}
) -> Iterator[subprocess.Popen]:
  """A command that runs; it is ended with the block if it still does."""
  process = subprocess.Popen(
    [sys.executable, '-m', module, *flags],
    env=os.environ | dict(environment),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    yield process
  finally:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def run(
  module: str, flags: Sequence[str], environment: Mapping[str, str] = {}
) -> None:
  """Runs a command to its end.

  Raises:
    RuntimeError: it failed.
  """
  with started(module, flags, environment) as process:
    finish(process)


def finish(process: subprocess.Popen) -> None:
  """Waits for a command; raises RuntimeError if it failed."""
  _, errors = process.communicate()
  if process.returncode:
    raise RuntimeError(f'{process.args} failed:\n{errors}')


def result(workdir: pathlib.Path) -> dict:
  """What a search wrote."""
  return json.loads((workdir / 'result.json').read_text())


def wait_for(workdir: pathlib.Path, event: str, seconds: float = 120) -> float:
  """The time of day at which an event was first noted in a workdir.

  Raises:
    RuntimeError: it was not for so many seconds.
  """
  path, deadline = workdir / 'events.jsonl', time.monotonic() + seconds
  while time.monotonic() < deadline:
    lines = path.read_text().splitlines() if path.exists() else []
    for line in lines:
      # The last line may be half written.
      if line.endswith('}') and json.loads(line)['event'] == event:
        return json.loads(line)['time']
    time.sleep(0.05)
  raise RuntimeError(f'no {event!r} in {path} after {seconds:.0f} s')
