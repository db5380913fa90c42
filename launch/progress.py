"""What a person sees while many runs follow each other."""

import sys
import time

import rich.console
import rich.progress

# Where nobody watches a terminal, a line this often, in seconds.
_LINE_EVERY = 15.0


class Progress:
  """A bar on a terminal, a line now and then elsewhere."""

  def __init__(self, total: int):
    """Sets up for `total` runs."""
    self._console = rich.console.Console(file=sys.stderr)
    self._bar = rich.progress.Progress(
      rich.progress.TextColumn('{task.description}'),
      rich.progress.BarColumn(),
      rich.progress.MofNCompleteColumn(),
      rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
      console=self._console,
    )
    self._task = self._bar.add_task('start', total=total)
    self._total, self._done, self._what = total, 0.0, ''
    self._spoken = time.monotonic()

  def __enter__(self) -> 'Progress':
    if self._console.is_terminal:
      self._bar.start()
    return self

  def __exit__(self, *unused) -> None:
    if self._console.is_terminal:
      self._bar.stop()

  def begin(self, what: str, done: float) -> None:
    """Notes that a run begins, after so many."""
    self._what, self._done = what, done
    self.show(0.0)

  def show(self, share: float) -> None:
    """Notes the share of the present run that is done."""
    done = self._done + share
    self._bar.update(self._task, description=self._what, completed=done)
    if self._console.is_terminal:
      return
    if time.monotonic() - self._spoken > _LINE_EVERY:
      self._spoken = time.monotonic()
      text = f'{100 * done / self._total:3.0f}% {self._what}'
      self._console.print(text, highlight=False)
