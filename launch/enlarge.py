"""The larger scale at which confirmed changes are tried again."""

from typing import Any

from etils import epath

from evo import space as space_lib
from evo import transfer
from launch import experiment as experiment_lib
from models import language_model

TOKENS = 'tokens'  # Of a member's training, in place of a parameter.


def factors(text: str, space: space_lib.Space) -> dict[str, int]:
  """Parses --transfer, such as depth:2,tokens:2.

  Raises:
    ValueError: it names no whole number of the space, or no whole factor.
  """
  found = {}
  for part in text.split(','):
    name, _, factor = part.partition(':')
    p = space.by_name.get(name)
    counts = p is not None and (
      p.kind == 'int' or isinstance(p.values and p.values[0], int)
    )
    known = name == TOKENS or (counts and not isinstance(p.default, bool))
    if not known or not factor.isdecimal() or int(factor) < 1:
      raise ValueError(
        f'--transfer={text}; expected PARAMETER:FACTOR,..., such as'
        ' depth:2,tokens:2, where a parameter is a whole number of the space'
      )
    found[name] = int(factor)
  return found


def enlarged(
  space: space_lib.Space, factors: dict[str, int]
) -> space_lib.Space:
  """The space whose numbers are so many times as large."""
  value = space.to_json()
  for name, factor in factors.items():
    if name == TOKENS:
      continue
    p = value['parameters'][name]
    p['default'] *= factor
    if 'choices' in p:
      p['choices'] = [choice * factor for choice in p['choices']]
    else:
      p['high'] *= factor
  return space_lib.Space.from_json(value)


def load_trainee(
  given: dict[str, Any], experiment: experiment_lib.Experiment
) -> language_model.LanguageModel:
  """The transformer on the text that --transfer_data names, if it does.

  Raises:
    ValueError: the text is too short.
    OSError: it cannot be read.
  """
  if not given['transfer_data']:
    return experiment.trainee
  data = {'data': given['transfer_data']}
  return experiment_lib.load_trainee(given | data, experiment.space)


def check(
  given: dict[str, Any],
  space: space_lib.Space,
  trainee: language_model.LanguageModel,
) -> None:
  """Raises ValueError unless there is such a larger scale.

  Args:
    given: the flags of the search.
    space: of the search.
    trainee: of `load_trainee`.
  """
  scale = factors(given['transfer'], space)
  try:
    larger = enlarged(space, scale)
    trainee.cost(larger.structure(larger.baseline))
  except ValueError as error:
    raise ValueError(f'--transfer={given["transfer"]}: {error}') from error


def larger(
  given: dict[str, Any],
  experiment: experiment_lib.Experiment,
  trainee: language_model.LanguageModel,
  folder: epath.Path,
) -> transfer.Larger:
  """Where the confirmed changes of a search are tried again.

  Args:
    given: the flags of the search.
    experiment: of the search.
    trainee: of `load_trainee`.
    folder: of its checkpoints.
  """
  scale = factors(given['transfer'], experiment.space)
  space = enlarged(experiment.space, scale)
  times = scale.get(TOKENS, 1)
  own = {
    'workdir': str(folder),
    'member_tokens': given['member_tokens'] * times,
  }
  if given['member_flops'] is not None:
    # A baseline of the larger scale gets so many times the tokens.
    costs = [
      trainee.cost(s.structure(s.baseline)) for s in (experiment.space, space)
    ]
    rates = [cost.flops_per_step / cost.tokens_per_step for cost in costs]
    own['member_flops'] = given['member_flops'] * times * rates[1] / rates[0]

  def enlarge(configuration: space_lib.Configuration) -> dict[str, Any]:
    values = dict(configuration)
    for name, factor in scale.items():
      if name != TOKENS:
        values[name] = values[name] * factor
    return space.canonical(values)

  engine = experiment_lib.engine(
    given | own, space, trainee, hosts=experiment.engine.hosts
  )
  return transfer.Larger(engine, enlarge)
