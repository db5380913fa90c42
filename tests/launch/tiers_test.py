"""End-to-end tests of a search over all tiers: real processes, real programs."""

import json

import pytest
import small as small_lib

SPACE = {
  'name': 'tiny',
  'extends': 'nanochat',
  'parameters': {
    'depth': {'low': 1, 'high': 2, 'default': 1},
    'optimiser': {'choices': ['adamw', 'lion'], 'default': 'adamw'},
  },
  'fixed': {k: v for k, v in small_lib.SMALL.items() if k != 'depth'},
  'free': ['depth', 'tied', 'optimiser', 'learning_rate', 'qk_scale', 'z_loss'],
}
TIERS = '--tiers=configuration,architecture,objective'


@pytest.fixture(scope='module')
def finished(launch, small, tmp_path_factory):
  """A finished search over structures: its folder, process and flags."""
  folder = tmp_path_factory.mktemp('tiers')
  (folder / 'space.json').write_text(json.dumps(SPACE))
  flags = [*small, TIERS, f'--space={folder}/space.json', '--max_species=3']
  flags += ['--max_members=12']
  process = launch('search', *flags, f'--workdir={folder}/run')
  assert process.returncode == 0, process.err
  return folder / 'run', process, flags


def rows_of(workdir):
  lines = (workdir / 'ledger.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_species_and_their_cost_are_in_the_ledger(finished):
  workdir, process, _ = finished
  rows = rows_of(workdir)
  result = json.loads((workdir / 'result.json').read_text())
  search = {row['species'] for row in rows if row['phase'] == 'search'}
  assert len(search) == result['species'] >= 3
  # The first member is the baseline, whose tokens the budget counts.
  budget = 5120 * rows[0]['flops_per_token']
  for species in search:
    facts = {
      (row['weights'], row['flops_per_token'], row['budget'])
      for row in rows
      if row['species'] == species
    }
    assert len(facts) == 1
    ((_, flops_per_token, steps),) = facts
    # As many whole steps in each of ten segments as the budget pays for.
    step = flops_per_token * 4 * 32
    assert steps * step <= budget * (1 + 1e-9) < (steps + 10) * step
  assert result['gain'] or result['gain_missing'], process.out


def test_some_weights_pass_between_structures(finished):
  rows = rows_of(finished[0])
  species = {row['member']: row['species'] for row in rows}
  crossed = [
    row['inherited']
    for row in rows
    if row['source'] and species[row['source'][0]] != row['species']
  ]
  assert all(0.5 <= share <= 1 for share in crossed)


def test_the_champion_of_any_structure_speaks(finished, launch):
  flags = [f'--workdir={finished[0]}', '--prompt=7 times', '--length=20']
  process = launch('sample', *flags)
  assert process.returncode == 0, process.err
  assert process.out.startswith('7 times') and len(process.out) >= 28


@pytest.mark.slow
def test_killed_a_search_over_structures_ends_the_same(
  finished, launch, tmp_path
):
  workdir, _, flags = finished
  flags = [*flags, f'--workdir={tmp_path}/run']
  process = launch('search', *flags, wait=False)
  ledger = tmp_path / 'run' / 'ledger'
  while not (ledger / '00000012.json').exists():
    assert process.poll() is None
  process.kill()
  process.communicate()
  assert launch('search', *flags).returncode == 0
  for path in (workdir / 'ledger').iterdir():
    assert path.read_bytes() == (ledger / path.name).read_bytes()


def test_another_max_species_goes_on_with_the_run(finished, launch, tmp_path):
  workdir, _, flags = finished
  again = launch('search', *flags, '--max_species=2', f'--workdir={workdir}')
  assert again.returncode == 0 and 'is finished' in again.out


@pytest.mark.parametrize(
  'parameters,complaint',
  [
    ({'lerning_rate': {'low': 0.1}}, 'parameters.lerning_rate'),
    ({'beta1': {'low': 0.99}}, 'parameters.beta1'),
    ({'beta2': {'default': 2.0}}, 'parameters.beta2.default'),
    ({'depth': {'structural': False}}, 'parameters.depth'),
    ({'tied': {'when': {'tied': [True]}}}, 'parameters.tied.when'),
  ],
)
def test_a_bad_space_is_named_with_its_place_in_the_file(
  launch, small, tmp_path, parameters, complaint
):
  space = {'name': 'mine', 'extends': 'nanogpt', 'parameters': parameters}
  (tmp_path / 'mine.json').write_text(json.dumps(space))
  process = launch(
    'search',
    *small,
    f'--space={tmp_path}/mine.json',
    f'--workdir={tmp_path}/run',
  )
  assert process.returncode == 2, process.out
  assert process.err.startswith('error: ') and '; expected ' in process.err
  assert process.err.count('\n') == 1 and complaint in process.err
  assert not (tmp_path / 'run').exists()
