"""Punishes a search at random; what it comes to must not change.

  python tests/launch/soak.py --minutes=30

It is killed at any of its points and between them, is asked to end, and is
started twice at once. Whenever it comes to an end, its ledger, what it found
and its champion have to be those of an unbroken run, bit for bit; then it
begins anew.
"""

import dataclasses
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

import punisher
import small
from absl import flags
from outcome import outcome

# Search, gate and ablation; rounds take a fraction of a second.
CAMPAIGN = ['--phases=search,confirm,ablate', '--confirm_seeds=6']
# Seconds: of a start, in which a process may be killed as well, and those after
# a point in which one is.
START, AFTER = 4.0, 0.2


@dataclasses.dataclass
class Soak:
  """A search that is punished.

  Attributes:
    launch: starts a process, see `small.launcher`.
    given: flags of the search.
    folder: where it happens.
    rng: decides what happens.
    kills: so far.
    ends: how often it came to its end.
    counts: of what else happened, by name.
  """

  launch: object
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
    call = f'note("{self.folder}/points")'
    process = self._start('unbroken', punisher.prelude(call))
    self._end(process, 0)
    self.points = (self.folder / 'points').read_text().splitlines()
    self.expected = outcome(self.folder / 'unbroken')

  def punish(self):
    """Starts it and does something to it; looks at it if it has ended."""
    (self.rng.choices((self._kill, self._ask, self._twice), (8, 1, 1))[0])()

  def finish(self):
    """Lets it come to its end."""
    self._look(self._end(self._start('run'), 0))

  def _kill(self):
    """Kills it: before its first point, at one, or a while after it."""
    points = self.rng.randrange(len(self.points))
    seconds = self.rng.random() * (AFTER if points else START)
    call = f'strike_after({points}, {self.rng.choice((0, seconds))})'
    process = self._start('run', punisher.prelude(call))
    if self._end(process, 0, -signal.SIGKILL).returncode:
      self.kills += 1
    else:
      self._look(process)

  def _ask(self):
    """Asks it to end."""
    process = self._start('run')
    time.sleep(START + self.rng.random() * START)
    process.terminate()
    if not self._end(process, 0, 42, -signal.SIGTERM).returncode:
      self._look(process)
    self.counts['asked'] += 1

  def _twice(self):
    """Starts it twice: one goes on, or both find that it has ended."""
    processes = [self._start('run') for _ in range(2)]
    ends = [self._end(process, 0, 2) for process in processes]
    assert any(end.returncode == 0 for end in ends)
    for end in ends:
      assert end.returncode == 0 or 'is held by' in end.err, end.err
    self._look(*ends)
    self.counts['twice'] += 1

  def _start(self, name, prelude=None):
    flags = [*self.given, f'--workdir={self.folder}/{name}']
    return self.launch('search', *flags, wait=False, prelude=prelude)

  def _end(self, process, *codes):
    process.out, process.err = process.communicate(timeout=300)
    assert process.returncode in codes, (process.returncode, process.err)
    return process

  def _look(self, *_):
    """Compares what it came to, and clears it away."""
    found = outcome(self.folder / 'run')
    for name, value in self.expected.items():
      assert found[name] == value, name
    shutil.rmtree(self.folder / 'run')
    self.ends += 1


def main():
  """Punishes it for --minutes."""
  os.environ.setdefault('JAX_PLATFORMS', 'cpu')  # Not yet started.
  flags.FLAGS(sys.argv)
  seed, minutes = flags.FLAGS.seed, flags.FLAGS.minutes
  folder = pathlib.Path(tempfile.mkdtemp(prefix='soak-'))
  launch = small.launcher(folder / 'cache')
  given = [*small.write(folder), *CAMPAIGN]
  soak = Soak(launch, given, folder, random.Random(seed))
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
