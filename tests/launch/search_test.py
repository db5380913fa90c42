"""End-to-end tests of `launch.search`: real processes on real files."""

import json
import random
import re
import signal
import time

import chex
import numpy as np
import pytest
from outcome import read, result_of, weights

from evo import ledger as ledger_lib


def wait_for_rounds(workdir, count):
  last = workdir / 'ledger' / f'{count - 1:08d}.json'
  deadline = time.monotonic() + 120
  while not last.exists():
    assert time.monotonic() < deadline
    time.sleep(0.01)


@pytest.fixture(scope='module', params=['evolution', 'pbt'])
def finished(request, launch, small, tmp_path_factory):
  """A finished small search: its folder, process and flags."""
  workdir = tmp_path_factory.mktemp('run') / request.param
  flags = [*small, f'--workdir={workdir}', f'--strategy={request.param}']
  process = launch('search', *flags)
  assert process.returncode == 0, process.err
  return workdir, process, flags


def test_a_search_leaves_all_its_files(finished):
  workdir, process, _ = finished
  for name in (
    'run.json',
    'events.jsonl',
    'result.json',
    'report.md',
    'ledger.csv',
    'ledger.jsonl',
    'staircase.png',
    'lineage.png',
    'champion/configuration.json',
    'champion/weights',
    'checkpoints',
    'ledger/00000000.json',
  ):
    assert (workdir / name).exists(), name
  assert not list(workdir.glob('*.draft'))
  assert 'report.md' in process.out


def test_a_search_starts_at_the_baseline_and_away_from_it(finished):
  run = read(finished[0] / 'run.json')
  free = run['space']['free']
  (first, *_) = ledger_lib.Ledger(finished[0] / 'ledger').records
  changed = [
    sum(leg['configuration'][name] != run['baseline'][name] for name in free)
    for leg in first['legs']
  ]
  assert changed[0] == 0 and changed[3] > len(free) / 2


def test_the_result_has_what_the_contract_names(finished):
  workdir, _, _ = finished
  result = read(workdir / 'result.json')
  for arm in ('baseline', 'champion'):
    assert set(result[arm]) >= {
      'configuration',
      'search_bpb',
      'confirm_bpb',
      'nats_per_token',
    }
  assert set(result['gain']) == {'mean', 'low', 'high', 'n'}
  difference = (
    result['baseline']['confirm_bpb'] - (result['champion']['confirm_bpb'])
  )
  assert result['gain']['mean'] == pytest.approx(difference)
  assert result['gain']['n'] == 3 == len(set(result['confirm_seeds']))
  assert result['stop_reason'] == 'max_members'
  assert len(result['data_digest']) == 64
  for name in ('members', 'tokens', 'flops', 'compilations'):
    assert result[name] > 0, name
  parts = sum(result[f'seconds_{name}'] for name in ('training', 'evaluating'))
  assert 0 < parts < result['seconds_searching'] < result['seconds']


def test_the_exports_account_for_every_leg_and_flop(finished):
  workdir, _, _ = finished
  lines = (workdir / 'ledger.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  result = read(workdir / 'result.json')
  for row in rows:
    assert set(row) >= {
      'member',
      'parent',
      'lineage_step',
      'start',
      'stop',
      'seed',
      'species',
      'configuration',
      'bpb',
      'flops',
      'tokens',
      'status',
    }
    assert row['tokens'] == (row['stop'] - row['start']) * 128
    assert row['lineage_step'] <= 40
  assert sum(row['flops'] for row in rows) == pytest.approx(result['flops'])
  assert sum(row['tokens'] for row in rows) == result['tokens']
  csv = (workdir / 'ledger.csv').read_text().splitlines()
  assert len(csv) == len(rows) + 1


def test_the_same_command_again_says_that_it_is_finished(finished, launch):
  workdir, _, flags = finished
  before = (workdir / 'result.json').read_bytes()
  again = launch('search', *flags)
  assert again.returncode == 0 and 'is finished' in again.out
  assert (workdir / 'result.json').read_bytes() == before


def test_a_larger_bound_goes_on(finished, launch, tmp_path):
  workdir, _, flags = finished
  records = len(list((workdir / 'ledger').iterdir()))
  copy = tmp_path / 'copy'
  import shutil

  shutil.copytree(workdir, copy)
  more = launch('search', *flags, f'--workdir={copy}', '--max_members=12')
  assert more.returncode == 0, more.err
  assert 'resuming' in more.err
  assert len(list((copy / 'ledger').iterdir())) > records


def test_status_tells_where_a_run_stands(finished, launch):
  workdir, _, _ = finished
  status = launch('status', f'--workdir={workdir}')
  assert status.returncode == 0, status.err
  assert 'max_members' in status.out or 'finished' in status.out


def test_the_champion_speaks(finished, launch):
  workdir, _, _ = finished
  flags = [f'--workdir={workdir}', '--prompt=7 times', '--length=40']
  first = launch('sample', *flags)
  assert first.returncode == 0, first.err
  # In bytes, of which several may be one character.
  assert first.out.startswith('7 times') and len(first.out.encode()) >= 48
  assert launch('sample', *flags).out == first.out
  assert launch('sample', *flags, '--seed=1').out != first.out


def test_killed_at_three_random_instants_a_run_ends_the_same(
  finished, launch, tmp_path
):
  workdir, _, flags = finished
  flags = [*flags, f'--workdir={tmp_path}/run']
  rounds = len(list((workdir / 'ledger').iterdir()))
  rng = random.Random(rounds)
  for count in sorted(rng.sample(range(1, rounds), 3)):
    process = launch('search', *flags, wait=False)
    wait_for_rounds(tmp_path / 'run', count)
    time.sleep(rng.random() * 0.1)
    process.kill()
    process.communicate()
  last = launch('search', *flags)
  assert last.returncode == 0, last.err
  assert result_of(tmp_path / 'run') == result_of(workdir)
  assert ledger_lib.Ledger(tmp_path / 'run/ledger').records == (
    ledger_lib.Ledger(workdir / 'ledger').records
  )
  chex.assert_trees_all_equal(
    weights(tmp_path / 'run/champion/weights'),
    weights(workdir / 'champion/weights'),
  )


@pytest.mark.parametrize(
  'how,code,reason',
  [
    (signal.SIGTERM, 42, 'sigterm'),
    (signal.SIGINT, 0, 'interrupted'),
    ('STOP', 0, 'stop_file'),
  ],
)
def test_a_run_stops_at_the_end_of_a_round_and_goes_on_when_asked(
  launch, small, tmp_path, how, code, reason
):
  flags = [*small, f'--workdir={tmp_path}/run', '--max_members=200']
  process = launch('search', *flags, wait=False)
  wait_for_rounds(tmp_path / 'run', 3)
  if how == 'STOP':
    (tmp_path / 'run/STOP').touch()
  else:
    process.send_signal(how)
  process.communicate(timeout=60)
  assert process.returncode == code
  assert read(tmp_path / 'run/result.json')['stop_reason'] == reason
  records = len(list((tmp_path / 'run/ledger').iterdir()))
  if how == 'STOP':
    refused = launch('search', *flags)
    assert refused.returncode == 0 and 'delete it' in refused.out
    (tmp_path / 'run/STOP').unlink()
  process = launch('search', *flags, wait=False)
  wait_for_rounds(tmp_path / 'run', records + 2)
  process.kill()
  process.communicate()


def test_one_member_trains_the_baseline_alone(launch, small, tmp_path):
  flags = [
    *small,
    f'--workdir={tmp_path}/run',
    '--max_members=1',
    '--population=1',
    '--tokenizer=char',
    '--splits=.9,.1,0,0',
    '--evaluation_tokens=0',
  ]
  process = launch('search', *flags)
  assert process.returncode == 0, process.err
  (nats,) = re.findall(
    r'^validation (\d+\.\d{4}) nats per token$', process.out, re.MULTILINE
  )
  assert f'validation {nats} nats' in launch('search', *flags).out
  result = read(tmp_path / 'run/result.json')
  assert result['gain'] is None and result['members'] == 1
  assert float(nats) == pytest.approx(
    result['champion']['nats_per_token'], abs=1e-4
  )
  # One token a character here, so bits per byte are bits per token.
  assert float(nats) == pytest.approx(
    result['champion']['search_bpb'] * np.log(2), rel=1e-3
  )


def test_a_second_mesh_gives_the_same_records(finished, launch, tmp_path):
  workdir, _, flags = finished
  flags = [*flags, f'--workdir={tmp_path}/run', '--mesh=member:1']
  process = launch('search', *flags)
  assert process.returncode == 0, process.err
  assert ledger_lib.Ledger(tmp_path / 'run/ledger').records == (
    ledger_lib.Ledger(workdir / 'ledger').records
  )


def test_bounds_and_budgets_in_flops_hold(launch, small, tmp_path):
  process = launch(
    'search',
    *small,
    f'--workdir={tmp_path}/run',
    '--strategy=random',
    '--member_flops=4e8',
    '--max_members=0',
    '--max_flops=8e9',
    '--segments=5',
    '--inherit_at=0',
    '--tiers=configuration,objective',
    '--mapping=vmap',
    '--mesh=member:2',
  )
  assert process.returncode == 0, process.err
  result = read(tmp_path / 'run/result.json')
  assert result['stop_reason'] == 'max_flops' and result['flops'] <= 8e9
  assert result['gain']['n'] == 3
  assert 'z_loss' in result['champion']['configuration']


def test_minutes_hold(launch, small, tmp_path):
  process = launch(
    'search',
    *small,
    f'--workdir={tmp_path}/run',
    '--strategy=pbt_tournament',
    '--max_members=0',
    '--max_minutes=0.25',
    '--splits=.8,.1,.1,0',
  )
  assert process.returncode == 0, process.err
  result = read(tmp_path / 'run/result.json')
  assert result['stop_reason'] == 'max_minutes'
  assert result['seconds'] < 20 and result['members'] > 8


def test_a_member_that_diverges_is_recorded_and_the_run_goes_on(
  launch, small, tmp_path
):
  space = read(next(f for f in small if '--space' in f).split('=')[1])
  space['parameters']['learning_rate'] |= {'low': 1e-3, 'high': 1e18}
  (tmp_path / 'space.json').write_text(json.dumps(space))
  flags = [f'--space={tmp_path}/space.json', f'--workdir={tmp_path}/run']
  process = launch('search', *small, *flags, '--strategy=random')
  assert process.returncode == 0, process.err
  result = read(tmp_path / 'run/result.json')
  assert result['diverged'] > 0 and result['gain'] is not None
  lines = (tmp_path / 'run/ledger.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  lost = [row for row in rows if row['status'] == 'diverged']
  assert lost and all(row['bpb'] is None for row in lost)


BAD = [
  (['--data=missing.txt'], 'missing.txt'),
  (['--tokenizer=word'], 'tokenizer'),
  (['--strategy=annealing'], 'annealing'),
  (['--space=nowhere'], 'nowhere'),
  (['--tiers=colour'], 'colour'),
  (['--splits=.5,.5,.5,.5'], 'split'),
  (['--splits=a,b'], 'split'),
  (['--population=0'], 'population'),
  (['--inherit_at=1.5'], 'inherit_at'),
  (['--confirm_seeds=2'], 'confirm_seeds'),
  (['--max_minutes=-1'], 'max_minutes'),
  (['--max_minutes=inf'], 'max_minutes'),
  (['--max_flops=nan'], 'max_flops'),
  (['--max_disk_gb=inf'], 'max_disk_gb'),
  (['--search_share=nan'], 'search_share'),
  (['--member_flops=inf'], 'member_flops'),
  (['--member_flops=1e30'], 'steps'),
  (['--mesh=member:²'], 'mesh'),
  (['--mesh=members:2'], 'mesh'),
  (['--mesh=member:3'], 'population is 4'),
  (['--member_tokens=10'], 'budget'),
  (['--populaton=4'], 'populaton'),
  (['--flagfile=nowhere.flags'], 'nowhere.flags'),
  (['--flagfile=mine/quick.flags'], 'mine/quick.flags'),
  (['surplus'], 'surplus'),
]


@pytest.mark.parametrize('flags,named', BAD, ids=[str(b[0][0]) for b in BAD])
def test_bad_input_is_answered_in_one_line_and_nothing_is_written(
  launch, small, tmp_path, flags, named
):
  process = launch('search', *small, f'--workdir={tmp_path}/run', *flags)
  assert process.returncode == 2, process.err
  (line,) = process.err.splitlines()
  assert re.fullmatch(r'error: .+; expected .+', line), line
  assert named in line
  assert not process.out and not list(tmp_path.iterdir())


@pytest.mark.parametrize('content', ['', 'too short'])
def test_too_little_text_is_refused(launch, small, tmp_path, content):
  (tmp_path / 'text.txt').write_text(content)
  flags = [f'--data={tmp_path}/text.txt', f'--workdir={tmp_path}/run']
  process = launch('search', *small, *flags)
  assert process.returncode == 2
  assert re.fullmatch(r'error: .+; expected .+\n', process.err), process.err
  assert not (tmp_path / 'run').exists()


def test_an_impossible_range_is_named_with_its_place(launch, small, tmp_path):
  space = read(next(f for f in small if '--space' in f).split('=')[1])
  space['parameters']['beta1'] |= {'low': 0.9, 'high': 0.8}
  (tmp_path / 'space.json').write_text(json.dumps(space))
  flags = [f'--space={tmp_path}/space.json', f'--workdir={tmp_path}/run']
  process = launch('search', *small, *flags)
  assert process.returncode == 2
  assert re.fullmatch(r'error: .*beta1.*; expected .+\n', process.err)
  assert not (tmp_path / 'run').exists()


def test_a_workdir_of_another_run_is_left_alone(finished, launch):
  workdir, _, flags = finished
  before = {p: p.stat().st_mtime_ns for p in workdir.rglob('*')}
  process = launch('search', *flags, '--seed=5')
  assert process.returncode == 2
  assert re.fullmatch(r'error: .*--seed=0.*; expected .+\n', process.err)
  assert {p: p.stat().st_mtime_ns for p in workdir.rglob('*')} == before


def test_a_folder_of_other_files_is_left_alone(launch, small, tmp_path):
  (tmp_path / 'thesis.tex').write_text('mine')
  process = launch('search', *small, f'--workdir={tmp_path}')
  assert process.returncode == 2 and 'other files' in process.err
  assert [p.name for p in tmp_path.iterdir()] == ['thesis.tex']


@pytest.mark.parametrize(
  'name,flag',
  [('search', 'strategy'), ('status', 'workdir'), ('sample', 'prompt')],
)
def test_help_tells_what_a_command_is_for_and_its_flags(launch, name, flag):
  process = launch(name, '--help')
  assert process.returncode == 0
  assert f'python -m launch.{name}' in process.out
  assert f'--{flag}' in process.out and '--alsologtostderr' not in process.out


@pytest.mark.parametrize('name', ['status', 'sample'])
def test_a_missing_workdir_is_bad_input(launch, tmp_path, name):
  process = launch(name, f'--workdir={tmp_path}/none')
  assert process.returncode == 2
  assert re.fullmatch(r'error: .+; expected .+\n', process.err)


def test_no_flags_are_the_quick_preset(tmp_path):
  from absl import flags

  from launch import cli, search  # Which defines the flags.

  assert search.__doc__.startswith('Searches')
  settings_file = cli.PRESETS / 'quick.flags'
  for line in settings_file.read_text().splitlines():
    if line.startswith('--'):
      name, _, value = line[2:].partition('=')
      default = flags.FLAGS[name].default
      parsed = flags.FLAGS[name].parser.parse(value)
      assert parsed == flags.FLAGS[name].parser.parse(default), name


@pytest.fixture(scope='module')
def campaign(launch, small, tmp_path_factory):
  """A whole campaign: its folder and flags."""
  folder = tmp_path_factory.mktemp('campaign')
  lines = [f'{i} and {i} make {2 * i}, said they.\n' for i in range(8000)]
  (folder / 'other.txt').write_text(''.join(lines))
  flags = [
    *small,
    '--phases=calibrate,search,confirm,ablate,transfer,locked',
    '--confirm_seeds=6',
    '--member_tokens=10240',
    f'--transfer_data={folder}/other.txt',
    f'--workdir={folder}/run',
  ]
  process = launch('search', *flags)
  assert process.returncode == 0, process.err
  return folder / 'run', flags


def test_what_will_be_ablated_is_searched_from_near_the_baseline(campaign):
  records = ledger_lib.Ledger(campaign[0] / 'ledger').records
  search = next(r for r in records if r['phase'] == 'search')
  baseline, *near = [leg['configuration'] for leg in search['legs']]
  for configuration in near:
    changes = [name for name, v in configuration.items() if v != baseline[name]]
    assert 0 < len(changes) <= 6


def test_a_whole_campaign_gives_a_verdict_on_every_change(campaign, launch):
  run, flags = campaign
  result = read(run / 'result.json')
  value = read(run / 'improvements.json')
  changed = {
    name
    for name, after in result['champion']['configuration'].items()
    if after != result['baseline']['configuration'][name]
  }
  found = {x['parameter']: x for x in value['improvements']}
  assert set(found) <= changed and found
  for entry in found.values():
    assert entry['verdict'] in ('confirmed', 'refuted', 'undecided')
    assert entry['n'] == 6 and entry['low'] < entry['effect'] < entry['high']
    assert (entry['at_scale'] is not None) == (entry['verdict'] == 'confirmed')
  assert value['summary']['confirmed'] > 0
  assert result['noise']['n'] == 8 and result['noise']['sd'] > 0
  (folder,) = (run / 'transfer').iterdir()
  larger = ledger_lib.Ledger(folder / 'ledger').records
  depths = {leg['configuration']['depth'] for r in larger for leg in r['legs']}
  assert depths == {2}
  report = (run / 'report.md').read_text()
  assert 'of these' in report and 'confirmed' in report
  assert report.splitlines()[2].startswith('**Verified: ')
  assert (run / 'pace.png').read_bytes().startswith(b'\x89PNG')
  locked = value['summary']['locked']
  assert locked['n'] == 8 and locked['low'] < locked['mean'] < locked['high']
  stack = read(run / 'stack.json')
  assert stack == value['summary']['stack']
  kept = {name for name, x in found.items() if x['kept']}
  without = {path.stem for path in (run / 'without').iterdir()}
  assert without == kept
  for name in kept:
    left = read(run / 'without' / f'{name}.json')
    assert left == stack | {name: result['baseline']['configuration'][name]}
  assert result['seconds_to_confirmed']['1'] < result['seconds']
  # The headline was read: there is no going on from here.
  again = launch('search', *flags, '--max_members=40')
  assert 'is finished; its locked split was read' in again.out
  assert read(run / 'result.json') == result


@pytest.mark.slow
def test_killed_in_every_phase_a_campaign_comes_to_the_same_verdicts(
  campaign, launch, tmp_path
):
  workdir, flags = campaign
  flags = [*flags, f'--workdir={tmp_path}/run']
  (larger,) = (workdir / 'transfer').iterdir()
  larger = larger.relative_to(workdir)
  phases = [r['phase'] for r in ledger_lib.Ledger(workdir / 'ledger').records]
  assert list(dict.fromkeys(phases)) == (
    'calibrate search confirm ablate eliminate locked'.split()
  )
  rng = random.Random(0)
  instants = [
    ('.', rng.choice([i for i, name in enumerate(phases) if name == phase]))
    for phase in dict.fromkeys(phases)
  ]
  rounds = len(ledger_lib.Ledger(workdir / larger / 'ledger').records)
  instants.insert(-1, (larger, rng.randrange(rounds)))
  for where, count in instants:
    process = launch('search', *flags, wait=False)
    wait_for_rounds(tmp_path / 'run' / where, count + 1)
    time.sleep(rng.random() * 0.1)
    process.kill()
    process.communicate()
  assert launch('search', *flags).returncode == 0
  for where in ('.', larger):
    for path in (workdir / where / 'ledger').iterdir():
      own = tmp_path / 'run' / where / 'ledger' / path.name
      assert own.read_bytes() == path.read_bytes()
  for name in ('improvements.json', 'stack.json'):
    own = (tmp_path / 'run' / name).read_bytes()
    assert own == (workdir / name).read_bytes()
  own = result_of(tmp_path / 'run')
  assert own == result_of(workdir)


@pytest.mark.parametrize(
  'flag',
  [
    '--phases=search,ablate',
    '--phases=confirm,search',
    '--phases=search,confirm,locked',
    '--transfer=depth',
    '--transfer_data=nowhere.txt',
    '--transfer=learning_rate:2',
    '--transfer=nothing:2',
  ],
)
def test_phases_and_scales_that_cannot_be_are_refused(
  flag, launch, small, tmp_path
):
  phases = '--phases=calibrate,search,confirm,ablate,transfer'
  process = launch('search', *small, phases, flag, f'--workdir={tmp_path}/run')
  assert process.returncode == 2
  assert 'expected' in process.err.splitlines()[-1]
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  'flags,phases,pairs',
  [
    pytest.param(
      ['--max_minutes=29'], 'search,confirm', 4, marks=pytest.mark.slow
    ),
    (
      ['--max_minutes=30'],
      'calibrate,search,confirm,ablate,transfer,locked',
      16,
    ),
    (['--max_minutes=30', '--phases=search,confirm'], 'search,confirm', 4),
    pytest.param(
      ['--max_members=40', '--phases=search,confirm,ablate'],
      'search,confirm,ablate',
      16,
      marks=pytest.mark.slow,
    ),
  ],
)
def test_from_half_an_hour_on_a_search_is_a_whole_campaign(
  flags, phases, pairs, launch, small, tmp_path
):
  own = [f for f in small if '--confirm_seeds' not in f and '--max' not in f]
  process = launch(
    'search', *own, *flags, f'--workdir={tmp_path}/run', wait=False
  )
  wait_for_rounds(tmp_path / 'run', 1)
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=60)
  given = read(tmp_path / 'run/run.json')['flags']
  assert given['phases'] == phases.split(',')
  assert given['confirm_seeds'] == pairs
  # It is the same run with another bound, on either side of half an hour.
  (tmp_path / 'run/STOP').touch()
  again = launch(
    'search', *own, '--max_minutes=31', f'--workdir={tmp_path}/run'
  )
  assert again.returncode == 0 and 'STOP' in again.out
