"""Campaigns that have ended, for the tests of what is said about them."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from evo import ledger
from evo import result as result_lib
from evo import rows as rows_lib
from models import quadratic


class Fragile(quadratic.Quadratic):
  """Diverges where h0 is above a limit."""

  def __init__(self, limit):
    self.limit = limit

  def step(self, structure, data, h, *rest):
    theta, loss = super().step(structure, data, h, *rest)
    return theta, jnp.where(h['h0'] > self.limit, jnp.nan, loss)


@pytest.fixture
def fragile():
  """A trainee that diverges where h0 is above a half."""
  return Fragile(0.5)


@pytest.fixture
def dead():
  """A trainee that always diverges."""
  return Fragile(-1.0)


@pytest.fixture
def made(records, line_run):
  """Makes (result, rows, run) of rounds made by hand."""

  def make(*rounds, run=line_run, stop_reason='max_members', **options):
    content = records(*rounds)
    spent = {'training': 50.0, 'evaluating': 10.0, 'compiling': 20.0}
    result = result_lib.result(
      content,
      run,
      spent={'seconds': 100.0, 'compilations': 3, 'compilations_cached': 1}
      | {f'seconds_{kind}': seconds for kind, seconds in spent.items()},
      stop_reason=stop_reason,
      **options,
    )
    return result, rows_lib.leg_rows(content, run), run

  return make


@pytest.fixture
def outcome(describe):
  """Runs a campaign; returns (result, rows, run)."""

  def make(campaign, workdir, **flags):
    campaign.run()
    run = describe(campaign, workdir, **flags)
    records = ledger.Ledger(workdir / 'ledger').records
    kinds = ('', '_compiling', '_training', '_evaluating', '_searching')
    result = result_lib.result(
      records,
      run,
      spent={'compilations': 3, 'compilations_cached': 0}
      | {f'seconds{kind}': 1.0 for kind in kinds},
      stop_reason=campaign.stop_reason,
    )
    return result, rows_lib.leg_rows(records, run), run

  return make


class Picture:
  """A PNG file as pixels, `[700, 1200, 3]`."""

  def __init__(self, path):
    with Image.open(path) as image:
      self.pixels = np.asarray(image.convert('RGB'))
    assert self.pixels.shape == (700, 1200, 3)

  @property
  def colours(self):
    """How many there are."""
    return len(np.unique(self.pixels @ np.array([1 << 16, 1 << 8, 1])))

  def rows(self, colour):
    """Rows in which a colour, such as '#ffffff', is found."""
    rgb = list(bytes.fromhex(colour[1:]))
    return np.flatnonzero((self.pixels == rgb).all(-1).any(1))

  def has(self, colour):
    """Whether a colour is found."""
    return self.rows(colour).size > 0


@pytest.fixture
def drawn(tmp_path):
  """Draws a picture of (result, rows, run) and opens it."""

  def make(draw, result, rows, run):
    draw(rows, result, run, tmp_path / 'picture.png')
    return Picture(tmp_path / 'picture.png')

  return make


@pytest.fixture
def wide(made, leg, searched, line_run):
  """(result, rows, run) of many parameters, of all kinds and with odd names."""
  tier = {'tier': 'configuration'}
  float_ = {'kind': 'float', 'low': 0, 'high': 1, 'default': 0}
  log = {'kind': 'log_float', 'low': 1e-5, 'high': 1, 'default': 1e-3}
  odd = ['$x^2', 'a_b$', 'ż', r'\frac']
  choice = {'kind': 'choice', 'choices': odd, 'default': odd[0]} | tier
  choice |= {'structural': True}
  parameters = {f'float_{i}': float_ | tier for i in range(9)}
  parameters |= {f'log_{i}': log | tier for i in range(3)}
  parameters |= {'choice': choice}
  parameters |= {'flag': choice | {'choices': [False, True], 'default': False}}
  moved = {f'float_{i}': (i + 1) / 9 for i in range(9)}
  moved |= {f'log_{i}': 10.0**-i for i in range(3)}
  moved |= {'choice': odd[1], 'flag': True}
  baseline = {name: p['default'] for name, p in parameters.items()}
  space = {'name': 'wide', 'parameters': parameters}
  return made(
    searched(
      (leg(0, baseline), 2.0),
      (leg(1, moved, parent=0), 1.0),
      (leg(2, moved, parent=0), 1e6),
    ),
    run=line_run | {'space': space, 'baseline': baseline},
  )
