"""What a search leaves in its workdir: champion, stack, result and report."""

from typing import Any

from etils import epath

from evo import ablation, faults, lineage, pace_figure, report, staircase
from evo import campaign as campaign_lib
from evo import improvements as improvements_lib
from evo import pace as pace_lib
from evo import result as result_lib
from evo import rows as rows_lib
from evo import space as space_lib
from evo import summary as summary_lib
from launch import experiment as experiment_lib
from launch import export, files, settings


def write(
  workdir: epath.Path,
  given: dict[str, Any],
  run: dict[str, Any],
  experiment: experiment_lib.Experiment,
  campaign: campaign_lib.Campaign,
) -> None:
  """Writes what a search leaves, and prints the summary.

  Args:
    workdir: of the search.
    given: flags.
    run: what `run.json` says.
    experiment: of the search.
    campaign: that has ended, or was stopped.
  """
  hosts = experiment.engine.hosts
  faults.point('finish.before_write')
  hosts.fence()
  if best := campaign.champion:
    weights = (best.leg.member, best.stop)
    champion = workdir / 'champion'
    export.write(champion, experiment, best.leg.configuration, weights)
  if hosts.first:
    faults.point('report.before_write')
    hosts.fence()
    _report(workdir, given, run, experiment, campaign)
  campaign.loop.log(
    'stop', reason=campaign.stop_reason, seconds=campaign.loop.clock.seconds
  )


def _report(
  workdir: epath.Path,
  given: dict[str, Any],
  run: dict[str, Any],
  experiment: experiment_lib.Experiment,
  campaign: campaign_lib.Campaign,
) -> None:
  """Writes result, exports and report, and prints the summary."""

  def details(loss: float, split: str) -> dict[str, float]:
    return {'nats_per_token': experiment.trainee.nats_per_token(loss, split)}

  rows = rows_lib.leg_rows(campaign.loop.records, run)
  larger = rows_lib.leg_rows(campaign.transferred, run)
  result = result_lib.result(
    campaign.loop.records,
    run,
    spent=campaign.spent(),
    stop_reason=campaign.stop_reason,
    details=details,
    larger=larger,
  )
  result['damaged'] = len(campaign.loop.noted('damaged'))
  result['bounds'] = {name: given[name] for name in settings.BOUNDS}
  # Not to be taken for what goes with the rest, before it is written again.
  (workdir / 'result.json').unlink(missing_ok=True)
  rows_lib.write_exports(workdir, rows)
  staircase.draw(rows, result, run, workdir / 'staircase.png')
  lineage.draw(rows, result, run, workdir / 'lineage.png')
  improvements = improvements_lib.improvements(rows, run, result, larger)
  files.write_json(workdir / 'improvements.json', improvements)
  _export_stack(workdir, experiment.space, improvements)
  pace = pace_lib.pace(rows, run)
  times = campaign.loop.clock.rounds()
  result['seconds_to_confirmed'] = _seconds(pace, times)
  if not improvements['summary']['left_out']:
    pace_figure.draw(pace, improvements, run['metric'], workdir / 'pace.png')
  (workdir / 'report.md').write_text(
    report.markdown(result, rows, run, improvements)
  )
  faults.point('summary.before_write')
  summary = summary_lib.summary(result, run, improvements) + '\n'
  if given['max_members'] == 1 and result['champion']:
    nats = result['champion']['nats_per_token']
    summary = f'validation {nats:.4f} nats per token\n{summary}'
  (workdir / 'summary.txt').write_text(summary)
  files.write_json(workdir / 'result.json', result)
  print(summary, end='')


def _export_stack(
  workdir: epath.Path,
  space: space_lib.Space,
  improvements: dict[str, Any],
) -> None:
  """Writes what was verified, and the same without each of its changes."""
  stack, folder = improvements['summary']['stack'], workdir / 'without'
  folder.rmtree(missing_ok=True)  # Of an earlier stack.
  if stack is None:
    (workdir / 'stack.json').unlink(missing_ok=True)
    return
  files.write_json(workdir / 'stack.json', stack)
  folder.mkdir()
  for name in ablation.changes(space, stack):
    left = space.canonical(stack | {name: space.baseline[name]})
    files.write_json(folder / f'{name}.json', left)


def _seconds(
  pace: pace_lib.Pace, seconds: dict[int, float]
) -> dict[str, float | None]:
  """Until the first, fifth and tenth change was confirmed."""
  found = {}
  for count in (1, 5, 10):
    number = pace.round_of(count)
    found[str(count)] = None if number is None else seconds.get(number)
  return found
