"""Runs the tests of one file, which is how Bazel runs them."""

import sys

import pytest

if __name__ == '__main__':
  code = pytest.main(['-n0', '-p', 'no:cacheprovider', *sys.argv[1:]])
  # A file may hold slow tests only, which are not run unless asked for.
  sys.exit(0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code)
