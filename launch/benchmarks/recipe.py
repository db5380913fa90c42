"""nanoGPT's recipe for a CPU, and populations of it that can be timed.

4 layers of width 128, batches of 12 windows of 64 characters, .80M weights:
the README of github.com/karpathy/nanoGPT.
"""

import dataclasses
import pathlib
import time

import jax
import numpy as np

from evo import mesh as mesh_lib
from evo import population as population_lib
from evo import program, task
from evo import space as space_lib
from launch import experiment
from models import data, language_model, windows

# Characters of tinyshakespeare, and how many different ones.
_LENGTH, _CHARACTERS = 1_115_394, 65
# As `launch.search` takes them.
FLAGS = {
  'mesh': 'auto',
  'mapping': 'auto',
  'space': 'nanogpt',
  'tiers': ['configuration'],
}


def write_text(folder: pathlib.Path) -> pathlib.Path:
  """Writes a text as long and with as many characters as tinyshakespeare."""
  rng = np.random.default_rng(0)
  alphabet = [chr(ord('0') + i) for i in range(_CHARACTERS)]
  path = folder / 'text.txt'
  path.write_text(''.join(rng.choice(alphabet, _LENGTH)))
  return path


def library(context: int, evaluation_tokens: int) -> data.Corpus:
  """The text of a default search, in windows of another length."""
  return data.load(
    None,
    'byte',
    (0.85, 0.05, 0.05, 0.05),
    context=context,
    evaluation_tokens=evaluation_tokens,
  )


def load_space(varied: tuple[str, ...] = ()) -> space_lib.Space:
  """The space whose baseline the recipe is; all or some of it may change."""
  space = experiment.load_space(FLAGS)
  if not varied:
    return space
  return space_lib.Space.from_json(space.to_json() | {'free': list(varied)})


def toy_space() -> space_lib.Space:
  """Of the trainee without a model, `models.quadratic`."""
  return task.make('quadratic').space


@dataclasses.dataclass(frozen=True)
class Recipe:
  """The trainee and its space.

  Attributes:
    trainee: nanoGPT's transformer on a text of 65 characters.
    space: with nanoGPT's recipe as its baseline.
  """

  trainee: language_model.LanguageModel
  space: space_lib.Space

  @classmethod
  def make(cls, folder: pathlib.Path) -> 'Recipe':
    """With a text that is written to a folder."""
    text = str(write_text(folder))
    corpus = data.load(
      text,
      'char',
      (0.9, 0.1, 0, 0),
      context=64,
      evaluation_tokens=16384,
    )
    return cls(language_model.LanguageModel(corpus), load_space())

  @property
  def flops(self) -> float:
    """Of one training step, by the model's own products."""
    structure = self.space.structure(self.space.baseline)
    return self.trainee.cost(structure).flops_per_step

  def batches(self, count: int) -> np.ndarray:
    """What member 0 trains on, `[count, batch, context + 1]`."""
    structure = self.trainee.structure(
      self.space.structure(self.space.baseline)
    )

    @jax.jit
    def draw(step: jax.Array) -> jax.Array:
      tokens = self.trainee.data['train']['tokens']
      return windows.draw(
        tokens, np.int32(0), step, structure.batch, structure.context
      )

    return np.stack([draw(np.int32(step)) for step in range(count)])


class Members:
  """A population of the recipe, all of it at work."""

  def __init__(
    self,
    recipe: Recipe,
    count: int,
    steps: int,
    *,
    devices: int | None = None,
    mapped: bool | None = None,
    warm: bool = True,
  ):
    """Compiles, and trains one segment so that all is warm.

    Args:
      recipe: of a member.
      count: of members.
      steps: of a segment.
      devices: that they are divided among; by default as many as divide them.
      mapped: whether they run one after another on a device; by default as a
        search would have it.
      warm: else nothing is trained yet.
    """
    space, trainee = recipe.space, recipe.trainee
    self.count, self.steps = count, steps
    sizes = {'member': devices} if devices else mesh_lib.of_members(count)
    chosen = jax.devices()[: sizes['member']]
    mesh = mesh_lib.make(sizes, chosen)
    if mapped is None:
      given = FLAGS | {'population': count}
      mapped = experiment.mapped(given, mesh, jax.default_backend())
    shared = jax.NamedSharding(mesh, mesh_lib.SHARED)
    hyperparameters = space.hyperparameters(space.baseline)
    self.population = population_lib.Population(
      trainee,
      space.structure(space.baseline),
      tuple(hyperparameters),
      slots=count,
      steps=steps,
      total_steps=steps,
      mesh=mesh,
      data=jax.device_put(trainee.data, shared),
      mapped=mapped,
      meter=program.Meter(),
    )
    self.slots = population_lib.Slots(
      hyperparameters={
        name: np.full(count, value, np.float32)
        for name, value in hyperparameters.items()
      },
      seed=np.arange(count, dtype=np.int32),
      step=np.zeros(count, np.int32),
      active=np.ones(count, bool),
    )
    self.population.compile(('search',))
    self.begin()
    if warm:
      self.train()

  def begin(self) -> None:
    """Puts fresh states into all slots."""
    self.population.allocate()
    self.population.refill(self.slots, np.ones(self.count, bool))

  def train(self) -> float:
    """Seconds of one segment."""
    begin = time.monotonic()
    jax.block_until_ready(self.population.segment(self.slots))
    return time.monotonic() - begin

  def scores(self) -> np.ndarray:
    """Metrics `[member]` on the search split."""
    return np.asarray(self.population.evaluate(self.slots, 'search'))

  def inherit(self, parents: np.ndarray) -> float:
    """Seconds in which slots take over the states of others."""
    begin = time.monotonic()
    self.population.inherit(parents)
    jax.block_until_ready(self.population.state)
    return time.monotonic() - begin

  def step_milliseconds(self) -> float:
    """Of one step of one member."""
    return 1e3 * self.train() / self.steps / self.count
