"""The script for TPU VMs, against a `gcloud` that only records its lines."""

import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / 'launch/tpu_vm.sh'
PLACE = '--zone=us-west4-a'
OPTIONS = (
  '--name=mine',
  '--type=v5litepod-256',
  PLACE,
  '--share=10.0.0.2:/a b',
)
FLAGS = ('--flagfile=v5e_256', '--data=a b/enwik9', "--space=it's.json")

# A cloud in a folder: `state` of the slice, `runs` to come as [code, state].
GCLOUD = """#!{python} -SE
import json, pathlib, sys, time
folder = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
with (folder / 'calls').open('a') as calls:
  calls.write(json.dumps(arguments) + '\\n')
group, verb, state = arguments[2], arguments[3], folder / 'state'
if verb == 'describe':
  print(state.read_text())
elif verb == 'create':
  if (folder / 'refuses').exists():
    sys.exit(1)
  state.write_text('WAITING_FOR_RESOURCES')
elif verb == 'delete':
  state.write_text('')
elif 'launch.search' in arguments[-1]:
  runs = json.loads((folder / 'runs').read_text())
  code, after = runs.pop(0)
  (folder / 'runs').write_text(json.dumps(runs))
  state.write_text(after)
  if code == 'hangs':
    time.sleep(60)
  sys.exit(code)
"""
# Time is when the slice comes.
SLEEP = """#!/bin/sh
cd {folder}
if [ "$(cat state)" = WAITING_FOR_RESOURCES ]; then printf ACTIVE > state; fi
"""

# Signals that whoever runs the tests ignores do what they do at a terminal.
LISTENING = """
import os, signal, sys
for name in (signal.SIGINT, signal.SIGHUP):
  signal.signal(name, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Cloud:
  """Runs the script; knows what it asked of `gcloud`."""

  def __init__(self, folder):
    self.folder = folder
    for name, text in (('gcloud', GCLOUD), ('sleep', SLEEP)):
      (folder / name).write_text(
        text.format(python=sys.executable, folder=folder)
      )
      (folder / name).chmod(0o755)
    (folder / 'calls').write_text('')
    (folder / 'state').write_text('')
    self.script = folder / 'project/launch' / SCRIPT.name
    self.script.parent.mkdir(parents=True)
    shutil.copy(SCRIPT, self.script)

  def commit(self):
    """Makes a checkout of the project."""
    name = ('-c', 'user.name=a', '-c', 'user.email=a@b')
    for command in ('init -q', 'add .', 'commit -q -m all'):
      words = ['git', *name, *command.split()]
      subprocess.run(words, cwd=self.script.parents[1], check=True)

  def start(self, *options, runs=(), flags=FLAGS):
    """Starts the script for runs that end as said: (code, state after)."""
    (self.folder / 'runs').write_text(json.dumps(runs))
    return subprocess.Popen(
      [
        *(sys.executable, '-c', LISTENING),
        *(self.script, *options, '--', *flags),
      ],
      env=os.environ | {'PATH': f'{self.folder}:{os.environ["PATH"]}'},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )

  def run(self, *options, **values):
    """Runs it to its end."""
    process = self.start(*options, **values)
    process.out, process.err = process.communicate(timeout=60)
    return process

  @property
  def calls(self):
    """Arguments of all calls, in order, but for looks at the state."""
    lines = (self.folder / 'calls').read_text().splitlines()
    calls = [json.loads(line)[2:] for line in lines]
    return [call for call in calls if call[1] != 'describe']

  @property
  def verbs(self):
    """What the calls were for."""
    return [
      'run' if 'launch.search' in call[-1] else call[1] for call in self.calls
    ]


@pytest.fixture
def cloud(tmp_path):
  made = Cloud(tmp_path)
  made.commit()
  return made


CREATED = ['create', 'scp', 'ssh']


def test_it_creates_installs_runs_and_deletes(cloud):
  process = cloud.run(*OPTIONS, runs=[(0, 'ACTIVE')])
  assert process.returncode == 0, process.err
  create, scp, install, run, delete = cloud.calls
  assert create == [
    *('queued-resources', 'create', 'mine', PLACE, '--node-id=mine'),
    '--accelerator-type=v5litepod-256',
    *('--runtime-version=v2-alpha-tpuv5-lite', '--spot'),
  ]
  everywhere = [PLACE, '--worker=all', '--batch-size=all', '--quiet']
  assert scp[:2] == ['tpu-vm', 'scp'] and scp[3:] == ['mine:', *everywhere]
  assert install[:-1] == ['tpu-vm', 'ssh', 'mine', *everywhere] == run[:-1]
  for part in ("'./datapoint[tpu]'", '10.0.0.2:/a\\ b /mnt/share'):
    assert part in install[-1]
  command = run[-1].removeprefix('--command=')
  assert command.startswith('cd /mnt/share && sudo ')
  one = 'flock /var/lock/datapoint ~/venv/bin/python -m launch.search '
  assert one in command
  assert shlex.split(command)[-3:] == list(FLAGS)
  force = ['--force', '--quiet']
  assert delete == ['queued-resources', 'delete', 'mine', PLACE, *force]


def test_a_dry_run_prints_these_lines_and_calls_nothing(cloud):
  cloud.run(*OPTIONS, runs=[(0, 'ACTIVE')])
  called = cloud.calls
  (cloud.folder / 'calls').write_text('')
  process = cloud.run(*OPTIONS, '--dry-run')
  assert process.returncode == 0 and cloud.calls == []
  # What Bash quotes, Bash reads.
  show = 'gcloud() { printf "%s\\0" "$@" $\'\\1\'; };' + process.out
  shown = subprocess.run(['bash', '-c', show], capture_output=True, text=True)
  lines = [text.split('\0') for text in shown.stdout.split('\1\0')]
  printed = [line[2:-1] for line in lines if line[1:]]
  printed = [line for line in printed if line[1] != 'describe']
  assert len(printed) == len(called)
  for mine, theirs in zip(printed, called):
    if mine[1] == 'scp':  # The archive has another folder each time.
      mine, theirs = mine[:2] + mine[3:], theirs[:2] + theirs[3:]
    assert mine == theirs


@pytest.mark.parametrize('code', [42, 255])
def test_a_run_that_asks_for_it_or_was_lost_is_started_again(cloud, code):
  process = cloud.run(*OPTIONS, runs=[(code, 'ACTIVE'), (0, 'ACTIVE')])
  assert process.returncode == 0
  assert cloud.verbs == [*CREATED, 'run', 'run', 'delete']
  first, second = [call for call in cloud.calls if 'launch.search' in call[-1]]
  assert first == second


@pytest.mark.parametrize('code', [1, 42, 255])
@pytest.mark.parametrize('state', ['SUSPENDED', 'SUSPENDING'])
def test_a_slice_that_was_preempted_is_asked_for_anew(cloud, code, state):
  process = cloud.run(*OPTIONS, runs=[(code, state), (0, 'ACTIVE')])
  assert process.returncode == 0
  again = ['delete', *CREATED, 'run', 'delete']
  assert cloud.verbs == [*CREATED, 'run', *again]


@pytest.mark.parametrize('code', [1, 2])
def test_bad_input_and_bugs_end_it(cloud, code):
  process = cloud.run(*OPTIONS, runs=[(code, 'ACTIVE'), (0, 'ACTIVE')])
  assert process.returncode == code
  assert cloud.verbs == [*CREATED, 'run', 'delete']


def test_runs_that_end_early_again_and_again_are_given_up(cloud):
  process = cloud.run(*OPTIONS, runs=[(42, 'ACTIVE')] * 9)
  assert process.returncode == 42
  assert cloud.verbs == [*CREATED, *['run'] * 5, 'delete']


def test_a_slice_that_is_there_is_used(cloud):
  (cloud.folder / 'state').write_text('ACTIVE')
  cloud.run(*OPTIONS, runs=[(0, 'ACTIVE')])
  assert cloud.verbs == ['scp', 'ssh', 'run', 'delete']


def test_what_cannot_be_had_is_not_asked_for_again(cloud):
  (cloud.folder / 'refuses').touch()
  process = cloud.run(*OPTIONS)
  assert process.returncode == 1
  assert cloud.verbs == ['create', 'delete']


def test_a_slice_may_be_kept_and_may_not_be_spot(cloud):
  process = cloud.run(*OPTIONS, '--keep', '--on-demand', runs=[(0, 'ACTIVE')])
  assert cloud.verbs == [*CREATED, 'run']
  assert '--spot' not in cloud.calls[0]
  assert 'gcloud compute tpus queued-resources delete mine' in process.err


@pytest.mark.parametrize('end', [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_nothing_is_left_where_a_terminal_ends_it(cloud, end):
  process = cloud.start(*OPTIONS, runs=[('hangs', 'ACTIVE')])
  deadline = time.monotonic() + 30
  while 'run' not in cloud.verbs and time.monotonic() < deadline:
    time.sleep(0.1)
  os.killpg(process.pid, end)  # As Ctrl-C does, and a window that closes.
  process.communicate(timeout=30)
  assert process.returncode != 0
  assert cloud.verbs == [*CREATED, 'run', 'delete']


@pytest.mark.parametrize(
  'missing, change, complaint',
  [
    (0, (), '--name is missing; expected'),
    (1, (), '--type=; expected v4-*'),
    (1, ('--type=v5e-8',), '--type=v5e-8; expected v4-*'),
    (2, (), '--zone is missing; expected'),
    (3, ('--share=/runs',), '--share=/runs; expected HOST:/PATH'),
    (None, ('--spot',), '--spot; expected'),
  ],
)
def test_bad_options_get_one_line_and_do_nothing(
  cloud, missing, change, complaint
):
  options = [o for i, o in enumerate(OPTIONS) if i != missing]
  process = cloud.run(*options, *change)
  assert process.returncode == 2
  assert process.err.startswith(f'error: {complaint}')
  assert process.err.count('\n') == 1
  assert cloud.calls == []


def test_without_a_commit_to_install_nothing_is_asked_for(tmp_path):
  cloud = Cloud(tmp_path)
  process = cloud.run(*OPTIONS)
  assert process.returncode == 2
  assert 'has no commit; expected a checkout' in process.err
  assert cloud.calls == []


@pytest.mark.parametrize('path', sorted(ROOT.glob('launch/**/*.sh')), ids=str)
def test_shellcheck_has_nothing_to_say(path):
  shellcheck = pathlib.Path(sys.executable).with_name('shellcheck')
  ended = subprocess.run([shellcheck, path], capture_output=True, text=True)
  assert ended.returncode == 0, ended.stdout
