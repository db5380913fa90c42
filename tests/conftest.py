"""Every test runs on four CPU devices, with JAX's strictest settings."""

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
  from evo import campaign, checkpoint, engine, ledger, population, strategies
  from models import quadratic

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
    stop=lambda: None,
    steps=100,
    **options,
  ):
    space = space or quadratic_space
    checkpoints = checkpoint.Checkpoints(workdir / 'checkpoints')
    trainee = trainee or quadratic.Quadratic()
    cost = trainee.cost(())
    return campaign.Campaign(
      engine.Engine(
        trainee,
        space,
        engine.Budget(steps * cost.flops_per_step, 10),
        slots=slots,
        mesh=population.make_mesh({'member': devices}),
        checkpoints=checkpoints,
        mapped=mapped,
      ),
      strategies.make(
        strategy, space, seed=0, population=slots, segments=10, **options
      ),
      ledger=ledger.Ledger(workdir / 'ledger'),
      checkpoints=checkpoints,
      events=ledger.Events(workdir / 'events.jsonl'),
      bounds=bounds or campaign.Bounds(members=12),
      seed=0,
      pairs=pairs,
      stop=stop,
    )

  return make
