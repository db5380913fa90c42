"""A bucket of Google Cloud Storage as `epath` and Orbax see it.

gcsfs as it comes takes an outage for the absence of a file, remembers what was
in a folder, makes buckets, and gives up within half a minute. None of that will
do for a run of days, so this is used in its place.
"""

import asyncio
import functools
import logging
import random
import time
from typing import Any

import aiohttp
import fsspec
from fsspec import asyn
from gcsfs import core, retry
from google.auth import exceptions

from evo import failure, lull, storage

# Seconds for one answer, and of the longest wait before it is asked for again.
_ANSWER, _LONGEST = 60.0, 16.0


class _Later(Exception):
  """What may be answered otherwise later."""


class FileSystem(core.GCSFileSystem):
  """Objects of a bucket as files in folders."""

  def __init__(self, **kwargs: Any):
    super().__init__(
      use_listings_cache=False,
      requests_timeout=aiohttp.ClientTimeout(total=_ANSWER),
      **kwargs,
    )

  async def _request(
    self, *args: Any, patience: float | None = None, **kwargs: Any
  ) -> Any:
    """Asks until there is an answer, or patience has run out.

    Raises:
      failure.Outage: there is none.
      failure.Refused: by the answer, this account may not do it.
    """
    ask = functools.partial(_ask, self, *args, **kwargs)
    try:
      return await ask()
    except _Later:
      pass
    patience = storage.PATIENCE if patience is None else patience
    deadline, wait = time.monotonic() + patience, 0.5
    with lull.expected():
      while True:
        await asyncio.sleep(wait * random.uniform(0.5, 1))
        try:
          return await ask()
        except _Later as error:
          if time.monotonic() > deadline:
            why = str(error)[:200]
            raise failure.Outage(self._location, patience, why) from error
        wait = min(2 * wait, _LONGEST)

  async def _check(self, bucket: str, patience: float) -> None:
    try:
      await self._call('GET', 'b/{}/o', bucket, maxResults=1, patience=patience)
    except FileNotFoundError as error:
      raise failure.Refused(f'gs://{bucket}', 'there is none') from error

  check = asyn.sync_wrapper(_check)

  async def _isdir(self, path: str) -> bool:
    try:
      return (await self._info(path))['type'] == 'directory'
    except FileNotFoundError:
      return False

  # There are no folders to make, and no bucket is to be made.

  async def _mkdir(self, path: str, *args: Any, **kwargs: Any) -> None:
    pass

  async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
    pass

  mkdir = asyn.sync_wrapper(_mkdir)
  makedirs = asyn.sync_wrapper(_makedirs)


# Its own retries are few, and say so at length.
_once = core.GCSFileSystem._request.__wrapped__


async def _ask(files: FileSystem, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
  """Asks once."""
  try:
    return await _once(files, *args, **kwargs)
  except (TimeoutError, exceptions.GoogleAuthError) as error:
    raise _Later(str(error) or 'timeout') from error
  except Exception as error:
    if retry.is_retriable(error):
      raise _Later(str(error)) from error
    code = error.code if isinstance(error, retry.HttpError) else None
    if code == 401 or str(error).startswith('Forbidden'):
      raise failure.Refused(files._location, str(error)) from error
    raise


def install() -> None:
  """Has `fsspec` use it for `gs://`."""
  for name in ('gcsfs', 'google.auth'):
    logging.getLogger(name).setLevel(logging.CRITICAL)
  fsspec.register_implementation('gcs', FileSystem, clobber=True)
