"""End-to-end tests of `launch.train`: one configuration, from scratch."""

import json
import pathlib
import re
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from evo import space as space_lib
from launch import experiment as experiment_lib

# Of a search, and of no meaning here.
_SEARCH = ('--max_members', '--confirm_seeds', '--population')


def read(path):
  return json.loads(pathlib.Path(path).read_text())


def weights(workdir):
  """Arrays that a training left."""
  with ocp.StandardCheckpointer() as checkpointer:
    return checkpointer.restore((workdir / 'weights').resolve())


def seconds_of(ledger):
  """When each record was written."""
  return {path.name: path.stat().st_mtime_ns for path in ledger.iterdir()}


@pytest.fixture(scope='session')
def text(small):
  """Flags that say what is trained on, and for how long."""
  return [flag for flag in small if not flag.startswith(_SEARCH)]


@pytest.fixture(scope='session')
def baseline(text):
  """The defaults of the space."""
  space = next(flag for flag in text if flag.startswith('--space'))
  parameters = read(space.split('=')[1])['parameters']
  return {name: p['default'] for name, p in parameters.items()}


@pytest.fixture(scope='session')
def found(baseline, tmp_path_factory):
  """The file of a configuration that learns faster than the baseline."""
  path = tmp_path_factory.mktemp('found') / 'configuration.json'
  path.write_text(json.dumps(baseline | {'learning_rate': 5e-3}))
  return path


@pytest.fixture(scope='module')
def alone(launch, text, found, tmp_path_factory):
  """A configuration trained once: the folder, the process, the flags."""
  workdir = tmp_path_factory.mktemp('train') / 'run'
  flags = [*text, f'--configuration={found}', f'--workdir={workdir}']
  process = launch('train', *flags)
  assert process.returncode == 0, process.err
  return workdir, process, flags


def test_a_configuration_is_trained_and_leaves_its_loss(alone, found):
  workdir, process, _ = alone
  value = read(workdir / 'train.json')
  assert value['metric'] == 'bpb' and value['split'] == 'confirm'
  assert set(value['splits']) == {'confirm', 'search'}  # Never locked.
  assert value['losses'] == value['splits']['confirm']
  assert list(value['losses']) == ['configuration']
  ((loss,),) = value['losses'].values()
  assert 0 < loss < 8
  assert value['against'] is value['gain'] is value['wins'] is None
  assert value['configuration'] == read(found)
  assert value['tokens'] == 5120 and value['flops'] > 0
  assert re.fullmatch(r'1 run, .* FLOPs\n', process.err)
  flops = float(re.findall(r', (.*) FLOPs', process.err)[0])
  assert flops == pytest.approx(value['flops'], rel=0.05)
  assert f'{loss:.4f}' in process.out
  # A token is a byte here.
  nats = f'validation {loss * np.log(2):.4f} nats per token'
  assert nats in process.out.splitlines()


def test_its_weights_give_the_loss(alone):
  workdir, _, _ = alone
  run, value = read(workdir / 'run.json'), read(workdir / 'train.json')
  space = space_lib.Space.from_json(run['space'])
  trainee = experiment_lib.load_trainee(run['flags'], space)
  assert trainee.digest == run['data_digest']
  configuration = read(workdir / 'configuration.json')
  assert configuration == value['configuration']
  loss = trainee.evaluate(
    space.structure(configuration),
    trainee.data['confirm'],
    space.hyperparameters(configuration),
    {'weights': jax.tree.map(jnp.asarray, weights(workdir))},
  )
  assert float(loss) == pytest.approx(
    value['losses']['configuration'][0], rel=1e-5
  )


def test_the_same_command_again_trains_nothing(alone, launch):
  workdir, process, flags = alone
  before = seconds_of(workdir / 'ledger')
  again = launch('train', *flags)
  assert again.returncode == 0 and again.out == process.out
  assert not again.err
  assert seconds_of(workdir / 'ledger') == before


def test_another_configuration_is_refused_in_the_same_workdir(
  alone, launch, baseline, tmp_path
):
  workdir, _, flags = alone
  before = (workdir / 'train.json').read_bytes()
  process = launch('train', *flags, '--seeds=2')
  assert process.returncode == 2 and '--seeds=1, not 2' in process.err
  # The same flags, but another content of the file.
  path = tmp_path / 'mine.json'
  path.write_text(json.dumps(baseline))
  flags = [*flags, f'--workdir={tmp_path}/run', f'--configuration={path}']
  assert launch('train', *flags).returncode == 0
  path.write_text(json.dumps(baseline | {'learning_rate': 2e-3}))
  process = launch('train', *flags)
  assert process.returncode == 2
  assert re.fullmatch(
    r'error: the configuration of .+; expected .+\n', process.err
  )
  assert (workdir / 'train.json').read_bytes() == before


def test_beside_the_baseline_it_has_a_gain_and_the_same_loss(
  alone, launch, baseline, text, found, tmp_path
):
  process = launch(
    'train',
    *text,
    f'--configuration={found}',
    f'--workdir={tmp_path}/run',
    '--against=baseline',
    '--seeds=2',
  )
  assert process.returncode == 0, process.err
  value = read(tmp_path / 'run/train.json')
  assert process.err.startswith('4 runs, ')
  assert value['against'] == baseline
  own, other = (value['losses'][arm] for arm in ('configuration', 'against'))
  gains = np.array(other) - own
  assert set(value['gain']) == {'mean', 'low', 'high', 'n'}
  assert value['gain']['n'] == 2 == len(set(value['seeds']))
  assert value['gain']['mean'] == pytest.approx(gains.mean())
  assert value['gain']['low'] < gains.min()  # As wide as two seeds leave it.
  # Five times the baseline's learning rate: no narrow thing in 40 steps.
  assert gains.min() > 0 and value['wins'] == 2
  mean = f'{gains.mean():+.4f} bpb'
  assert mean in process.out and 'no worse in 2 of 2 seeds' in process.out
  # What stands beside it, and how many seeds follow, changes nothing.
  before = read(alone[0] / 'train.json')
  assert own[0] == before['losses']['configuration'][0]
  assert value['seeds'][0] == before['seeds'][0]
  chex.assert_trees_all_equal(weights(tmp_path / 'run'), weights(alone[0]))


def test_arms_share_their_seeds(launch, text, found, tmp_path):
  process = launch(
    'train',
    *text,
    f'--configuration={found}',
    f'--against={found}',
    f'--workdir={tmp_path}/run',
    '--seeds=2',
    '--seed=1',
  )
  assert process.returncode == 0, process.err
  value = read(tmp_path / 'run/train.json')
  own, other = value['losses'].values()
  assert own == other and own[0] != own[1]
  assert value['gain'] == {'mean': 0, 'low': 0, 'high': 0, 'n': 2}
  assert value['wins'] == 2  # No worse.


def test_stopped_and_resumed_it_ends_the_same(launch, text, found, tmp_path):
  # One after another: the first run has long ended, and only its kept state
  # is left, when the first checkpoint of all slots is written in round 63.
  flags = [
    *text,
    f'--configuration={found}',
    '--against=baseline',
    '--seeds=3',
    '--population=1',
    '--segments=20',
  ]
  whole = launch('train', *flags, f'--workdir={tmp_path}/whole')
  assert whole.returncode == 0, whole.err
  run = tmp_path / 'run'
  process = launch('train', *flags, f'--workdir={run}', wait=False)
  deadline = time.monotonic() + 120
  while not (run / 'ledger/00000065.json').exists():
    assert time.monotonic() < deadline
    time.sleep(0.01)
  (run / 'STOP').touch()
  out, err = process.communicate(timeout=60)
  assert process.returncode == 0, err
  assert 'stopped (stop_file); the same command goes on' in out
  assert not (run / 'train.json').exists()
  refused = launch('train', *flags, f'--workdir={run}')
  assert refused.returncode == 0 and 'delete it' in refused.out
  (run / 'STOP').unlink()
  before = seconds_of(run / 'ledger')
  resumed = launch('train', *flags, f'--workdir={run}')
  assert resumed.returncode == 0, resumed.err
  assert resumed.out == whole.out
  for name in ('train.json', 'configuration.json'):
    assert (run / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()
  chex.assert_trees_all_equal(weights(run), weights(tmp_path / 'whole'))
  after = seconds_of(run / 'ledger')
  assert before.items() <= after.items() and len(before) < len(after)


@pytest.mark.slow
def test_any_structure_is_trained_at_the_budget_of_the_baseline(
  launch, baseline, text, tmp_path
):
  # Larger in every way than --tiers or a search would let it be, and scored on
  # the whole split, which costs more than a search lets an evaluation cost.
  path = tmp_path / 'large.json'
  large = {'width': 64, 'depth': 2, 'context': 64, 'optimiser': 'lion'}
  path.write_text(json.dumps(baseline | large))
  process = launch(
    'train',
    *text,
    f'--configuration={path}',
    '--against=baseline',
    f'--workdir={tmp_path}/run',
    '--splits=.8,.2,0,0',
    '--evaluation_tokens=0',
    '--member_tokens=20480',
  )
  assert process.returncode == 0, process.err
  value = read(tmp_path / 'run/train.json')
  assert value['split'] == 'search' and list(value['splits']) == ['search']
  assert value['gain'] is None  # One seed has no interval.
  own, other = (losses[0] for losses in value['losses'].values())
  assert f'{other - own:+.4f} bpb' in process.out
  lines = (tmp_path / 'run/ledger').iterdir()
  records = [read(path) for path in sorted(lines)]
  tokens = {}
  for record in records:
    for result in record['results']:
      tokens[result['member']] = result['tokens']
  # As many FLOPs each: fewer tokens for the larger one.
  assert tokens[0] < tokens[1] == 20480


def test_a_run_that_fails_has_no_loss_and_no_weights(
  launch, baseline, text, tmp_path
):
  space = read(next(f for f in text if '--space' in f).split('=')[1])
  space['parameters']['learning_rate']['high'] = 1e18
  (tmp_path / 'space.json').write_text(json.dumps(space))
  path = tmp_path / 'wild.json'
  path.write_text(json.dumps(baseline | {'learning_rate': 1e17}))
  process = launch(
    'train',
    *text,
    f'--space={tmp_path}/space.json',
    f'--configuration={path}',
    '--against=baseline',
    '--seeds=2',
    f'--workdir={tmp_path}/run',
  )
  assert process.returncode == 0, process.err
  value = read(tmp_path / 'run/train.json')
  assert value['losses']['configuration'] == [None, None]
  assert value['gain'] is None and value['wins'] == 0
  assert 'failed on a seed' in process.out and 'validation' not in process.out
  assert not (tmp_path / 'run/weights').exists()


BAD = [
  ({}, ['--configuration='], '--configuration is missing'),
  ({}, ['--configuration=none.json'], 'none.json'),
  ({}, ['--against=none.json'], 'none.json'),
  ({'depth': None}, [], 'depth is missing'),
  ({'learning_rate': 'fast'}, [], 'learning_rate is "fast"'),
  ({'colour': 1}, [], 'colour = 1 is unknown'),
  ({}, ['--seeds=0'], '--seeds=0'),
  ({}, ['--member_tokens=10'], 'budget'),
  ({'width': 384, 'depth': 8}, ['--against=baseline'], 'budget'),
  ({}, ['--data=none.txt'], 'none.txt'),
]


@pytest.mark.parametrize('changes,flags,named', BAD, ids=[b[2] for b in BAD])
def test_bad_input_is_answered_in_one_line_and_nothing_is_written(
  launch, baseline, text, tmp_path, changes, flags, named
):
  path = tmp_path / 'mine.json'
  values = baseline | changes
  path.write_text(
    json.dumps({k: v for k, v in values.items() if v is not None})
  )
  workdir = tmp_path / 'run'
  flags = [f'--configuration={path}', f'--workdir={workdir}', *flags]
  process = launch('train', *text, *flags)
  assert process.returncode == 2, process.err
  (line,) = process.err.splitlines()
  assert re.fullmatch(r'error: .+; expected .+', line), line
  assert named in line
  assert not process.out and not workdir.exists()


def test_a_file_that_is_no_configuration_is_named(launch, text, tmp_path):
  path = tmp_path / 'list.json'
  path.write_text('[1, 2')
  process = launch('train', *text, f'--configuration={path}')
  assert process.returncode == 2
  assert re.fullmatch(
    rf'error: {path}: not JSON .+; expected .+\n', process.err
  )
