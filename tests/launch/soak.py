"""Punishes a search at random; what it comes to must not change.

  python tests/launch/soak.py --minutes=30

It is killed at any of its points and between them, is asked to end, and is
started twice at once. Whenever it comes to an end, its ledger, what it found
and its champion have to be those of an unbroken run, bit for bit; then it
begins anew.
"""

import dataclasses
import itertools
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

import jax
import punisher
import small
from absl import flags
from outcome import outcome

# Search, gate and ablation; rounds take a fraction of a second.
CAMPAIGN = ['--phases=search,confirm,ablate', '--confirm_seeds=6']
# Seconds: of a start, in which a process may be killed as well, and those after
# a point in which one is.
START, AFTER = 2.0, 0.2

_FORKS = multiprocessing.get_context('forkserver')
# Most of a start is to import these.
_FORKS.set_forkserver_preload(['launch.search', 'matplotlib.figure', 'soak'])


def search(given, cache, said, call):
  """What a process does: a search, after a call of the punisher."""
  with open(said, 'w') as file:
    for number in (1, 2):
      os.dup2(file.fileno(), number)
  os.environ |= {'JAX_PLATFORMS': 'cpu', 'XDG_CACHE_HOME': str(cache)}
  jax.config.update('jax_platforms', 'cpu')
  if call:
    name, *values = call
    getattr(punisher, name)(*values)
  from launch import search as search_lib

  sys.argv = ['search', *given]
  search_lib.run()


@dataclasses.dataclass
class Soak:
  """A search that is punished.

  Attributes:
    given: flags of the search.
    folder: where it happens.
    rng: decides what happens.
    kills: so far.
    ends: how often it came to its end.
    counts: of what else happened, by name.
  """

  given: list[str]
  folder: pathlib.Path
  rng: random.Random
  kills: int = 0
  ends: int = 0
  counts: dict[str, int] = dataclasses.field(
    default_factory=lambda: dict(asked=0, twice=0)
  )

  def __post_init__(self):
    """Runs it once without punishment."""
    self._numbers = itertools.count()
    call = ('note', str(self.folder / 'points'))
    self.end(self.start('unbroken', call), 0)
    self.points = (self.folder / 'points').read_text().splitlines()
    self.expected = outcome(self.folder / 'unbroken')

  def punish(self):
    """Starts it and does something to it; looks at it if it has ended."""
    (self.rng.choices((self._kill, self._ask, self._twice), (8, 1, 1))[0])()

  def finish(self):
    """Lets it come to its end."""
    self.end(self.start('run'), 0)
    self._look()

  def _kill(self):
    """Kills it: before its first point, at one, or a while after it."""
    if self.rng.random() < 0.5:
      # Most points are of the ledger; each name is as likely.
      name = self.rng.choice(sorted(set(self.points)))
      call = ('strike', name, self.rng.randint(1, self.points.count(name)))
    else:
      # Of a third of them: so it takes several kills to come to an end.
      points = self.rng.randrange(len(self.points) // 3)
      call = ('strike_after', points, self.rng.random() * self._pause(points))
    if self.end(self.start('run', call), 0, -signal.SIGKILL):
      self.kills += 1
    else:
      self._look()

  def _pause(self, points):
    """Seconds after so many points within which it is killed."""
    return AFTER if points else START

  def _ask(self):
    """Asks it to end."""
    process = self.start('run')
    time.sleep(START + self.rng.random() * START)
    process.terminate()
    if not self.end(process, 0, 42, -signal.SIGTERM):
      self._look()
    self.counts['asked'] += 1

  def _twice(self):
    """Starts it twice: one goes on, or both find that it has ended."""
    processes = [self.start('run') for _ in range(2)]
    codes = [self.end(process, 0, 2) for process in processes]
    assert 0 in codes
    for process, code in zip(processes, codes):
      assert code == 0 or 'is held by' in process.said.read_text()
    self._look()
    self.counts['twice'] += 1

  def start(self, name, call=()):
    """Starts the search in a folder of this name; see `search`."""
    given = [*self.given, f'--workdir={self.folder}/{name}']
    said = self.folder / f'said-{next(self._numbers)}'
    args = (given, self.folder / 'cache', said, call)
    process = _FORKS.Process(target=search, args=args)
    process.said = said
    process.start()
    return process

  def end(self, process, *codes):
    """Waits for the end of a process; its exit code is one of these."""
    process.join(300)
    code = process.exitcode
    assert code in codes, (code, process.said.read_text())
    return code

  def _look(self):
    """Compares what it came to, and clears it away."""
    found = outcome(self.folder / 'run')
    for name, value in self.expected.items():
      assert found[name] == value, name
    shutil.rmtree(self.folder / 'run')
    self.ends += 1


def main():
  """Punishes it for --minutes."""
  jax.config.update('jax_platforms', 'cpu')
  flags.FLAGS(sys.argv)
  seed, minutes = flags.FLAGS.seed, flags.FLAGS.minutes
  folder = pathlib.Path(tempfile.mkdtemp(prefix='soak-'))
  given = [*small.write(folder), *CAMPAIGN]
  soak = Soak(given, folder, random.Random(seed))
  end = time.monotonic() + 60 * minutes
  while time.monotonic() < end:
    soak.punish()
    print(f'\r{soak.kills} kills, {soak.ends} ends', end='', file=sys.stderr)
  soak.finish()
  others = ', '.join(f'{name} {count}' for name, count in soak.counts.items())
  print(f'\n{soak.kills} kills, {others}; all {soak.ends} ends are the same')
  shutil.rmtree(folder)


if __name__ == '__main__':
  flags.DEFINE_float('minutes', 30.0, 'How long.')
  flags.DEFINE_integer('seed', 0, 'Of what happens.')
  main()
