"""A small search, and processes to run it in."""

import pytest
import small as small_lib


@pytest.fixture(scope='session')
def small(tmp_path_factory):
  """Flags of a small search; its data and space lie in a folder of its own."""
  return small_lib.write(tmp_path_factory.mktemp('small'))


@pytest.fixture(scope='session')
def launch(tmp_path_factory):
  """Runs a command of the project as a process and returns it, ended."""
  return small_lib.launcher(tmp_path_factory.mktemp('cache'))


@pytest.fixture
def started():
  """Takes processes that end with the test, whatever becomes of it."""
  processes = []
  yield processes
  for process in processes:
    process.kill()
    process.communicate()
