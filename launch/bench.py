"""Measures how fast this is, each time beside something else.

  python -m launch.bench step --nanogpt=DIR
  python -m launch.bench overhead

One of: step (training, beside PyTorch nanoGPT and the machine's peak), pbt
(beside Ray Tune), overhead (of a search), inherit (an exploit), start (from
command to first step), scale (over devices and processes), accelerator.
Prints a table and writes bench_NAME.json. `pip install 'datapoint[bench]'`
brings PyTorch and Ray.
"""

import datetime
import importlib
import pathlib
import platform
import signal
import sys
import tempfile
import time
from typing import Any

import jax
from absl import flags

from evo import wording
from launch import cli, experiment, files, progress
from launch.benchmarks import figure, options

NAMES = ('step', 'pbt', 'overhead', 'inherit', 'start', 'scale', 'accelerator')
# Parts of the progress bar.
_PARTS = 100


def main(argv: list[str]) -> None:
  """Runs the benchmark that the command names."""
  with cli.input_errors():
    name = _name(argv[1:])
    nanogpt = _nanogpt()
    workdir = cli.workdir(flags.FLAGS['workdir'].value)
    if workdir.exists() and not workdir.is_dir():
      raise ValueError(f'--workdir={workdir} is a file; expected a folder')
  # As an exception, which ends the processes that a benchmark has started.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  experiment.prepare_backend({'mesh': f'member:{experiment.cores()}'})
  module = importlib.import_module(f'launch.benchmarks.{name}')
  minutes = wording.count(module.MINUTES, 'minute')
  print(f'{name}: about {minutes} on 2 cores', file=sys.stderr)
  begin = time.monotonic()
  with (
    tempfile.TemporaryDirectory() as folder,
    progress.Progress(_PARTS) as bar,
  ):

    def observe(what: str, share: float) -> None:
      bar.begin(what, share * _PARTS)

    given = options.Options(pathlib.Path(folder), nanogpt)
    figures = module.measure(given, observe)
  workdir.mkdir(parents=True, exist_ok=True)
  path = workdir / f'bench_{name}.json'
  files.write_json(path, _facts(name, figures, time.monotonic() - begin))
  print(figure.table(figures))
  print(f'{path} has every turn', file=sys.stderr)


def _name(arguments: list[str]) -> str:
  if len(arguments) != 1 or arguments[0] not in NAMES:
    raise ValueError(
      f'benchmark {" ".join(arguments) or "missing"}; expected one of'
      f' {", ".join(NAMES)}'
    )
  return arguments[0]


def _nanogpt() -> pathlib.Path | None:
  folder = flags.FLAGS['nanogpt'].value
  if not folder:
    return None
  if not (pathlib.Path(folder) / 'model.py').is_file():
    raise ValueError(
      f'--nanogpt={folder} has no model.py; expected a checkout of'
      ' github.com/karpathy/nanoGPT'
    )
  return pathlib.Path(folder).resolve()


def _facts(
  name: str, figures: list[figure.Figure], seconds: float
) -> dict[str, Any]:
  return {
    'benchmark': name,
    'date': datetime.date.today().isoformat(),
    'device': jax.devices()[0].device_kind,
    'machine': platform.platform(),
    'versions': experiment.versions(),
    'seconds': seconds,
    'figures': [each.to_json() for each in figures],
  }


def run() -> None:
  """Entry point of the console script."""
  cli.run(main, arguments=1)


flags.DEFINE_string('workdir', 'runs/bench', 'Where the figures are written.')
flags.DEFINE_string('nanogpt', '', 'A checkout of nanoGPT, for its model.py.')

if __name__ == '__main__':
  run()
