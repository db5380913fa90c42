"""The JobSet of GKE: its fields, and what becomes of each exit code.

Fields are those of jobset.x-k8s.io/v1alpha2, batch/v1 and core/v1; a field
that these do not know is dropped or refused by a cluster, never done.
"""

import math
import pathlib
import re

import jsonschema
import pytest
import setuptools
import yaml

from launch import cli

FOLDER = pathlib.Path(cli.__file__).parent / 'gke'
NAME = {'type': 'string', 'pattern': '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'}
COUNT = {'type': 'integer', 'minimum': 0}
WORDS = {'type': 'array', 'items': {'type': 'string'}, 'minItems': 1}
LABELS = {'type': 'object', 'additionalProperties': {'type': 'string'}}


def only(required=(), **properties):
  """The schema of an object without other fields."""
  return {
    'type': 'object',
    'properties': properties,
    'required': [*required],
    'additionalProperties': False,
  }


def many(schema):
  return {'type': 'array', 'items': schema, 'minItems': 1}


METADATA = only(['name'], name=NAME, labels=LABELS, annotations=LABELS)
AMOUNTS = {'type': 'object'}
CONTAINER = only(
  ['name', 'image'],
  name=NAME,
  image={'type': 'string'},
  command=WORDS,
  args=WORDS,
  env=many(only(['name'], name={'type': 'string'}, value={'type': 'string'})),
  resources=only(requests=AMOUNTS, limits=AMOUNTS),
  volumeMounts=many(
    only(['name', 'mountPath'], name=NAME, mountPath={'type': 'string'})
  ),
)
POD = only(
  ['containers', 'restartPolicy'],
  # All that Kubernetes allows beside a podFailurePolicy.
  restartPolicy={'const': 'Never'},
  terminationGracePeriodSeconds=COUNT,
  nodeSelector=LABELS,
  containers=many(CONTAINER),
  volumes=many(
    only(
      ['name'],
      name=NAME,
      persistentVolumeClaim=only(['claimName'], claimName=NAME),
    )
  ),
)
JOB = only(
  ['template'],
  completionMode={'enum': ['Indexed', 'NonIndexed']},
  parallelism=COUNT,
  completions=COUNT,
  backoffLimit=COUNT,
  podFailurePolicy=only(
    ['rules'],
    rules=many(
      only(
        ['action', 'onExitCodes'],
        action={'enum': ['FailJob', 'FailIndex', 'Ignore', 'Count']},
        onExitCodes=only(
          ['operator', 'values'],
          containerName=NAME,
          operator={'enum': ['In', 'NotIn']},
          values={'type': 'array', 'items': COUNT, 'uniqueItems': True},
        ),
      )
    ),
  ),
  template=only(['spec'], metadata=METADATA, spec=POD),
)
REASONS = [
  *('BackoffLimitExceeded', 'DeadlineExceeded', 'FailedIndexes'),
  *('MaxFailedIndexesExceeded', 'PodFailurePolicy'),
]
ACTIONS = ['FailJobSet', 'RestartJobSet', 'RestartJobSetAndIgnoreMaxRestarts']
FAILURES = only(
  maxRestarts=COUNT,
  restartStrategy={'enum': ['Recreate', 'BlockingRecreate']},
  rules=many(
    only(
      ['name', 'action'],
      name={'pattern': '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$'},
      action={'enum': ACTIONS},
      onJobFailureReasons={'type': 'array', 'items': {'enum': REASONS}},
      targetReplicatedJobs=WORDS,
    )
  ),
)
JOBSET = only(
  ['apiVersion', 'kind', 'metadata', 'spec'],
  apiVersion={'const': 'jobset.x-k8s.io/v1alpha2'},
  kind={'const': 'JobSet'},
  metadata=METADATA,
  spec=only(
    ['replicatedJobs'],
    failurePolicy=FAILURES,
    replicatedJobs=many(
      only(
        ['name', 'template'],
        name=NAME,
        replicas=COUNT,
        template=only(['spec'], metadata=METADATA, spec=JOB),
      )
    ),
  ),
)


@pytest.fixture(scope='module')
def documents():
  return list(yaml.safe_load_all((FOLDER / 'jobset.yaml').read_text()))


@pytest.fixture(scope='module')
def jobset(documents):
  return documents[0]


@pytest.fixture(scope='module')
def job(jobset):
  (replicated,) = jobset['spec']['replicatedJobs']
  assert replicated['replicas'] == 1
  return replicated['template']['spec']


@pytest.fixture(scope='module')
def container(job):
  (container,) = job['template']['spec']['containers']
  return container


def test_the_jobset_has_the_fields_of_its_version(jobset):
  jsonschema.Draft202012Validator.check_schema(JOBSET)
  jsonschema.validate(jobset, JOBSET)


def reason(job, code):
  """Why a job fails in which a pod exits with a code."""
  for rule in job['podFailurePolicy']['rules']:
    codes = rule['onExitCodes']
    if (code in codes['values']) == (codes['operator'] == 'In'):
      assert rule['action'] == 'FailJob'
      return 'PodFailurePolicy'
  assert job['backoffLimit'] == 0  # No pod is replaced alone.
  return 'BackoffLimitExceeded'


@pytest.mark.parametrize(
  'code, action',
  [
    *((code, 'FailJobSet') for code in (1, cli.BAD_INPUT)),
    *((code, 'RestartJobSet') for code in (cli.AGAIN, 134, 137, 143)),
  ],
)
def test_an_exit_code_ends_the_run_or_starts_all_hosts_again(
  jobset, job, code, action
):
  policy = jobset['spec']['failurePolicy']
  rules = [
    rule['action']
    for rule in policy['rules']
    if reason(job, code) in rule['onJobFailureReasons']
  ]
  assert [*rules, 'RestartJobSet'][0] == action
  assert policy['maxRestarts'] >= 10
  assert policy['restartStrategy'] == 'BlockingRecreate'


def test_it_asks_for_the_machine_of_its_preset(job, container):
  preset = container['args'][0].removeprefix('--flagfile=')
  text = (cli.PRESETS / f'{preset}.flags').read_text()
  (mesh,) = re.findall(r'^--mesh=(.+)$', text, re.M)
  chips = math.prod(map(int, re.findall(r':(\d+)', mesh)))
  selector = job['template']['spec']['nodeSelector']
  topology = selector['cloud.google.com/gke-tpu-topology']
  assert math.prod(map(int, topology.split('x'))) == chips
  resources = container['resources']
  assert resources['requests'] == resources['limits']
  hosts = job['parallelism']
  assert hosts == job['completions']
  assert hosts * resources['limits']['google.com/tpu'] == chips


def test_all_hosts_write_to_one_disk_that_outlives_the_run(
  documents, job, container
):
  claim = documents[1]
  assert (claim['apiVersion'], claim['kind']) == ('v1', 'PersistentVolumeClaim')
  assert claim['spec']['accessModes'] == ['ReadWriteMany']
  (volume,) = job['template']['spec']['volumes']
  name = volume['persistentVolumeClaim']['claimName']
  assert name == claim['metadata']['name']
  (mount,) = container['volumeMounts']
  assert mount['name'] == volume['name']
  # Paths among the flags are relative to it.
  dockerfile = (FOLDER / 'Dockerfile').read_text()
  assert (
    re.findall(r'^WORKDIR (.+)$', dockerfile, re.M)[-1] == (mount['mountPath'])
  )
  for argument in container['args']:
    assert '=/' not in argument


def test_the_policy_watches_the_container_that_runs(job, container):
  for rule in job['podFailurePolicy']['rules']:
    assert rule['onExitCodes']['containerName'] == container['name']


def test_the_image_holds_what_is_installed_and_runs_a_search():
  lines = (FOLDER / 'Dockerfile').read_text().splitlines()
  copied = {line.split()[1] for line in lines if line.startswith('COPY ')}
  root = FOLDER.parents[1]
  packages = setuptools.find_packages(root, include=['evo', 'models', 'launch'])
  assert set(packages) <= copied and 'COPY setup.py README.md ./' in lines
  assert lines[-1] == 'ENTRYPOINT ["python", "-m", "launch.search"]'
