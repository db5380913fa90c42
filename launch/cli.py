"""The command line: how flags are read and how bad input is answered.

Bad input gives one line on stderr, "error: WHAT; expected WHAT", and exit
code 2, before anything is written.
"""

import contextlib
import difflib
import functools
import logging
import os
import pathlib
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags
from absl import logging as absl_logging
from etils import epath

from evo import failure, storage

PRESETS = pathlib.Path(__file__).parent / 'presets'
SPACES = pathlib.Path(__file__).parent / 'spaces'

BAD_INPUT = 2
AGAIN = 42

_LEAVING = threading.Lock()


class InputError(Exception):
  """What the user gave cannot be used; the text says what would be right."""


@contextlib.contextmanager
def input_errors() -> Iterator[None]:
  """Marks errors raised within as the user's, not the program's."""
  try:
    yield
  except BrokenPipeError:
    raise
  except (ValueError, OSError) as error:
    if failure.is_full(error) or failure.is_outage(error):
      raise
    raise InputError(_said(error)) from error


def run(main: Callable[[list[str]], int | None], arguments: int = 0) -> None:
  """Parses the flags, runs `main` and exits with what it returns.

  Args:
    main: of a command; given its name and what is not a flag.
    arguments: how many of those it takes at most.
  """
  # XLA's loader reports machine features at length whenever it reads the
  # compilation cache.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  # Were TensorFlow installed, paths in a bucket would go through it.
  os.environ.setdefault('EPATH_USE_TF', 'false')
  # Else it would make folders of its own in two other places of the home.
  os.environ.setdefault('MPLCONFIGDIR', str(cache() / 'matplotlib'))
  sys.unraisablehook = _print_own
  if {'--help', '-h'} & set(sys.argv[1:]):
    module = sys.modules[main.__module__]
    print(module.__doc__, flags.FLAGS.module_help(module), sep='\n')
    sys.exit(0)
  try:
    with input_errors(), _flag_errors():
      for argument in sys.argv[1:]:
        _require_text(argument)
      rest = flags.FLAGS([sys.argv[0], *map(_find_preset, sys.argv[1:])])
    if len(rest) > 1 + arguments:
      raise InputError(f'argument {rest[-1]!r}; expected flags only')
    # Orbax logs at length whatever it raises too, and asyncio for it.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger('asyncio').setLevel(logging.CRITICAL)
    code = main(rest) or 0
    sys.stdout.flush()
    sys.exit(code)
  except BrokenPipeError:
    # Whoever reads, such as `head`, has read enough; nothing else is written,
    # nor at the end of the process.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    sys.exit(0)
  except InputError as error:
    complain(error)
    sys.exit(BAD_INPUT)
  except Exception as error:
    line, refused = again(error), refusal(error)
    if line is None and refused is None:
      raise
    sys.stdout.flush()
    # Threads of Orbax that wait for a save that failed would never end.
    leave(line or refused, AGAIN if line else BAD_INPUT)


def again(error: BaseException) -> str | None:
  """What to say of an error after which the same command can go on."""
  if isinstance(error, failure.Damaged):
    return f'{error}: the same command goes on from an older one'
  if isinstance(error, failure.Failed):
    return f'{error}: the same command tries it once more at most'
  if failure.is_full(error):
    return 'no space is left; expected some: then the same command goes on'
  if failure.is_outage(error) or failure.is_refused(error):
    return str(error)
  return None


def refusal(error: BaseException) -> str | None:
  """What to say of an error that the same command would meet again."""
  if isinstance(error, failure.Differs):
    return str(error)
  if failure.has_no_room(error):
    said = str(error).splitlines()[0]
    return f'{said}; expected room for it: a smaller model or larger devices'
  return None


def leave(line: str, code: int = AGAIN) -> None:
  """Ends the process from any thread; by default the command may go on."""
  _LEAVING.acquire()  # For ever: one reason is enough.
  complain(line)
  os._exit(code)


@functools.cache
def workdir(path: str) -> epath.Path:
  """The folder of --workdir, which need not exist; its bucket has to answer.

  Raises:
    ValueError: it is no folder.
    OSError: the bucket is not there, or not for this account.
    failure.Outage: storage does not answer.
  """
  try:
    storage.check(path)
  except ValueError as error:
    raise ValueError(f'--workdir={error}') from error
  return epath.Path(path)


def cache() -> pathlib.Path:
  """Where programs that were compiled are kept; all else is in workdirs."""
  home = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(home) / 'datapoint'


def complain(error: InputError | str) -> None:
  """Says in one line what is wrong."""
  line = ' '.join(str(error).split())
  print(f'error: {line}', file=sys.stderr)


def find_space(name: str) -> pathlib.Path:
  """The file of a space: a path, or the name of a ready one.

  Raises:
    ValueError: it is neither.
  """
  path = pathlib.Path(name)
  ready = (SPACES / f'{name}.json').is_file()
  return path if path.is_file() and not ready else ready_space(name)


def ready_space(name: str) -> pathlib.Path:
  """The file of a space that ships.

  Raises:
    ValueError: there is none of this name.
  """
  ready = {path.stem: path for path in SPACES.glob('*.json')}
  if name not in ready:
    known = ', '.join(sorted(ready))
    raise ValueError(f'space {name!r}; expected {known} or a JSON file')
  return ready[name]


def _print_own(unraisable: Any) -> None:
  """Prints what could not be raised, unless a library's thread met it.

  Where a read fails, callbacks of C++ that still come meet one each.
  """
  if threading.current_thread() is threading.main_thread():
    sys.__unraisablehook__(unraisable)


def _require_text(argument: str) -> None:
  """Raises InputError unless an argument can be written down again."""
  try:
    argument.encode()
  except UnicodeEncodeError as error:
    raise InputError(f'argument {argument!a}; expected UTF-8') from error


def _said(error: ValueError | OSError) -> str:
  """What is wrong, and what is expected."""
  if isinstance(error, UnicodeDecodeError):
    return f'not UTF-8 ({error}); expected text'
  # All hosts are told in words what one of them met.
  if isinstance(error, OSError) or isinstance(error.__cause__, OSError):
    words = '; expected a file or folder that can be used'
    return str(error) if '; expected' in str(error) else f'{error}{words}'
  return str(error)


def _find_preset(argument: str) -> str:
  """Lets presets be named from anywhere, as `quick` or by their path."""
  match = re.fullmatch(r'--?flagfile=(.+)', argument)
  if not match or pathlib.Path(match[1]).is_file():
    return argument
  path = pathlib.Path(match[1])
  shipped = PRESETS / f'{path.stem}.flags'
  ours = path.parent.parts in ((), PRESETS.parts[-2:])
  if not ours or path.suffix not in ('', '.flags') or not shipped.is_file():
    known = ', '.join(sorted(path.stem for path in PRESETS.glob('*.flags')))
    raise InputError(f'{argument}; expected {known} or a file of flags')
  return f'--flagfile={shipped}'


@contextlib.contextmanager
def _flag_errors() -> Iterator[None]:
  """Turns absl's messages into "WHAT; expected WHAT"."""
  try:
    yield
  except flags.UnrecognizedFlagError as error:
    near = difflib.get_close_matches(error.flagname, list(flags.FLAGS))
    meant = ' or '.join(f'--{name}' for name in near) or 'one of --help'
    raise InputError(
      f'unknown flag --{error.flagname}; expected {meant}'
    ) from error
  except flags.Error as error:
    text = str(error).removeprefix('flag ')
    text = re.sub(r': value should be', '; expected', text)
    if '; expected' not in text:
      text += '; expected a value as --help says'
    raise InputError(text) from error
