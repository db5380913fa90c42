"""Campaigns that have ended, for the tests of what is said about them."""

import jax.numpy as jnp
import pytest

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
      seconds={'seconds': 100.0}
      | {f'seconds_{kind}': seconds for kind, seconds in spent.items()},
      compilations={'compilations': 3, 'compilations_cached': 1},
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
      seconds={f'seconds{kind}': 1.0 for kind in kinds},
      compilations={'compilations': 3, 'compilations_cached': 0},
      stop_reason=campaign.stop_reason,
    )
    return result, rows_lib.leg_rows(records, run), run

  return make
