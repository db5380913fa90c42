"""What the files of a run say, read back: others may have written them."""

from typing import Any

from etils import epath

from evo import document, form, strategies
from evo import space as space_lib

Description = dict[str, Any]

_SIZE, _COUNT = form.whole(1), form.whole()
_BOUND = form.optional(form.number(0))

# Flags that are read again, of whatever command.
_FLAGS = form.given(
  workdir=form.text,
  data=form.text,
  tokenizer=form.text,
  splits=form.listed(form.number(0, 1)),
  evaluation_tokens=_COUNT,
  space=form.text,
  tiers=form.listed(form.text),
  inherit_at=form.number(0, 1),
  population=_SIZE,
  segments=_SIZE,
  member_tokens=_COUNT,
  member_flops=_BOUND,
  max_species=_SIZE,
  mesh=form.text,
  mapping=form.text,
  strategy=form.one_of(*strategies.NAMES),
  max_members=form.number(0),  # Of a comparison also parts of one.
  max_minutes=_BOUND,
  max_flops=_BOUND,
  confirm_seeds=_COUNT,
  phases=form.listed(form.text),
  seed=form.whole(-(2**53)),
)
# Without these a search is none.
_NEEDED = form.fields(
  **dict.fromkeys(
    (
      *('workdir', 'data', 'tokenizer', 'splits', 'evaluation_tokens'),
      *('space', 'tiers', 'inherit_at', 'population', 'segments'),
      *('member_tokens', 'member_flops', 'max_species', 'mesh', 'mapping'),
      *('strategy', 'seed'),
    ),
    form.anything,
  )
)
_RUN = form.fields(flags=_FLAGS)
_SEARCH = form.fields(
  metric=form.name,
  segments=_SIZE,
  finds_schedules=form.boolean,
  flops_per_member=form.number(0, 1e36),
  baseline=form.anything,
  data_digest=form.text,
  command=form.text,
)
_RESULT = form.fields(
  stop_reason=form.optional(form.text), bounds=form.mapping(form.anything)
)
_IMPROVEMENTS = form.fields(summary=form.fields(locked=form.anything))


def read(workdir: epath.PathLike) -> Description:
  """The content of the run.json of a search, comparison or training.

  Raises:
    ValueError: it makes no sense.
    OSError: it cannot be read.
  """
  return document.read(epath.Path(workdir) / 'run.json', 'a run', _RUN)


def read_search(workdir: epath.PathLike, otherwise: str) -> Description:
  """The content of a search's run.json.

  Args:
    workdir: holds it.
    otherwise: what to say of another run's.

  Raises:
    ValueError: it is another's, or makes no sense.
    OSError: it cannot be read.
  """
  run = read(workdir)
  if 'segments' not in run:
    raise ValueError(otherwise)
  try:
    _SEARCH('', run)
    space = space_lib.Space.from_json(run.get('space'))
    space.validate(run['baseline'])
  except ValueError as error:
    raise ValueError(f'{workdir}/run.json: {error}') from error
  return run


def read_configured(workdir: epath.PathLike, otherwise: str) -> Description:
  """As `read_search`, with all flags that build its experiment again."""
  run = read_search(workdir, otherwise)
  try:
    _NEEDED('flags', run['flags'])
  except ValueError as error:
    raise ValueError(f'{workdir}/run.json: {error}') from error
  return run


def read_result(path: epath.PathLike) -> Description:
  """A result.json, as far as a search reads it again; raises as `read`."""
  return document.read(path, 'a result', _RESULT)


def read_improvements(path: epath.PathLike) -> Description:
  """An improvements.json, likewise."""
  return document.read(path, 'improvements', _IMPROVEMENTS)
