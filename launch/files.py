"""The files of a workdir that say which run it holds."""

import json
import os
from typing import Any

from etils import epath

from evo import faults, storage
from launch import description, owner

# What may lie there before run.json does: a draft is what a write leaves that
# found no room.
_BEFORE = (
  'STOP',
  'preflight.json',
  'preflight.draft',
  'run.draft',
  owner.NAME,
  f'{owner.NAME}.__lock',
)
# Bytes of files that are read whole.
_LARGEST = {'.json': 1 << 26, '.jsonl': 1 << 30, '.txt': 1 << 26}


def check_workdir(
  workdir: epath.Path, identity: dict[str, Any], noun: str
) -> None:
  """Refuses a folder that holds something else, or another run.

  Args:
    workdir: need not exist.
    identity: the flags that identify the run that is about to begin or go on.
    noun: what it is: `search`, `comparison` or `training`.

  Raises:
    ValueError: one line, what is wrong and what is expected.
  """
  if not workdir.exists():
    return
  if not workdir.is_dir():
    raise ValueError(f'--workdir={workdir} is a file; expected a folder')
  check_kinds(workdir)
  if not (workdir / 'run.json').exists():
    if any(path.name not in _BEFORE for path in workdir.iterdir()):
      raise ValueError(
        f'--workdir={workdir} holds other files; expected an empty folder or'
        f' one of an earlier {noun}'
      )
    return
  before = description.read(workdir)['flags']
  for name, value in identity.items():
    if before.get(name) != value:
      raise ValueError(
        f'--workdir={workdir} holds a run with --{name}={before.get(name)},'
        f' not {value}; expected the same flags or another --workdir'
      )


def check_kinds(workdir: epath.Path) -> None:
  """Refuses a workdir that holds anything but files and folders.

  Links could lead out of it, what is no file could be read for ever, and what is
  read whole must not be too large for it. In a bucket there is nothing else.

  Raises:
    ValueError: one line, what is wrong and what is expected.
  """
  for folder, folders, names in os.walk(workdir):
    for name in (*folders, *names):
      path = os.path.join(folder, name)
      file = name in folders or os.path.isfile(path)
      if os.path.islink(path) or (not file and os.path.lexists(path)):
        raise ValueError(
          f'{path} is a link, or no file; expected files and folders in'
          f' --workdir={workdir}'
        )
      most = _LARGEST.get(os.path.splitext(name)[1])
      # Who works there may have removed it by now.
      if most and os.path.exists(path) and os.path.getsize(path) > most:
        raise ValueError(
          f'{path} is too large; expected at most {most:,} bytes'
        )


def check_unchanged(workdir: epath.Path, made_of: dict[str, Any]) -> None:
  """Refuses to go on with a run that was made of something else.

  Args:
    workdir: need not hold a run yet.
    made_of: keys of its run.json that have to be there with these values.

  Raises:
    ValueError: one line, what is wrong and what is expected.
  """
  path = workdir / 'run.json'
  if not path.exists():
    return
  before = description.read(workdir)
  for name, value in made_of.items():
    if before.get(name) != value:
      raise ValueError(
        f'the {name.replace("_", " ")} of {workdir} is not what it was when'
        ' the run began; expected the same, or another --workdir'
      )


def read_run(workdir: epath.Path) -> dict[str, Any]:
  """The content of a search's run.json.

  Raises:
    ValueError: the folder holds none, but perhaps a comparison.
  """
  check_kinds(workdir)
  path = workdir / 'run.json'
  if not path.exists():
    raise ValueError(f'--workdir={workdir} has no run.json; expected a search')
  return description.read_configured(
    workdir,
    f'--workdir={workdir} holds no search; expected a search, such as those of a'
    f' comparison in {workdir}/runs',
  )


def write_json(path: epath.Path, value: Any) -> None:
  """Replaces a file at once, so that no reader sees half of it."""
  text = json.dumps(value, indent=1, allow_nan=False) + '\n'
  point = f'{path.name}.before_replace'
  storage.publish(path, text, path.with_suffix('.draft'), point)
  faults.point(f'{path.name}.after_replace')
