"""Tests of what a report says about changes."""

import pytest

from evo import pace as pace_lib
from evo import verdicts, wording

NOTHING = {'effect': None, 'low': None, 'high': None}
RUN = {
  'flags': {
    'workdir': 'runs/x',
    'data': 'in put.txt',
    'tokenizer': 'byte',
    'space': 'nanogpt',
    'member_tokens': 92160,
    'member_flops': None,
  }
}


def change(name, verdict, effect=None, **values):
  known = effect is not None
  return {
    'parameter': name,
    'tier': 'objective',
    'cycle': 1,
    'before': 0.1,
    'after': 0.25,
    'screen': -0.03,
    'kept': verdict == 'confirmed',
    'verdict': verdict,
    'effect': effect,
    'low': effect - 0.01 if known else None,
    'high': effect + 0.01 if known else None,
    'n': 6 if known else 0,
    'p_adjusted': 0.01234 if known else None,
    'add_one_in': {'effect': -0.05} if known else NOTHING,
    'at_scale': None,
  } | values


@pytest.fixture
def content():
  """Content of improvements.json."""
  scale = {'effect': -0.2, 'low': -0.3, 'high': -0.1, 'n': 6, 'sign': 'same'}
  own = {'effect': -0.03, 'low': -0.05, 'high': -0.01, 'n': 3, 'sign': 'same'}
  changes = [
    change('rate', 'confirmed', -0.04, at_scale=own),
    change('decay', 'refuted', 0.002),
    change('norm', 'undecided'),
  ]
  cycle = {
    'cycle': 1,
    'passed': True,
    'gates': 1,
    'measured': {'mean': 0.05, 'low': 0.03, 'high': 0.07, 'n': 6},
    'gain': {'mean': 0.05, 'low': 0.03, 'high': 0.07, 'n': 6},
    'total': {'mean': 0.09, 'low': 0.07, 'high': 0.11, 'n': 6},
    'flops': 2e15,
    'gain_per_exaflop': 25.0,
    'members': 40,
    'greedy_kept': 7,
    'changes': 3,
    'confirmed': 1,
    'kept': 1,
    'sum_of_single_gains': None,
  }
  return {
    'improvements': changes,
    'summary': {
      'changes': 3,
      'confirmed': 1,
      'refuted': 1,
      'undecided': 1,
      'level': 0.05,
      'left_out': None,
      'untested': None,
      'locked_failed': False,
      'stack': {'rate': 0.25},
      'early_stopping': {'runs': 30, 'fixed': 80, 'saved': 0.625},
      'stack_at_scale': scale,
      'locked': {
        'mean': 0.06,
        'low': 0.05,
        'high': 0.07,
        'n': 8,
        'baseline': 2.0,
        'stack': 1.94,
      },
      'cycles': [cycle],
    },
  }


def test_the_headline_holds_gain_scale_counts_and_why_it_stopped(content):
  result = {'metric': 'bpb', 'stop_reason': 'max_minutes'}
  assert wording.verified(result, content) == (
    'Verified: +0.0600 bpb (3.0%) over the baseline on the locked split (95%'
    ' interval [+0.0500, +0.0700], 8 fresh seeds), and +0.2000 [+0.1000,'
    ' +0.3000] at a larger scale; 1 confirmed, 1 refuted and 1 undecided of 3'
    ' changes tried; stopped, because the bound on time was reached'
    ' (--max_minutes).'
  )
  content['summary']['locked'] = None
  assert wording.verified(result, content) is None


def test_every_change_has_a_row_with_its_numbers_or_dashes(content):
  text = verdicts.verdicts(content, 'bpb')
  assert text.startswith(
    '**1 confirmed, 1 refuted and 1 undecided of 3 changes'
  )
  rows = [line for line in text.splitlines() if line.startswith('| ')]
  assert len(rows) == 5
  cells = [cell.strip() for cell in rows[2].strip('|').split('|')]
  assert cells == ['rate', 'objective', '1', '0.1', '0.25', '-0.0300'] + [
    '-0.0400',
    r'\[-0.0500, -0.0300\]',
    '6',
    '0.012',
    '-0.0500',
    '-0.0300 (same)',
    'confirmed',
    'yes',
  ]
  assert rows[4].split('|')[7:11] == [' - ', ' - ', ' 0 ', ' - ']
  assert '-0.2000 [-0.3000, -0.1000] there, over 6 pairs' in text


def test_what_was_left_out_is_said(content):
  content['summary']['stack_at_scale'] = None
  assert '(transfer) was left out' in verdicts.verdicts(content, 'bpb')
  content['summary']['left_out'] = 'ablation'
  text = verdicts.verdicts(content, 'bpb')
  assert '(ablation)' in text and '|' not in text


@pytest.mark.parametrize(
  'why,words',
  [('no gate passed', 'No champion passed'), ('no room', 'no room')],
)
def test_why_no_change_was_tested_is_said(why, words, content):
  content['summary']['untested'] = why
  text = verdicts.verdicts(content, 'bpb')
  assert words in text and '| norm |' in text
  content['improvements'] = []
  assert '|' not in verdicts.verdicts(content, 'bpb')


def test_a_run_that_failed_on_the_locked_split_is_not_silent(
  content, made, leg, searched
):
  result, _, _ = made(searched((leg(0), 2.0), (leg(1, {'x': 0.7}), 1.0)))
  content['summary'] |= {'locked': None, 'locked_failed': True}
  text = wording.verified(result, content)
  assert text.startswith(wording.headline(result))
  assert text.endswith(
    'On the locked split a run failed, so there is no gain to tell.'
  )
  assert wording.locked_read(content)


def test_pace_tells_quarters_cycles_tiers_and_when(content):
  pace = pace_lib.Pace(
    flops=100.0,
    screen=[(0.0, 0.0), (10.0, 0.07)],
    verified=[(0.0, 0.0), (60.0, 0.05)],
    null=[(0.0, 0.0), (10.0, 0.01)],
    null_high=[(0.0, 0.0), (10.0, 0.02)],
    confirmed=[(80.0, 5, 1)],
  )
  result = {'seconds_to_confirmed': {'1': 90.0, '5': None, '10': None}}
  text = verdicts.pace(pace, content, result, 'bpb')
  assert '| 50% | +0.0000 | +0.0700 | +0.0100 |' in text
  assert '| 75% | +0.0500 | +0.0700 | +0.0100 |' in text
  row = (
    r'| 1 | passed | +0.0500 | \[+0.0300, +0.0700\] | +0.0900 | 2e+15 | 25 |'
  )
  assert row + ' 40 | 7 |' in text
  assert '| objective | 3 | 1 | 1 | 1 | +0.0400 |' in text
  assert 'took 30 runs' in text and 'taken 80: 62% were saved' in text
  assert text.endswith('Confirmed changes: the first after 1.5 min.')


def test_what_a_gate_did_not_pass_is_in_no_column_of_verified_gains(content):
  (cycle,) = content['summary']['cycles']
  cycle |= {'passed': False, 'gain': None, 'gain_per_exaflop': None}
  cycle |= {'total': None, 'measured': cycle['measured'] | {'low': -0.01}}
  pace = pace_lib.Pace(1.0, [(0.0, 0.0)], [(0.0, 0.0)], [], [], [])
  text = verdicts.pace(pace, content, {}, 'bpb')
  assert '| 1 | not passed | - | - | - | 2e+15 | - | 40 | 7 |' in text
  cycle |= {'measured': None, 'gates': 0}
  assert '| 1 | - | - | - | - |' in verdicts.pace(pace, content, {}, 'bpb')


def test_commands_train_the_stack_and_test_a_change_again(content):
  text = verdicts.commands(content, RUN)
  assert "--configuration=runs/x/stack.json \\\n  --data='in put.txt'" in text
  assert '--against=runs/x/without/PARAMETER.json --seeds=6' in text
  assert '--member_flops' not in text
  content['summary']['stack'] = None
  assert verdicts.commands(content, RUN) is None
