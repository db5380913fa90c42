"""Every test runs on four CPU devices, with JAX's strictest settings."""

import subprocess
from concurrent import futures

import buckets
import jax
import pytest

jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture
def quadratic_space():
  """The two hyperparameters of `models.quadratic`."""
  from evo import space

  shape = {
    'kind': 'float',
    'low': 0.0,
    'high': 1.0,
    'default': 0.1,
    'tier': 'configuration',
  }
  return space.Space.from_json(
    {'name': 'quadratic', 'parameters': {'h0': shape, 'h1': shape}}
  )


@pytest.fixture
def make_campaign(quadratic_space):
  """Makes campaigns of the quadratic trainee in a folder."""
  from evo import bounds as bounds_lib
  from evo import campaign, engine, phases, strategies
  from evo import mesh as mesh_lib
  from models import quadratic

  made = []

  def make(
    workdir,
    strategy='evolution',
    *,
    trainee=None,
    space=None,
    slots=4,
    devices=2,
    mapped=True,
    bounds=None,
    pairs=3,
    arms=None,
    ablates=False,
    calibrates=False,
    larger=None,
    locks=False,
    cycles=1,
    again=False,
    stop=lambda: None,
    observe=lambda campaign: None,
    steps=100,
    library=None,
    keep=2,
    **options,
  ):
    space = space or quadratic_space
    trainee = trainee or quadratic.Quadratic()

    def restart(space, **shared):
      shared = {'population': slots, 'segments': 10} | shared
      return strategies.make(strategy, space, **shared, **options)

    flops = steps * trainee.cost(()).flops_per_step
    # A process that was killed writes no more.
    for old in made:
      futures.wait(old.engine.checkpoints._pending.values())
    new = campaign.Campaign(
      engine.Engine(
        trainee,
        space,
        engine.Budget(flops, 10),
        workdir,
        slots=slots,
        mesh=mesh_lib.make({'member': devices}),
        mapped=mapped,
        library=library,
      ),
      strategies.make(
        strategy, space, seed=0, population=slots, segments=10, **options
      ),
      workdir,
      bounds=bounds or bounds_lib.Bounds(members=12),
      phases=phases.Phases(
        pairs, calibrates, ablates, locks=locks, cycles=cycles
      ),
      arms=arms,
      larger=larger,
      restart=restart if again else None,
      keep=keep,
      stop=stop,
      observe=observe,
    )
    made.append(new)
    return new

  return make


@pytest.fixture
def describe():
  """Makes the content of run.json for a campaign of the quadratic trainee."""

  def make(campaign, workdir, **flags):
    engine, strategy = campaign.engine, campaign.strategy
    given = {'workdir': str(workdir), 'strategy': 'evolution'}
    return {
      'flags': given | {'max_members': 12, 'confirm_seeds': 3} | flags,
      'metric': 'negative_q',
      'segments': 10,
      'steps_per_segment': engine.steps,
      'tokens_per_step': 1,
      'flops_per_member': engine.member_flops,
      'finds_schedules': strategy.finds_schedules,
      'space': strategy.space.to_json(),
      'baseline': strategy.space.baseline,
      'data_digest': 'none',
      'command': f'python -m launch.search --workdir={workdir}',
      'versions': {'jax': '1'},
    }

  return make


@pytest.fixture(scope='session')
def _server():
  with buckets.serving() as server:
    yield server


@pytest.fixture
def bucket(_server, monkeypatch):
  """An empty bucket, `gs://bucket`, of this process and those it starts."""
  _server.clear()
  for name, value in buckets.env(_server.url).items():
    monkeypatch.setenv(name, value)
  return _server


@pytest.fixture
def tmpfs(tmp_path):
  """Gives a folder so many bytes of disk, and other ones when called again."""
  folder = tmp_path / 'small'
  folder.mkdir()
  mounted = []

  def size(size):
    how = f'{"remount," if mounted else ""}size={size}'
    mount = ['mount', '-t', 'tmpfs', '-o', how, 'tmpfs', str(folder)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
      pytest.skip('this user cannot mount')
    mounted.append(size)
    return folder

  yield size
  if mounted:
    subprocess.run(['umount', '--lazy', str(folder)], check=True)


# What follows makes ledgers by hand, of a space with the parameter x. Members
# train for ten segments of five steps.


@pytest.fixture
def line_run():
  """The content of run.json for ledgers made by hand."""
  x = {'kind': 'float', 'low': 0, 'high': 1, 'default': 0.1}
  x |= {'tier': 'configuration'}
  return {
    'flags': {'workdir': 'runs/x', 'max_members': 12, 'confirm_seeds': 2},
    'metric': 'bpb',
    'segments': 10,
    'steps_per_segment': 5,
    'finds_schedules': False,
    'space': {'name': 'line', 'parameters': {'x': x}},
    'baseline': {'x': 0.1},
    'data_digest': 'd',
    'command': 'python -m launch.search --workdir=runs/x --seed=3',
    'versions': {'jax': '0.10.2'},
  }


@pytest.fixture
def leg(line_run):
  """Makes a leg, as in a record; by default a whole run of the baseline."""

  def make(member, configuration=None, start=0, stop=10, **values):
    return {
      'member': member,
      'parent': None,
      'configuration': configuration or line_run['baseline'],
      'source': [member, start] if start else None,
      'start': start,
      'stop': stop,
      'seed': 1,
      'keep': False,
      'splits': ['search'] if stop == 10 else [],
      'arm': None,
      'species': 0,
      'steps_per_segment': 5,
      'weights': 2,
      'flops_per_token': 6.0,
      'inherited': None,
    } | values

  return make


@pytest.fixture
def ended():
  """Makes the result of a leg; one without a loss, at its end, diverged."""

  def make(leg, loss=None, confirm=None, stop=None):
    metrics = {} if loss is None else {'search': loss}
    if confirm is not None:
      metrics = {'confirm': confirm, **metrics}
    ok = bool(metrics) or not leg['splits']
    return {
      'member': leg['member'],
      'status': 'ok' if ok else 'diverged',
      'metrics': metrics,
      'flops': 7.0,
      'tokens': 3,
      'stop': leg['stop'] if stop is None else stop,
    }

  return make


@pytest.fixture
def searched(ended):
  """Makes a round in which legs, given as (leg, loss), begin and end."""
  return lambda *pairs: (
    'search',
    [leg for leg, _ in pairs],
    [ended(leg, loss) for leg, loss in pairs],
  )


@pytest.fixture
def confirmed(leg, ended):
  """Makes a round with a confirmation: (baseline, champion) losses by seed."""

  def make(first, losses, champion=None):
    legs, results = [], []
    for i, pair in enumerate(losses):
      for j, loss in enumerate(pair):
        configuration = (champion or {'x': 0.7}) if j else None
        splits = ['confirm', 'search']
        own = {'seed': 90 + i, 'arm': ('baseline', 'champion')[j]}
        run = leg(first + 2 * i + j, configuration, splits=splits, **own)
        legs.append(run)
        # The search split is a tenth above.
        results.append(ended(run, loss and loss + 0.1, loss))
    return 'confirm', legs, results

  return make


@pytest.fixture
def records():
  """Makes records of rounds, given as (phase, legs, results)."""
  return lambda *rounds: [
    {
      'round': i,
      'phase': phase,
      'cycle': 0,
      'turn': 0,
      'legs': legs,
      'results': results,
    }
    for i, (phase, legs, results) in enumerate(rounds)
  ]
