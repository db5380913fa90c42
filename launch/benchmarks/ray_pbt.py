"""Population-based training by Ray Tune, in a process of its own; see `peer`.

  python -m launch.benchmarks.ray_pbt NANOGPT BATCHES INTERVAL STEPS

Ray as its documentation has it for many small trials: all of them at work on a
share of the cores, actors reused, nothing logged.
"""

import itertools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np
import ray
import torch
from ray import tune
from ray.tune import schedulers

from launch.benchmarks import nanogpt, peer

_POPULATION = 8
_EVALUATED = 16384  # tokens
_SPACE = {
  'learning_rate': tune.loguniform(1e-4, 1e-2),
  'weight_decay': tune.loguniform(1e-2, 1.0),
  'beta2': tune.uniform(0.9, 0.999),
}


class Trial(tune.Trainable):
  """A member; what its process does when goes to a file of the process."""

  def setup(
    self,
    config: dict,
    folder: str,
    log: str,
    batches: np.ndarray,
    interval: int,
  ) -> None:
    torch.set_num_threads(1)
    self._interval = interval
    self._training = nanogpt.Training(pathlib.Path(folder), batches)
    self._training.set(**config)
    # A process is given other trials, and a trial other processes.
    self._log = pathlib.Path(log) / f'{os.getpid()}.jsonl'
    self._restored = False

  def step(self) -> dict[str, float]:
    begin = time.monotonic()
    self._training.train(self._interval)
    loss = self._training.evaluate(_EVALUATED)
    line = {
      'begin': begin,
      'end': time.monotonic(),
      'restored': self._restored,
    }
    with self._log.open('a') as file:
      file.write(json.dumps(line) + '\n')
    self._restored = False
    return {'loss': loss}

  def save_checkpoint(self, checkpoint_dir: str) -> None:
    torch.save(self._training.state(), os.path.join(checkpoint_dir, 'state'))

  def load_checkpoint(self, checkpoint_dir: str) -> None:
    path = os.path.join(checkpoint_dir, 'state')
    self._training.restore(torch.load(path, weights_only=True))
    self._restored = True

  def reset_config(self, new_config: dict) -> bool:
    self._training.set(**new_config)
    return True


def run(
  folder: str, batches: np.ndarray, interval: int, steps: int
) -> dict[str, float | None]:
  """Seconds from the first step to the last, and of an exploit."""
  cores = len(os.sched_getaffinity(0))
  with tempfile.TemporaryDirectory() as log:
    begin = time.monotonic()
    trainable = tune.with_resources(
      tune.with_parameters(
        Trial,
        folder=folder,
        log=log,
        batches=batches,
        interval=interval,
      ),
      {'cpu': cores / _POPULATION},
    )
    tune.Tuner(
      trainable,
      param_space=_SPACE,
      tune_config=tune.TuneConfig(
        num_samples=_POPULATION,
        metric='loss',
        mode='min',
        reuse_actors=True,
        scheduler=schedulers.PopulationBasedTraining(
          time_attr='training_iteration',
          perturbation_interval=1,
          quantile_fraction=0.25,
          hyperparam_mutations=_SPACE,
        ),
      ),
      run_config=tune.RunConfig(
        stop={'training_iteration': steps // interval},
        storage_path=log,
        verbose=0,
      ),
    ).fit()
    return _times(pathlib.Path(log), begin)


def _times(log: pathlib.Path, begin: float) -> dict[str, float | None]:
  """Of what the processes noted."""
  processes = [
    [json.loads(line) for line in path.read_text().splitlines()]
    for path in log.glob('*.jsonl')
  ]
  lines = [line for process in processes for line in process]
  first, last = min(x['begin'] for x in lines), max(x['end'] for x in lines)
  gaps = [
    (after['begin'] - before['end'], after['restored'])
    for process in processes
    for before, after in itertools.pairwise(process)
  ]
  exploits = [seconds for seconds, restored in gaps if restored]
  return {
    'seconds': last - first,
    'starting': first - begin,
    'exploits': len(exploits),
    'exploit_seconds': statistics.mean(exploits) if exploits else None,
  }


def main() -> None:
  """Starts Ray, then runs once for each line."""
  folder, batches, interval, steps = sys.argv[1:]
  os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
  os.environ['TUNE_DISABLE_AUTO_CALLBACK_LOGGERS'] = '1'
  out, sys.stdout = sys.stdout, sys.stderr  # Ray talks.
  ray.init(include_dashboard=False, log_to_driver=False, logging_level='error')

  def answer() -> dict[str, float]:
    return run(folder, np.load(batches), int(interval), int(steps))

  peer.serve(answer, out)


if __name__ == '__main__':
  main()
