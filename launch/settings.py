"""Flags of a search, and what they identify.

Defaults are the quick preset. All flags but the bounds and the mesh identify
a run: a workdir holds one run, and the same command goes on with it.
"""

import shlex
from typing import Any

from absl import flags

from evo import strategies
from launch import cli, description

# May change when a run is resumed.
CHANGEABLE = (
  'workdir',
  'max_members',
  'max_minutes',
  'max_flops',
  'max_disk_gb',
  'keep',
  'max_species',
  'mesh',
  'distributed',
)
# In their order; those that need another one, which has to come before.
_PHASES = {
  'calibrate': None,
  'search': None,
  'confirm': 'search',
  'ablate': 'confirm',
  'transfer': 'ablate',
  'locked': 'ablate',
}
# A search of so many minutes is a whole campaign unless it is told otherwise.
_CAMPAIGN_MINUTES = 30
# Pairs that the changes of a champion may take.
_CAMPAIGN_PAIRS = 16
# Of sizes: far more than there is, and its products are still numbers.
_LARGEST = 1e36
BOUNDS = ('max_members', 'max_minutes', 'max_flops')


def define() -> None:
  """Defines the flags of `launch.search`."""
  string, integer = flags.DEFINE_string, flags.DEFINE_integer
  number = flags.DEFINE_float
  string(
    'workdir',
    'runs/quick',
    'Where everything of the run is written; also gs://BUCKET/FOLDER, with the extra gcs.',
  )
  define_members()
  string('strategy', 'evolution', f'One of {", ".join(strategies.NAMES)}.')
  integer('max_members', 24, 'Members to train to their end; 0 is no bound.')
  number('max_minutes', None, 'Wall clock, confirmation included.')
  number('max_flops', None, 'FLOPs charged, confirmation included.')
  number('max_disk_gb', None, 'Gigabytes that the workdir may take.')
  integer('keep', 2, 'Rounds whose checkpoints stay on storage.', lower_bound=1)
  integer(
    'confirm_seeds',
    4,
    'Most paired runs from scratch of champion and baseline; 0 leaves them'
    f' out. By default {_CAMPAIGN_PAIRS} where changes are ablated.',
  )
  flags.DEFINE_list(
    'phases',
    'search,confirm',
    f'Some of {",".join(_PHASES)}. By default all of them, a whole campaign,'
    f' with --max_minutes of at least {_CAMPAIGN_MINUTES}.',
  )
  integer(
    'cycles',
    3,
    'Searches among which a campaign divides its bounds; each but the first'
    ' starts from what the one before it confirmed.',
    lower_bound=1,
  )
  string(
    'transfer',
    'depth:2,tokens:2',
    'Scale at which confirmed changes are tried again: factors of parameters.',
  )
  string('transfer_data', '', 'Text for that, instead of --data.')
  number(
    'search_share',
    0.5,
    'Of the FLOPs of a cycle; what is left is for its verification.',
    lower_bound=0.1,
    upper_bound=1.0,
  )
  integer('seed', 0, 'Of the search; members, batches and all draws follow.')
  flags.DEFINE_boolean(
    'distributed',
    None,
    'Whether other hosts run the same command; by default a TPU pod slice is'
    ' recognised. See launch/cluster.py.',
  )


def define_members() -> None:
  """Defines the flags that say what members are and how they are trained."""
  string, integer = flags.DEFINE_string, flags.DEFINE_integer
  number, enum = flags.DEFINE_float, flags.DEFINE_enum
  string('data', '', 'A text file, a folder of them, or tokens (.npy, .bin).')
  enum('tokenizer', 'byte', ['byte', 'char'], 'How text becomes tokens.')
  flags.DEFINE_list(
    'splits', '.85,.05,.05,.05', 'Shares of train, search, confirm and locked.'
  )
  integer(
    'evaluation_tokens', 16384, 'Scored in an evaluation; 0 is the whole split.'
  )
  string('space', 'nanogpt', 'Search space: a name or a JSON file.')
  flags.DEFINE_list('tiers', 'configuration', 'What the search may change.')
  number(
    'inherit_at',
    0.0,
    'Share of the budget at which an evolution child takes over the weights'
    ' of its lineage; 0 trains every child from scratch.',
    lower_bound=0.0,
  )
  integer('population', 8, 'Members that train side by side.', lower_bound=1)
  integer('segments', 10, 'Legs begin and end on these.', lower_bound=1)
  integer('member_tokens', 92160, 'Budget of a member, in baseline tokens.')
  number('member_flops', None, 'Budget of a member, instead of tokens.')
  integer(
    'max_species', 4, 'Structures that train side by side.', lower_bound=1
  )
  string(
    'mesh',
    'auto',
    'Devices by axis, such as member:8,data:2; also fsdp and tensor.',
  )
  enum(
    'mapping',
    'auto',
    ['auto', 'map', 'vmap'],
    'How the members of a device run: one after another, or vectorised.',
  )


def values() -> dict[str, Any]:
  """All flags of a search, JSON-able, checked one by one.

  Raises:
    ValueError: a value is out of its range.
  """
  given = members()
  limited = given['max_minutes'] is not None or given['max_flops'] is not None
  if limited and flags.FLAGS['max_members'].using_default_value:
    given['max_members'] = 0  # The quick preset's bound is not meant here.
  for name in ('max_members', 'confirm_seeds'):
    require(given, name, given[name] >= 0, 'a number of at least 0')
  for name in ('max_minutes', 'max_flops', 'max_disk_gb'):
    require_size(given, name)
  # No number passes the flag's own bounds.
  share = given['search_share']
  require(given, 'search_share', share == share, 'a share')
  given |= _campaign(given)
  _check_phases(given)
  require(
    given,
    'confirm_seeds',
    given['confirm_seeds'] in (0, *range(3, 1000)),
    '0, or at least 3 for an interval',
  )
  return given


def _campaign(given: dict[str, Any]) -> dict[str, Any]:
  """What flags that were not given are: a whole campaign's, or the run's."""
  names = ('phases', 'confirm_seeds')
  unset = [name for name in names if flags.FLAGS[name].using_default_value]
  path = cli.workdir(given['workdir']) / 'run.json'
  if path.exists():
    # A larger bound must not make another run of it.
    before = description.read(path.parent)['flags']
    return {name: before[name] for name in unset if name in before}
  found = {name: given[name] for name in names}
  if 'phases' in unset and (given['max_minutes'] or 0) >= _CAMPAIGN_MINUTES:
    found['phases'] = list(_PHASES)
  if 'confirm_seeds' in unset and 'ablate' in found['phases']:
    found['confirm_seeds'] = _CAMPAIGN_PAIRS
  return found


def _check_phases(given: dict[str, Any]) -> None:
  """Raises ValueError unless phases are known, in order and can be."""
  found, known = given['phases'], list(_PHASES)
  in_order = [name for name in known if name in found]
  needs = all(_PHASES[name] in (None, *found) for name in in_order)
  if found != in_order or not needs or 'search' not in found:
    text = ','.join(found)
    raise ValueError(
      f'--phases={text}; expected some of {",".join(known)}, in this order,'
      ' with search; confirm needs search, ablate needs confirm, transfer and'
      ' locked need ablate'
    )


def members() -> dict[str, Any]:
  """The flags that this module defined, those of members checked.

  Raises:
    ValueError: a value is out of its range.
  """
  given = {
    name: flags.FLAGS[name].value
    for name in flags.FLAGS
    if flags.FLAGS.find_module_defining_flag(name) == define.__module__
  }
  for name in ('evaluation_tokens', 'member_tokens'):
    require(given, name, given[name] >= 0, 'a number of at least 0')
  require_size(given, 'member_flops')
  require(given, 'inherit_at', given['inherit_at'] < 1, 'a share below 1')
  try:
    given['splits'] = [float(share) for share in given['splits']]
  except ValueError as error:
    raise ValueError(
      f'--splits={",".join(given["splits"])}; expected four numbers such as'
      ' .85,.05,.05,.05'
    ) from error
  return given


def identity(given: dict[str, Any]) -> dict[str, Any]:
  """The flags that identify a run."""
  return {k: v for k, v in given.items() if k not in CHANGEABLE}


def command(given: dict[str, Any], module: str = 'search') -> str:
  """The command line that gives these flags."""
  defaults = {name: flags.FLAGS[name].default for name in given}
  parts = [f'python -m launch.{module}']
  for name, value in given.items():
    default = defaults[name]
    if name == 'splits':
      default = [float(share) for share in default]
    if value != default:
      text = ','.join(map(str, value)) if isinstance(value, list) else value
      parts.append(f'--{name}={shlex.quote(str(text))}')
  return ' '.join(parts)


def require_size(given: dict[str, Any], name: str) -> None:
  """Raises ValueError unless a flag is None or a positive number."""
  value = given[name]
  valid = value is None or 0 < value <= _LARGEST
  require(given, name, valid, f'a positive number, at most {_LARGEST:g}')


def require(
  given: dict[str, Any], name: str, valid: bool, expected: str
) -> None:
  """Raises ValueError naming a flag, its value and what was expected."""
  if not valid:
    raise ValueError(f'--{name}={given[name]}; expected {expected}')
