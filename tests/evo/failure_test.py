"""Tests of failures that are told apart."""

from evo import failure


def test_only_full_storage_is_taken_for_it():
  full = OSError(28, 'No space left on device')
  assert failure.is_full(full)
  assert failure.is_full(ValueError("write: No space left on device ['28']"))
  try:
    raise RuntimeError('saving') from full
  except RuntimeError as error:
    assert failure.is_full(error)
  try:
    try:
      raise ValueError('first')
    except ValueError as first:
      raise KeyError('second') from first
  except KeyError as second:
    first = second.__cause__
    first.__cause__ = second  # As where it is raised once more.
    assert not failure.is_full(first)
  assert not failure.is_full(OSError(2, 'No such file'))
  assert not failure.is_full(ValueError('RESOURCE_EXHAUSTED: out of memory'))
