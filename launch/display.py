"""What a person sees while a search runs."""

import sys
import time

import rich.console
import rich.progress

from evo import campaign as campaign_lib

# Where nobody watches a terminal, a line this often, in seconds.
_LINE_EVERY = 15.0


class Display:
  """A progress bar on a terminal, a line now and then elsewhere."""

  def __init__(self, metric: str, quiet: bool = False):
    self._metric = metric
    self._console = rich.console.Console(file=sys.stderr, quiet=quiet)
    self._bar = rich.progress.Progress(
      rich.progress.TextColumn('{task.description}'),
      rich.progress.BarColumn(),
      rich.progress.TaskProgressColumn(),
      rich.progress.TextColumn('{task.fields[facts]}'),
      rich.progress.TimeRemainingColumn(),
      console=self._console,
    )
    self._task = self._bar.add_task('start', total=None, facts='compiling')
    self._spoken = time.monotonic()

  def __enter__(self) -> 'Display':
    if self._console.is_terminal:
      self._bar.start()
    return self

  def __exit__(self, *unused) -> None:
    if self._console.is_terminal:
      self._bar.stop()

  def update(self, campaign: campaign_lib.Campaign) -> None:
    """Shows where a campaign stands; called after each round."""
    done, total = campaign.progress()
    facts = self._facts(campaign)
    self._bar.update(
      self._task,
      description=campaign.loop.phase,
      completed=done,
      total=total,
      facts=facts,
    )
    if not self._console.is_terminal and (
      time.monotonic() - self._spoken > _LINE_EVERY
    ):
      self._spoken = time.monotonic()
      share = f'{100 * done / total:3.0f}% ' if total else ''
      self._console.print(
        f'{campaign.loop.phase} {share}{facts}', highlight=False
      )

  def _facts(self, campaign: campaign_lib.Campaign) -> str:
    parts = [f'{campaign.finished} members']
    speed = campaign.loop.clock.tokens_per_second()
    if speed:
      parts.append(f'{speed:,.0f} tokens/s')
    if campaign.best:
      best = f'best {campaign.best.loss:.4f} {self._metric}'
      if campaign.baseline_loss is not None:
        best += f' (baseline {campaign.baseline_loss:.4f})'
      parts.append(best)
    return ' · '.join(parts)
