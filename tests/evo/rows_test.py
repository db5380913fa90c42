"""Tests of rows and of their exports."""

import csv
import json
import math

from evo import rows as rows_lib
from evo import space as space_lib
from evo import strategies


def test_rows_count_in_training_steps(leg, ended, records, line_run):
  begun = leg(0, stop=3, keep=True)
  later = leg(0, start=3)
  rows = rows_lib.leg_rows(
    records(
      ('search', [begun], []),
      ('search', [], [ended(begun)]),
      ('search', [later], [ended(later, 1.5)]),
    ),
    line_run,
  )
  assert [(r['start'], r['stop'], r['lineage_step']) for r in rows] == [
    (0, 15, 15),
    (15, 50, 50),
  ]
  assert [row['bpb'] for row in rows] == [None, 1.5]
  assert [row['status'] for row in rows] == ['ok', 'ok']
  assert [row['source'] for row in rows] == [None, [0, 15]]
  assert [row['round'] for row in rows] == [1, 2]


def test_a_culled_member_ends_before_its_stop(leg, ended, records, line_run):
  lost = leg(0)
  (row,) = rows_lib.leg_rows(
    records(('search', [lost], [ended(lost, stop=4)])), line_run
  )
  assert (row['status'], row['bpb']) == ('diverged', None)
  assert (row['lineage_step'], row['stop']) == (20, 50)


def test_a_leg_at_work_when_the_run_stopped_is_stopped_and_free(
  leg, records, line_run
):
  (row,) = rows_lib.leg_rows(
    records(('search', [leg(0)], []), ('search', [], [])), line_run
  )
  assert (row['status'], row['bpb'], row['flops']) == ('stopped', None, 0)
  assert row['lineage_step'] == 10  # Two rounds of five steps.


def test_steps_are_those_of_the_species(leg, ended, records, line_run):
  slow = {'species': 1, 'steps_per_segment': 2}
  legs = [leg(0, stop=3), leg(1, start=3, source=[0, 3], **slow)]
  done = [ended(legs[0], stop=3), ended(legs[1], 1.0)]
  rows = rows_lib.leg_rows(records(('search', legs, done)), line_run)
  assert [row['species'] for row in rows] == [0, 1]
  assert [row['budget'] for row in rows] == [50, 20]
  assert [row['lineage_step'] for row in rows] == [15, 20]
  assert rows[1]['start'] == 6 and rows[1]['source'] == [0, 15]


def test_the_exported_ledger_sums_to_the_result(
  make_campaign, tmp_path, outcome
):
  result, rows, _ = outcome(make_campaign(tmp_path, inherit_at=0.3), tmp_path)
  rows_lib.write_exports(tmp_path, rows)
  lines = (tmp_path / 'ledger.jsonl').read_text().splitlines()
  read = [json.loads(line) for line in lines]
  assert read == rows
  assert sum(row['flops'] for row in read) == result['flops']
  with (tmp_path / 'ledger.csv').open() as file:
    cells = list(csv.DictReader(file))
  assert len(cells) == len(rows)
  for cell, row in zip(cells, rows, strict=True):
    assert float(cell['configuration.h0']) == row['configuration']['h0']
    assert cell['negative_q'] == str(
      '' if row['negative_q'] is None else row['negative_q']
    )


def test_an_unscored_population_gives_rows_for_any_strategy(
  leg, records, line_run
):
  shape = space_lib.Space.from_json(line_run['space'])
  for name in strategies.NAMES:
    asked = strategies.make(name, shape, population=4).ask(4)
    legs = [leg(0) | one.to_json() for one in asked]
    content = records(('search', legs, []))
    rows = rows_lib.leg_rows(content, line_run)
    assert len(rows) == 4
    assert all(math.isfinite(row['stop']) for row in rows)


def test_a_leg_that_ended_before_its_budget_is_not_tried(made, leg, searched):
  # As of the parents of an evolution that inherits, early in its search.
  _, rows, _ = made(searched((leg(0, stop=3), None), (leg(1), None)))
  assert [row['member'] for row in rows_lib.tried(rows)] == [1]
  assert rows_lib.finished(rows) == []
