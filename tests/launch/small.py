"""A search small enough to run as a real process in seconds."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]

# Of the `nanogpt` space, a model that compiles in a second or two.
SMALL = {
  'depth': 1,
  'width': 32,
  'heads': 1,
  'head_dim': 16,
  'mlp_ratio': 2,
  'context': 32,
  'batch': 4,
}


def write(folder):
  """Writes a text and a space; returns the flags of a search with them."""
  space = json.loads((ROOT / 'launch/spaces/nanogpt.json').read_text())
  for name, value in SMALL.items():
    space['parameters'][name]['default'] = value
  # One structure only: programs take longer than these members do.
  space['free'] = [
    name for name, p in space['parameters'].items() if not p.get('structural')
  ]
  (folder / 'space.json').write_text(json.dumps(space))
  lines = [f'{i} times {i} is {i * i}, they say.\n' for i in range(8000)]
  (folder / 'text.txt').write_text(''.join(lines))
  return [
    f'--data={folder}/text.txt',
    f'--space={folder}/space.json',
    '--member_tokens=5120',
    '--evaluation_tokens=2048',
    '--population=4',
    '--inherit_at=0.3',
    '--max_members=8',
    '--confirm_seeds=3',
  ]


def launcher(cache):
  """Runs commands of the project as processes, with a cache of their own."""

  def run(
    name, *flags, wait=True, timeout=300, env=(), prelude=None, **options
  ):
    # With a prelude: what is run before it in the same process.
    code = f'{prelude}; from launch import {name}; {name}.run()'
    how = ['-c', code] if prelude else ['-m', f'launch.{name}']
    process = subprocess.Popen(
      [sys.executable, *how, *flags],
      cwd=ROOT,
      env=os.environ
      | {'JAX_PLATFORMS': 'cpu', 'XDG_CACHE_HOME': str(cache)}
      | dict(env),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      **options,
    )
    if wait:
      process.out, process.err = process.communicate(timeout=timeout)
    return process

  return run
