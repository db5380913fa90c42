"""Members of several sizes on this machine's device: speed and utilisation.

Alone and in a population, one after another and vectorised, by each
implementation of attention. Utilisation counts model FLOPs (`models.cost`)
against the chip's published bfloat16 peak, on a CPU against the best product
of float32 matrices.
"""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np

from evo import chips
from launch.benchmarks import recipe
from launch.benchmarks.figure import Figure, Observe
from launch.benchmarks.options import Options
from models import compute, language_model

MINUTES = 8
# Seconds after which no further setting is begun.
_BRAKE = 400
_TURNS = 3
# bfloat16 FLOPs a second without sparsity, from NVIDIA's data sheets.
_GPUS = {'H200': 989e12, 'H100': 989e12, 'A100': 312e12, 'L4': 121e12}


@dataclasses.dataclass(frozen=True)
class Size:
  """A model and how it is trained.

  Attributes:
    name: its weights, about.
    depth: blocks.
    width: of the stream.
    head_dim: of a head.
    context: tokens of a window.
    batch: windows of a step.
    members: in the population beside the one alone.
  """

  name: str
  depth: int
  width: int
  head_dim: int
  context: int
  batch: int
  members: int


_ACCELERATOR = (
  Size('10M', 6, 384, 64, 1024, 16, 8),
  Size('100M', 12, 768, 128, 2048, 8, 8),
  Size('1B', 20, 2048, 128, 2048, 8, 1),
)
_CPU = (
  Size('.8M', 4, 128, 32, 64, 12, 8),
  Size('3M', 6, 192, 32, 128, 8, 4),
)


def measure(options: Options, observe: Observe) -> list[Figure]:
  """Tokens a second and utilisation, a few lines for each size."""
  platform, begin = jax.default_backend(), time.monotonic()
  sizes = _CPU if platform == 'cpu' else _ACCELERATOR
  settings = [
    setting for size in sizes for setting in _settings(size, platform)
  ]
  peak, source = _peak()
  figures = [Figure('peak', 'TFLOP/s', (peak / 1e12,), source)]
  if platform == 'cpu':
    note = 'no accelerator: small sizes on the CPU'
    figures.insert(0, Figure('GPU or TPU', '', note=note))
  for i, (size, members, attention, mapped) in enumerate(settings):
    way = 'in turn' if mapped else 'vectorised'
    name = f'{size.name}, {members} {way}, attention {attention}'
    observe(name, i / len(settings))
    if time.monotonic() - begin > _BRAKE:
      figures.append(Figure(name, '', note='no time was left'))
      continue
    figures += _measured(name, size, members, attention, mapped, peak)
  return figures


def _settings(size: Size, platform: str) -> list[tuple]:
  """(size, members, attention, mapped): one thing changed at a time."""
  usual = compute.on(platform).attention
  others = {'written', 'xla'} - {usual}
  found = [(size, 1, usual, True)]
  if size.members > 1:
    found += [(size, size.members, usual, mapped) for mapped in (True, False)]
  return found + [(size, 1, other, True) for other in sorted(others)]


def _measured(
  name: str,
  size: Size,
  members: int,
  attention: str,
  mapped: bool,
  peak: float,
) -> list[Figure]:
  """Of one setting; where there is no room for it, that."""
  try:
    population, cost = _population(size, members, attention, mapped)
    seconds = [population.train() / population.steps for _ in range(_TURNS)]
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    return [Figure(name, '', note='no room on the device')]
  tokens = tuple(members * cost.tokens_per_step / s for s in seconds)
  shares = tuple(
    100 * members * cost.flops_per_step / s / peak for s in seconds
  )
  return [
    Figure(name, 'tokens/s', tokens),
    Figure('  utilisation', '%', shares),
  ]


def _population(
  size: Size, members: int, attention: str, mapped: bool
) -> tuple[recipe.Members, object]:
  """Members of a size at work on one device, all of the CPU's at once."""
  corpus = recipe.library(size.context, size.context)
  how = compute.on(jax.default_backend())
  how = dataclasses.replace(how, attention=attention)
  space = recipe.load_space()
  space = space.rebase(
    space.baseline
    | {
      'depth': size.depth,
      'width': size.width,
      'heads': size.width // size.head_dim,
      'head_dim': size.head_dim,
      'context': size.context,
      'batch': size.batch,
      'position': 'rope',
    }
  )
  made = recipe.Recipe(language_model.LanguageModel(corpus, how), space)
  steps = 5
  population = recipe.Members(made, members, steps, mapped=mapped)
  structure = space.structure(space.baseline)
  return population, made.trainee.cost(structure)


def _peak() -> tuple[float, str]:
  """FLOPs a second, and who says so."""
  kind = jax.devices()[0].device_kind
  for name, peak in _GPUS.items():
    if name in kind:
      return peak, f'{kind}, bfloat16, as published'
  for name, chip in chips.CHIPS.items():
    if name in kind.lower().replace(' lite', 'e').replace('tpu ', ''):
      return chip.peak, f'{kind}, bfloat16, as published'
  size = 4096
  numbers = jnp.asarray(np.random.default_rng(0).random((size, size)))
  dtype = jnp.float32 if jax.default_backend() == 'cpu' else jnp.bfloat16
  product = jax.jit(lambda a: a @ a)
  numbers = jax.block_until_ready(numbers.astype(dtype))
  best = float('inf')
  for _ in range(6):
    begin = time.monotonic()
    jax.block_until_ready(product(numbers))
    best = min(best, time.monotonic() - begin)
  return 2 * size**3 / best, f'{kind}, best of 6 products of {size} rows'
