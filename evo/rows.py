"""The legs of a ledger as rows, for tables, results and pictures."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from etils import epath

from evo import document, faults
from evo import member as member_lib

Record = dict[str, Any]
Row = dict[str, Any]


def leg_rows(records: Sequence[Record], run: Record) -> list[Row]:
  """One row per leg, in order of asking.

  Steps are training steps. `start` and `stop` are what was asked for,
  `lineage_step` how many were behind the weights when the leg ended: less than
  `stop` where the member was culled. `source` is (member, step) or None. The
  key named after the metric is the loss on `split`, the leg's first one, and
  `metrics` has all splits; None and empty unless ok. `species` counts
  structures by first appearance, `inherited` is the share of the weights that
  came from another member's. `budget` is in steps of the species. `round` and `order` say when the leg ended.
  A leg that was at work when the run stopped is `stopped`: nothing is charged
  for it until the run goes on. Confirmations are counted from 0, with the
  `arm` that a run belongs to; `cycle` is that of the campaign.

  Args:
    records: of the ledger, which `record.check` has passed.
    run: content of run.json.
  """
  rows, working, counter = [], {}, _Counter(run)
  ended = 0
  for record in records:
    for leg in record['legs']:
      rows.append(counter.row(leg, record))
      working[leg['member']] = rows[-1]
    for result in record['results']:
      row = working.pop(result['member'])
      row |= {
        'lineage_step': result['stop'] * row['steps_per_segment'],
        run['metric']: result['metrics'].get(row['split']),
        'round': record['round'],
        'order': ended,
      } | {key: result[key] for key in ('flops', 'tokens', 'status', 'metrics')}
      ended += 1
  for row in working.values():
    passed = records[-1]['round'] + 1 - row['round']
    done = row['start'] + passed * row['steps_per_segment']
    row['lineage_step'] = min(row['stop'], done)
  return rows


class _Counter:
  """Rows of legs without their result; counts species and confirmations."""

  def __init__(self, run: Record):
    self._metric, self._segments = run['metric'], run['segments']
    self._steps: dict[int, int] = {}  # Of a segment, by member.
    self._phase, self._confirmation = '', -1

  def row(self, leg: Record, record: Record) -> Row:
    """The row of a leg that `record` began."""
    confirms = record['phase'] == 'confirm'
    if confirms and self._phase != 'confirm':
      self._confirmation += 1
    self._phase = record['phase']
    source, steps = leg['source'], leg['steps_per_segment']
    self._steps[leg['member']] = steps
    row = {
      'member': leg['member'],
      'parent': leg['parent'],
      'lineage_step': leg['start'] * steps,
      'start': leg['start'] * steps,
      'stop': leg['stop'] * steps,
      'seed': leg['seed'],
      'species': leg['species'],
      'configuration': leg['configuration'],
    }
    others = {
      'flops': 0.0,
      'tokens': 0,
      'status': member_lib.STOPPED,
      'phase': record['phase'],
      'cycle': record['cycle'],
      'round': record['round'],
      'order': None,
      'split': leg['splits'][0] if leg['splits'] else None,
      'metrics': {},
      'source': source and [source[0], source[1] * self._steps[source[0]]],
      'inherited': leg['inherited'],
      'weights': leg['weights'],
      'flops_per_token': leg['flops_per_token'],
      'steps_per_segment': steps,
      'budget': steps * self._segments,
      'confirmation': self._confirmation if confirms else None,
      'arm': leg['arm'],
    }
    ok = self._metric not in row | others
    document.require(ok, 'metric', self._metric, 'no name of another column')
    return row | {self._metric: None} | others


def tried(rows: Sequence[Row]) -> list[Row]:
  """Last legs of the search's members that finished or failed, as they did."""
  ends = [
    row
    for row in rows
    if row['phase'] == 'search'
    and row['order'] is not None
    and (row['status'] != member_lib.OK or row['lineage_step'] == row['budget'])
  ]
  return sorted(ends, key=lambda row: row['order'])


def finished(rows: Sequence[Row]) -> list[Row]:
  """Those that reached the end of their budget."""
  return [row for row in tried(rows) if row['status'] == member_lib.OK]


def claimed(rows: Sequence[Row], run: Record) -> list[Row]:
  """Those of the finished that a strategy may claim; see `campaign.Campaign`.

  All where it finds schedules, else those that trained from scratch.
  """
  if run['finds_schedules']:
    return finished(rows)
  heirs = {
    row['member']
    for row in rows
    if row['source'] and row['source'][0] != row['member']
  }
  return [row for row in finished(rows) if row['member'] not in heirs]


def write_exports(workdir: epath.PathLike, rows: Sequence[Row]) -> None:
  """Writes ledger.jsonl, and ledger.csv with `configuration.NAME` columns."""
  folder = epath.Path(workdir)
  lines = [json.dumps(row, allow_nan=False) + '\n' for row in rows]
  (folder / 'ledger.jsonl').write_text(''.join(lines))
  faults.point('exports.within_write')
  flat = [_flatten(row) for row in rows]
  columns = list(dict.fromkeys(key for row in flat for key in row))
  buffer = io.StringIO()
  writer = csv.DictWriter(buffer, columns, lineterminator='\n')
  writer.writeheader()
  writer.writerows(flat)
  (folder / 'ledger.csv').write_text(buffer.getvalue())


def _flatten(row: Row) -> Row:
  flat = {}
  for key, value in row.items():
    if isinstance(value, dict):
      flat |= {f'{key}.{name}': inner for name, inner in value.items()}
    else:
      flat[key] = json.dumps(value) if isinstance(value, list) else value
  return flat
