"""What commands answer to input that is hostile.

Commands run as processes that are forked from one which has imported all that
takes long, so that thousands of them can be tried.
"""

import dataclasses
import functools
import hashlib
import importlib
import multiprocessing
import os
import pathlib
import re
import shutil
import sys
import tempfile

import jax
import punisher

from evo import retention
from launch import experiment, owner, topology
from models import sampling

_FORKS = multiprocessing.get_context('forkserver')
_FORKS.set_forkserver_preload(
  [
    'hostile',
    'evo.ablation',
    'evo.comparison_report',
    'evo.comparison_summary',
    'evo.improvements',
    'evo.lineage',
    'evo.pace_figure',
    'evo.report',
    'evo.staircase',
    'evo.summary',
    'launch.cluster',
    'launch.contests',
    'launch.enlarge',
    'launch.export',
    'launch.inspection',
    'launch.progress',
    'launch.scratch',
    'models.sampling',
    'matplotlib.figure',
  ]
)


@dataclasses.dataclass
class Answer:
  """What a command said.

  Attributes:
    code: of its exit.
    out: on stdout.
    err: on stderr.
    writes: paths that it opened to write, made or moved.
  """

  code: int
  out: str
  err: str
  writes: set[pathlib.Path]


def is_one_line(said):
  """Whether it is what all commands answer to bad input."""
  return bool(re.fullmatch(r'error: .+; expected .+\n', said))


def ask(command, given, folder, home, stub=False, often=False, timeout=120):
  """Runs a command in a folder.

  Args:
    command: its name.
    given: flags.
    folder: where it works.
    home: for its home and cache, and what it says.
    stub: end with 0 where it would begin to work.
    often: every round has a checkpoint.
    timeout: seconds after which it hangs.
  """
  args = (command, given, str(folder), str(home), stub, often)
  process = _FORKS.Process(target=_answer, args=args)
  process.start()
  process.join(timeout)
  if process.exitcode is None:
    process.kill()
    process.join()
    raise AssertionError(f'{command} {given} hangs')
  said = [(home / name).read_text() for name in ('out', 'err')]
  writes = set(map(pathlib.Path, (home / 'writes').read_text().splitlines()))
  code = process.exitcode
  process.close()
  return Answer(code, *said, writes - {pathlib.Path('/dev/null')})


def _answer(command, given, folder, home, stub, often):
  """What a process does."""
  for number, name in ((1, 'out'), (2, 'err')):
    with open(f'{home}/{name}', 'w') as file:
      os.dup2(file.fileno(), number)
  # Those of multiprocessing are not line buffered as a process's own are.
  sys.stdout = open(1, 'w', closefd=False)
  sys.stderr = open(
    2, 'w', closefd=False, buffering=1, errors='backslashreplace'
  )
  os.environ |= {'HOME': home, 'XDG_CACHE_HOME': f'{home}/cache'}
  jax.config.update('jax_platforms', 'cpu')
  os.chdir(folder)
  sys.argv = [command, *given]
  module = importlib.import_module(f'launch.{command}')
  if stub:
    _stub(command)
  if often:
    retention._MOST_ROUNDS = 1
  open(f'{home}/writes', 'w').close()
  punisher.note_writes(f'{home}/writes')
  try:
    module.run()
  except SystemExit:
    sys.stdout.flush()
    raise


def _stub(command):
  """Ends the process where a command begins to work."""

  def end(*args, **options):
    raise SystemExit(0)

  owner.hold = end
  topology.Topology.mesh = end
  sampling.sample = end
  if command == 'bench':
    experiment.prepare_backend = end


def listing(folder):
  """Every path below a folder, and what is there."""
  found = {}
  for path in sorted(folder.rglob('*')):
    name = str(path.relative_to(folder))
    if path.is_symlink():
      found[name] = os.readlink(path)
    elif path.is_file() and path.stat().st_size > 1 << 30:
      found[name] = path.stat().st_size
    elif path.is_file():
      found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    else:
      found[name] = None
  return found


@functools.cache
def names(command):
  """Of all flags of a command."""
  folder = pathlib.Path(tempfile.mkdtemp())
  said = ask(command, ['--help'], folder, folder).out
  shutil.rmtree(folder)
  found = re.findall(r'^ +--(?:\[no\])?(\w+):', said, re.MULTILINE)
  return [*found, 'flagfile', 'unknown']
