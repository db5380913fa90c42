"""Prints text from the champion of a run.

python -m launch.sample --workdir=runs/quick --prompt='def '
"""

import jax
import orbax.checkpoint as ocp
from absl import flags
from etils import epath

from evo import checkpoint, document, form, storage
from launch import cli, files
from launch import experiment as experiment_lib
from models import hyperparameters, sampling, transformer


def main(argv: list[str]) -> None:
  """Continues the prompt of the flags."""
  del argv
  values = flags.FLAGS
  with cli.input_errors():
    workdir = cli.workdir(values.workdir)
    run = files.read_run(workdir)
    given = run['flags']
    configuration = _configuration(workdir)
    experiment_lib.prepare_backend(given)
    space = experiment_lib.load_space(given)
    space.validate(configuration)
    trainee = experiment_lib.load_trainee(given, space)
    experiment_lib.check_text(trainee, run)
    structure = trainee.structure(space.structure(configuration))
    text = sampling.sample(
      structure,
      _weights(workdir, structure),
      space.hyperparameters(configuration),
      trainee.corpus.tokenizer,
      values.prompt,
      values.length,
      values.temperature,
      values.seed,
    )
  print(values.prompt + text)


def _configuration(workdir: epath.Path) -> dict:
  path = workdir / 'champion' / 'configuration.json'
  if not path.exists():
    raise ValueError(
      f'--workdir={workdir} has no champion; expected a run in which a member'
      ' reached the end of its budget'
    )
  return document.read(path, 'a configuration', form.mapping(form.scalar))


def _weights(workdir: epath.Path, structure) -> dict:
  abstract = jax.eval_shape(
    lambda: transformer.init_weights(structure, 0, hyperparameters.complete({}))
  )
  with ocp.StandardCheckpointer() as checkpointer:
    folder = storage.folder(workdir / 'champion' / 'weights')
    return checkpoint.read(checkpointer, folder, abstract)


def run() -> None:
  """Entry point of the console script."""
  cli.run(main)


flags.DEFINE_string('workdir', 'runs/quick', 'Of a search.')
flags.DEFINE_string('prompt', '\n', 'Text to go on from.')
flags.DEFINE_integer('length', 400, 'Tokens to add.', lower_bound=1)
flags.DEFINE_float('temperature', 0.8, '0 takes the likeliest token.')
flags.DEFINE_integer('seed', 0, 'Of the draws.')

if __name__ == '__main__':
  run()
