"""What a run leaves for others: a configuration and its weights."""

import orbax.checkpoint as ocp
from etils import epath

from evo import checkpoint, faults, storage
from evo import member as member_lib
from launch import experiment as experiment_lib
from launch import files


def write(
  folder: epath.Path,
  experiment: experiment_lib.Experiment,
  configuration: member_lib.Configuration,
  kept: member_lib.Weights,
) -> None:
  """Writes `configuration.json` and `weights/`, in place of earlier ones.

  All hosts read the state; the first one writes.

  Args:
    folder: made if it is not there.
    experiment: whose engine kept the state.
    configuration: of the member at its end.
    kept: its state.
  """
  folder = storage.folder(folder)  # Orbax demands absolute paths.
  space = experiment.space
  weights = experiment.trainee.trained_weights(
    space.structure(configuration),
    experiment.engine.kept.restore(kept),
  )
  if not experiment.engine.hosts.first:
    return
  folder.mkdir(parents=True, exist_ok=True)
  faults.point('export.before_weights')
  checkpoint.require_room(folder, weights)
  # Told to replace them, Orbax would ask more of a bucket than it needs to.
  (folder / 'weights').rmtree(missing_ok=True)
  alone = ocp.options.MultiprocessingOptions(active_processes={0})
  with ocp.StandardCheckpointer(multiprocessing_options=alone) as checkpointer:
    checkpointer.save(folder / 'weights', weights)
  faults.point('export.after_weights')
  files.write_json(folder / 'configuration.json', configuration)
