"""Tests of searches on several hosts: real processes on this machine."""

import dataclasses
import json
import signal
import socket
import time

import punisher
import pytest

from evo import ledger as ledger_lib
from launch import cli, cluster, owner
from launch import stop as stop_lib

# On SIGUSR1 the main thread is stuck, in Python, while all others go on.
STUCK = (
  'import signal, time;'
  'signal.signal(signal.SIGUSR1, lambda *unused: time.sleep(10**6));'
  'from launch import watchdog;'
  'watchdog.LEAST = 5.0'
)
# A checkpoint after each round.
OFTEN = 'from evo import retention; retention._MOST_ROUNDS = 1'
# A start that compiles for longer than there is time after a SIGTERM.
HURRIED = 'from launch import watchdog; watchdog.GRACE = 0.5'


def free_port():
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


@pytest.fixture
def together(launch, started):
  """Starts one search on some hosts; `own` has flags of each of them."""

  def start(count, *flags, own=((),) * 9, **options):
    address = f'127.0.0.1:{free_port()}'
    hosts = [
      launch(
        'search',
        *flags,
        *own[host],
        '--distributed',
        wait=False,
        env={
          'JAX_COORDINATOR_ADDRESS': address,
          'JAX_NUM_PROCESSES': str(count),
          'JAX_PROCESS_ID': str(host),
        }
        | options.get('env', {}),
        **{k: v for k, v in options.items() if k != 'env'},
      )
      for host in range(count)
    ]
    started.extend(hosts)
    return hosts

  return start


def end(process, timeout=120):
  """The exit code; keeps what the process said."""
  process.out, process.err = process.communicate(timeout=timeout)
  return process.returncode


def ledger(workdir):
  """The bytes of all records."""
  return [p.read_bytes() for p in sorted((workdir / 'ledger').iterdir())]


def wait_for_rounds(workdir, count):
  last = workdir / 'ledger' / f'{count - 1:08d}.json'
  deadline = time.monotonic() + 120
  while not last.exists():
    assert time.monotonic() < deadline
    time.sleep(0.01)


@pytest.fixture(scope='module')
def flags(small):
  """A search with exploits on two devices, whoever has them."""
  return [*small, '--strategy=pbt', '--max_members=16', '--mesh=member:2']


@pytest.fixture(scope='module')
def alone(launch, flags, tmp_path_factory):
  """The ledger of that search on one host, never broken."""
  workdir = tmp_path_factory.mktemp('alone') / 'run'
  process = launch('search', *flags, f'--workdir={workdir}')
  assert process.returncode == 0, process.err
  return ledger(workdir)


def test_two_hosts_write_the_ledger_of_one(together, alone, flags, tmp_path):
  workdir = tmp_path / 'run'
  hosts = together(2, *flags, f'--workdir={workdir}')
  assert [end(host) for host in hosts] == [0, 0], hosts[1].err
  assert ledger(workdir) == alone
  legs = [leg for record in alone for leg in json.loads(record)['legs']]
  assert any(x['source'] and x['source'][0] != x['member'] for x in legs)
  # The first one speaks and writes for both.
  assert 'report.md' in hosts[0].out
  assert all('[Gloo]' in line for line in hosts[1].out.splitlines())
  assert (workdir / 'champion/weights').exists()


@pytest.mark.slow
def test_so_they_do_in_a_bucket(together, alone, flags, bucket):
  hosts = together(2, *flags, '--workdir=gs://bucket/run')
  assert [end(host) for host in hosts] == [0, 0], hosts[1].err
  assert [bucket.content(n) for n in bucket.names('run/ledger/')] == alone
  assert bucket.names('run/champion/weights/')


def test_where_another_process_holds_the_workdir_all_hosts_are_refused(
  together, flags, tmp_path
):
  (tmp_path / 'run').mkdir()
  holder = dataclasses.asdict(owner.Holder.here())
  (tmp_path / 'run/owner.json').write_text(json.dumps(holder))
  hosts = together(2, *flags, f'--workdir={tmp_path}/run')
  assert [end(host) for host in hosts] == [2, 2]
  for host in hosts:
    last = host.err.splitlines()[-1]
    assert last.startswith('error: ') and f'process {holder["pid"]}' in last
  assert [path.name for path in (tmp_path / 'run').iterdir()] == ['owner.json']


@pytest.mark.slow
@pytest.mark.parametrize('strategy', ['pbt', 'evolution'])
def test_any_number_of_hosts_writes_the_same_ledger(
  launch, together, small, tmp_path, strategy
):
  flags = [*small, f'--strategy={strategy}', '--mesh=member:4']
  process = launch('search', *flags, f'--workdir={tmp_path}/alone')
  assert process.returncode == 0, process.err
  for count in (1, 2, 4):
    workdir = tmp_path / str(count)
    hosts = together(count, *flags, f'--workdir={workdir}')
    assert [end(host) for host in hosts] == [0] * count, hosts[0].err
    assert ledger(workdir) == ledger(tmp_path / 'alone')


LOSSES = [
  (signal.SIGKILL, 0, 5),
  (signal.SIGKILL, 1, 5),
  (signal.SIGSTOP, 0, 17),
  (signal.SIGSTOP, 1, 17),
  (signal.SIGUSR1, 0, 17),
  (signal.SIGUSR1, 1, 17),
]


@pytest.mark.slow
@pytest.mark.parametrize('how,lost,seconds', LOSSES)
def test_where_a_host_is_lost_the_other_ends_and_both_can_go_on(
  together, alone, flags, tmp_path, how, lost, seconds
):
  workdir = tmp_path / 'run'
  given = [*flags, f'--workdir={workdir}']
  hosts = together(2, *given, prelude=STUCK)
  wait_for_rounds(workdir, 20)
  hosts[lost].send_signal(how)
  other = hosts[1 - lost]
  assert end(other, timeout=seconds + 5) == cli.AGAIN, other.err
  assert f'host {1 - lost} ends: ' in other.err
  hosts[lost].kill()
  assert not failures(workdir)  # Devices that wait for lost ones do not count.
  hosts = together(2, *given)
  assert [end(host) for host in hosts] == [0, 0], hosts[0].err
  assert 'resuming' in hosts[0].err
  assert ledger(workdir) == alone


def failures(workdir):
  events = ledger_lib.Events(workdir / 'events.jsonl').read()
  return [event for event in events if event['event'] == 'failed']


@pytest.mark.slow
@pytest.mark.parametrize('where', [0, 1])
def test_a_failure_of_devices_on_any_host_is_counted_once(
  together, alone, flags, tmp_path, where
):
  given = [*flags, f'--workdir={tmp_path}/run']
  fails = punisher.prelude(f'fail_segment(20, host={where})')
  hosts = together(2, *given, prelude=fails)
  assert [end(host, timeout=60) for host in hosts] == [cli.AGAIN] * 2
  (failed,) = failures(tmp_path / 'run')
  assert failed['species'] == 0 and 'injected' in failed['reason']
  assert failed['round'] == len(ledger(tmp_path / 'run'))
  hosts = together(2, *given)
  assert [end(host) for host in hosts] == [0, 0], hosts[0].err
  assert ledger(tmp_path / 'run') == alone


@pytest.mark.slow
@pytest.mark.parametrize('asked', [0, 1])
def test_sigterm_to_one_host_saves_the_same_round_on_all(
  together, alone, flags, tmp_path, asked
):
  workdir = tmp_path / 'run'
  given = [*flags, f'--workdir={workdir}']
  hosts = together(2, *given)
  wait_for_rounds(workdir, 10)
  hosts[asked].send_signal(signal.SIGTERM)
  assert [end(host, timeout=30) for host in hosts] == [cli.AGAIN] * 2
  last = len(ledger(workdir)) - 1
  assert (workdir / f'checkpoints/round-{last:08d}.json').exists()
  hosts = together(2, *given)
  assert [end(host) for host in hosts] == [0, 0], hosts[0].err
  assert ledger(workdir) == alone


@pytest.mark.slow
@pytest.mark.parametrize('seconds', [0.3, 1.5, 3.0])
def test_sigterm_at_start_up_ends_all_hosts_before_anything_is_written(
  together, flags, tmp_path, seconds
):
  hosts = together(2, *flags, f'--workdir={tmp_path}/run')
  time.sleep(seconds)
  hosts[1].send_signal(signal.SIGTERM)
  assert [end(host, timeout=60) for host in hosts] == [cli.AGAIN] * 2
  written = tmp_path / 'run/ledger'
  assert not written.exists() or len(ledger(tmp_path / 'run')) < 3


@pytest.mark.slow
def test_sigterm_while_programs_compile_does_not_wait_for_them(
  together, flags, tmp_path
):
  workdir = tmp_path / 'run'
  hosts = together(
    2,
    *flags,
    f'--workdir={workdir}',
    prelude=HURRIED,
    env={'JAX_COMPILATION_CACHE_DIR': str(tmp_path / 'empty')},
  )
  while not (workdir / 'run.json').exists():
    time.sleep(0.01)
  hosts[1].send_signal(signal.SIGTERM)
  assert [end(host, timeout=20) for host in hosts] == [cli.AGAIN] * 2
  assert 'SIGTERM, and no round ended in' in hosts[0].err + hosts[1].err


@pytest.mark.slow
@pytest.mark.parametrize('count,mesh', [(1, 1), (1, 4), (4, 4)])
def test_other_hosts_go_on_with_what_two_have_saved(
  launch, together, alone, flags, tmp_path, count, mesh
):
  workdir = tmp_path / 'run'
  given = [*flags, f'--workdir={workdir}']
  hosts = together(2, *given)
  wait_for_rounds(workdir, 15)
  hosts[0].send_signal(signal.SIGTERM)
  assert [end(host) for host in hosts] == [cli.AGAIN] * 2
  rounds = len(ledger(workdir))
  given.append(f'--mesh=member:{mesh}')
  hosts = (
    together(count, *given)
    if count > 1
    else [launch('search', *given, wait=False)]
  )
  assert [end(host) for host in hosts] == [0] * count, hosts[0].err
  assert f'resuming after round {rounds - 1}' in hosts[0].err
  assert ledger(workdir) == alone


@pytest.mark.slow
def test_bad_input_is_answered_by_all_hosts(together, small, tmp_path):
  (tmp_path / 'thesis.tex').write_text('mine')
  hosts = together(2, *small, f'--workdir={tmp_path}')
  assert [end(host) for host in hosts] == [cli.BAD_INPUT] * 2
  for host in hosts:
    assert 'other files; expected' in host.err.splitlines()[-1]
  assert [p.name for p in tmp_path.iterdir()] == ['thesis.tex']


@pytest.mark.parametrize('odd', [0, 1])
def test_what_one_host_alone_was_given_wrong_ends_all(
  together, small, tmp_path, odd
):
  wrong = [f'--data={tmp_path}/none.txt']
  own = [wrong if host == odd else [] for host in range(2)]
  hosts = together(2, *small, f'--workdir={tmp_path}/run', own=own)
  assert [end(host) for host in hosts] == [cli.BAD_INPUT] * 2
  for host in hosts:
    assert 'none.txt' in host.err.splitlines()[-1]
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('strategy', ['evolution', 'pbt'])
def test_members_may_lie_over_hosts_and_later_over_fewer(
  together, launch, small, tmp_path, strategy
):
  workdir = tmp_path / 'run'
  flags = [*small, f'--strategy={strategy}', f'--workdir={workdir}']
  hosts = together(2, *flags, '--mesh=member:1,fsdp:4', prelude=OFTEN)
  assert [end(host) for host in hosts] == [0, 0], hosts[1].err
  rows = [
    json.loads(line)
    for line in (workdir / 'ledger.jsonl').read_text().splitlines()
  ]
  assert any(r['source'] and r['source'][0] != r['member'] for r in rows)
  assert (workdir / 'champion/weights').exists()
  further = [*flags, '--max_members=12', '--mesh=member:1,fsdp:2']
  process = launch('search', *further)
  assert process.returncode == 0, process.err
  result = json.loads((workdir / 'result.json').read_text())
  assert result['members'] >= 12 and result['gain'] is not None


@pytest.mark.parametrize(
  'count,index', [('', ''), ('2', ''), ('two', '0'), ('2', '2'), ('2', '-1')]
)
def test_hosts_that_are_not_numbered_are_refused(monkeypatch, count, index):
  monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', '127.0.0.1:1')
  monkeypatch.setenv('JAX_NUM_PROCESSES', count)
  monkeypatch.setenv('JAX_PROCESS_ID', index)
  stop = stop_lib.StopSignals.__new__(stop_lib.StopSignals)
  with pytest.raises(cli.InputError, match='JAX_PROCESS_ID=.*; expected'):
    with cluster.join(True, stop):
      pass


@pytest.mark.parametrize(
  'variables,chips,expected',
  [
    ({}, True, False),
    ({'TPU_WORKER_HOSTNAMES': 'a,b'}, True, True),
    ({'TPU_WORKER_HOSTNAMES': 'localhost'}, True, False),
    ({'MEGASCALE_NUM_SLICES': '2'}, True, True),
    ({'TPU_WORKER_HOSTNAMES': 'a,b'}, False, False),
    ({'TPU_WORKER_HOSTNAMES': 'a,b', 'JAX_PLATFORMS': 'cpu'}, True, False),
  ],
)
def test_a_pod_slice_is_recognised_by_its_chips_and_workers(
  monkeypatch, variables, chips, expected
):
  for name in ('TPU_WORKER_HOSTNAMES', 'MEGASCALE_NUM_SLICES', 'JAX_PLATFORMS'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv('TPU_SKIP_MDS_QUERY', '1')
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  found = ['/dev/accel0'] if chips else []
  monkeypatch.setattr(
    cluster.glob, 'glob', lambda pattern: found if 'accel' in pattern else []
  )
  assert cluster._on_pod() == expected


def test_the_coordinator_never_listens_on_all_interfaces(monkeypatch):
  monkeypatch.delenv('JAX_COORDINATOR_ADDRESS', raising=False)
  monkeypatch.setenv('JAX_COORDINATOR_PORT', '8482')
  host, _, port = cluster._place()['coordinator_bind_address'].rpartition(':')
  assert host not in ('', '0.0.0.0', '[::]') and port == '8482'
  monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', '10.0.0.1:99')
  monkeypatch.setenv('JAX_NUM_PROCESSES', '2')
  monkeypatch.setenv('JAX_PROCESS_ID', '1')
  assert cluster._place()['coordinator_bind_address'] == '10.0.0.1:99'
