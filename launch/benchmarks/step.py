"""How fast members train: beside PyTorch, the machine's peak, and one alone."""

import contextlib
import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from launch.benchmarks import peer, recipe
from launch.benchmarks.figure import Figure, Observe, in_turn
from launch.benchmarks.options import Options

MINUTES = 4
_TURNS, _STEPS = 5, 20
_MEMBERS = (1, 2, 4, 8, 16, 32)
_GROWTH_STEPS = 10
_SIZE, _PRODUCTS = 2048, 8


def measure(options: Options, observe: Observe) -> list[Figure]:
  """Milliseconds per step of a member, FLOPs a second, and their ratios."""
  made = recipe.Recipe.make(options.folder)
  return [*_peers(made, options, observe), *_growth(made, observe)]


def _peers(
  made: recipe.Recipe, options: Options, observe: Observe
) -> list[Figure]:
  """8 members, nanoGPT and the products of matrices."""
  members = recipe.Members(made, 8, _STEPS)
  numbers = np.random.default_rng(0).random((_SIZE, _SIZE), np.float32)
  product = jax.jit(lambda a: a @ a)
  measures = {
    'ours': members.step_milliseconds,
    'numpy': lambda: _rate(lambda: numbers @ numbers),
    'xla': functools.partial(_xla_rate, product, jnp.asarray(numbers)),
  }
  absent = _absent(options)
  with contextlib.ExitStack() as stack:
    if not absent:
      path = options.folder / 'batches.npy'
      np.save(path, made.batches(100))
      torch = stack.enter_context(
        peer.Peer('launch.benchmarks.nanogpt', str(options.nanogpt), str(path))
      )
      measures |= {
        'nanogpt': lambda: 1e3 * torch.ask(steps=_STEPS) / _STEPS,
        'torch': lambda: max(torch.ask() for _ in range(_PRODUCTS)),
      }
    found = in_turn(measures, _TURNS, lambda what, s: observe(what, s / 2))
  return _figures(made, found, absent)


def _figures(
  made: recipe.Recipe, found: dict[str, tuple[float, ...]], absent: str
) -> list[Figure]:
  ours = Figure('8 members', 'ms per step of one', found['ours'])
  theirs = Figure(
    'PyTorch nanoGPT', 'ms per step', found.get('nanogpt', ()), absent
  )
  products = [found[n] for n in ('numpy', 'xla', 'torch') if n in found]
  # The best that any library did in any turn, which is what the machine can.
  peak = max(max(each) for each in products) / 1e9
  rates = tuple(made.flops / ms / 1e6 for ms in ours.values)
  rate = Figure('8 members, model FLOPs', 'GFLOP/s', rates)
  return [
    ours,
    theirs,
    theirs.over(ours, 'PyTorch / ours', 'at least 2, goal 2.5'),
    rate,
    Figure('float32 peak', 'GFLOP/s', (peak,), 'best of all turns'),
    Figure(
      'model FLOPs / peak',
      '',
      tuple(r / peak for r in rates),
      'at least .85',
    ),
  ]


def _growth(made: recipe.Recipe, observe: Observe) -> list[Figure]:
  """The cost of a step of a member as the population grows."""
  measures: dict[str, Callable[[], float]] = {}
  for count in _MEMBERS:
    observe(f'compiling {count} members', 0.5)
    members = recipe.Members(made, count, _GROWTH_STEPS)
    measures[str(count)] = members.step_milliseconds
  found = in_turn(measures, _TURNS, lambda what, s: observe(what, 0.5 + s / 2))
  figures = [
    Figure(f'{n} members', 'ms per step of one', values)
    for n, values in found.items()
  ]
  several = zip(*(figure.values for figure in figures[1:]), strict=True)
  spread = [max(turn) / min(turn) for turn in several]
  note = 'largest / smallest of 2 to 32 members, at most 1.10'
  return [*figures, Figure('growth', '', tuple(spread), note)]


def _absent(options: Options) -> str:
  if options.nanogpt is None:
    return '--nanogpt=DIR: a checkout of github.com/karpathy/nanoGPT'
  return peer.missing('torch')


def _rate(product: Callable[[], object]) -> float:
  """FLOPs a second of the best of several products."""
  best = float('inf')
  for _ in range(_PRODUCTS):
    begin = time.monotonic()
    product()
    best = min(best, time.monotonic() - begin)
  return 2 * _SIZE**3 / best


def _xla_rate(product: Callable, numbers: jax.Array) -> float:
  return _rate(lambda: jax.block_until_ready(product(numbers)))
