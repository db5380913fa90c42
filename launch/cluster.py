"""The cluster: how the hosts of a run find each other, and how they leave.

On a TPU pod slice, under Slurm or Open MPI, JAX finds the hosts by itself;
elsewhere three variables of the environment name them:

  JAX_COORDINATOR_ADDRESS=10.0.0.1:8482 JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=0
"""

import contextlib
import dataclasses
import glob
import os
import socket
import sys
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import jax

# JAX has no public way to the coordination service that it starts.
from jax._src import distributed as jax_distributed

from evo import failure
from evo import hosts as hosts_lib
from launch import cli, owner
from launch import stop as stop_lib
from launch import watchdog as watchdog_lib

_PORT = '8482'  # As JAX's own on TPU.
_ADDRESS = 'JAX_COORDINATOR_ADDRESS'
_NUMBERS = ('JAX_NUM_PROCESSES', 'JAX_PROCESS_ID')
# Seconds in which all hosts have to come.
_PATIENCE = 300
# Our own signs of life tell sooner; JAX's answer to a silence is to abort.
_HEARTBEAT = 100


@dataclasses.dataclass
class Cluster:
  """The hosts of a run.

  Attributes:
    hosts: this one among them.
    reason: to stop, on any of them, as far as this one knows.
  """

  hosts: hosts_lib.Hosts
  reason: Callable[[], str | None]


@contextlib.contextmanager
def join(
  distributed: bool | None, stop: stop_lib.StopSignals
) -> Iterator[Cluster]:
  """Waits for the other hosts, if there are any, and leaves with them.

  An error within ends the process at once: the others would wait for it.

  Args:
    distributed: whether there are others; None looks for a TPU pod slice.
    stop: reasons to stop on this host.

  Raises:
    cli.InputError: no hosts can be found.
  """
  if not (_on_pod() if distributed is None else distributed):
    watchdog = watchdog_lib.Watchdog(stop, several=False)
    hosts = hosts_lib.Hosts(moved=watchdog.moved)
    try:
      yield Cluster(hosts, stop.reason)
    except SystemExit as leaving:
      # Told to stop at once: threads that still write would be waited for.
      _exit(leaving.code)
    finally:
      watchdog.off()
    return
  with cli.input_errors():
    place = _place()
  watchdog = watchdog_lib.Watchdog(stop)
  try:
    yield _connect(place, watchdog)
    _leave(watchdog)
  except SystemExit as leaving:
    _exit(leaving.code)
  except owner.Lost as error:
    cli.complain(error)
    _exit(cli.BAD_INPUT)
  except cli.InputError as error:
    watchdog.refuse(str(error))
    sys.stdout.flush()
    cli.leave(str(error), cli.BAD_INPUT)
  except failure.Differs as error:
    cli.complain(str(error))
    _exit(cli.BAD_INPUT)
  except BaseException as error:
    watchdog.convict(error)
    if line := cli.again(error):
      cli.complain(line)
      _exit(cli.AGAIN)
    if line := cli.refusal(error):
      cli.complain(line)
      _exit(cli.BAD_INPUT)
    traceback.print_exc()
    _exit(1)


def _connect(place: dict[str, Any], watchdog: watchdog_lib.Watchdog) -> Cluster:
  # It would take SIGTERM for itself, and lose one that comes early.
  jax.config.update('jax_enable_preemption_service', False)
  jax.distributed.initialize(
    **place,
    initialization_timeout=_PATIENCE,
    heartbeat_timeout_seconds=_HEARTBEAT,
  )
  state = jax_distributed.global_state
  watchdog.join(state.client, state.process_id, state.num_processes)
  hosts = hosts_lib.Hosts(
    state.client,
    state.process_id,
    state.num_processes,
    watchdog.moved,
    watchdog.fail,
  )
  watchdog.failed = hosts.heard
  return Cluster(hosts, watchdog.reason)


def _leave(watchdog: watchdog_lib.Watchdog) -> None:
  """Leaves together with all others."""
  watchdog.off()
  jax.distributed.shutdown()


def _exit(code: Any) -> None:
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


def _place() -> dict[str, Any]:
  """Arguments of `jax.distributed.initialize`.

  Raises:
    ValueError: variables of the environment are missing or no numbers.
  """
  address = os.environ.get(_ADDRESS)
  if address is None:
    # Anything that JAX finds; by default it would listen on all interfaces.
    port = os.environ.setdefault('JAX_COORDINATOR_PORT', _PORT)
    return {'coordinator_bind_address': f'{_own_address()}:{port}'}
  numbers = [os.environ.get(name, '') for name in _NUMBERS]
  if not all(number.isdecimal() for number in numbers):
    text = ' and '.join(f'{n}={x}' for n, x in zip(_NUMBERS, numbers))
    raise ValueError(f"{text}; expected the number of hosts and this one's")
  count, index = map(int, numbers)
  if index >= count:
    raise ValueError(
      f'{_NUMBERS[1]}={index}; expected a number below {_NUMBERS[0]}={count}'
    )
  return {
    'coordinator_address': address,
    'num_processes': count,
    'process_id': index,
    'coordinator_bind_address': address,
    'cluster_detection_method': 'deactivate',
  }


def _own_address() -> str:
  """Of this host's interface to the others; sends nothing."""
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect(('192.0.2.1', 9))  # Of no one: an address for documents.
    return probe.getsockname()[0]


def _on_pod() -> bool:
  """Whether this is one of several hosts with TPUs."""
  chips = glob.glob('/dev/accel*') + glob.glob('/dev/vfio/*')
  if not chips or 'tpu' not in os.environ.get('JAX_PLATFORMS', 'tpu'):
    return False
  if int(os.environ.get('MEGASCALE_NUM_SLICES', 1)) > 1:
    return True
  workers = os.environ.get('TPU_WORKER_HOSTNAMES')
  return ',' in (_workers() if workers is None else workers)


def _workers() -> str:
  """Of this slice, as the metadata of a TPU VM names them; empty elsewhere."""
  if 'TPU_SKIP_MDS_QUERY' in os.environ:
    return ''
  server = os.environ.get('GCE_METADATA_IP', 'metadata.google.internal')
  request = urllib.request.Request(
    f'http://{server}/computeMetadata/v1/instance/attributes/'
    'worker-network-endpoints',
    headers={'Metadata-Flavor': 'Google'},
  )
  try:
    with urllib.request.urlopen(request, timeout=5) as answer:
      return answer.read().decode()
  except OSError:
    return ''
