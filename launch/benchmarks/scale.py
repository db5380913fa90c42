"""How the speed grows with devices and with processes, on one machine.

Devices of a CPU share its cores: where there are more of them than cores, what
is measured is what dividing costs.
"""

import contextlib
import functools
import pathlib
import socket
import sys

import jax

from launch import experiment
from launch.benchmarks import commands, peer, recipe
from launch.benchmarks.figure import Figure, Observe, in_turn
from launch.benchmarks.options import Options

MINUTES = 6
_DEVICES, _PROCESSES = (1, 2, 4, 8), (1, 2, 4)
_MEMBERS, _STEPS, _TURNS = 8, 10, 3
# Of the quick preset, without what follows the search.
_SEARCH = (
  '--mesh=member:4',
  '--population=8',
  '--max_members=8',
  '--member_tokens=30720',
  '--confirm_seeds=0',
)


def measure(options: Options, observe: Observe) -> list[Figure]:
  """Milliseconds per step of one of 8 members."""
  with contextlib.ExitStack() as stack:
    peers = {
      f'{n} devices': stack.enter_context(
        peer.Peer('launch.benchmarks.scale', str(n), str(options.folder))
      )
      for n in _DEVICES
    }
    found = in_turn(
      {name: each.ask for name, each in peers.items()},
      _TURNS,
      lambda what, share: observe(what, share / 2),
    )
  found |= in_turn(
    {
      f'{n} processes, 4 devices': functools.partial(_search, options.folder, n)
      for n in _PROCESSES
    },
    _TURNS,
    lambda what, share: observe(what, 0.5 + share / 2),
  )
  cores = experiment.cores()
  return [
    Figure(name, 'ms per step of one', values, f'{cores} cores')
    for name, values in found.items()
  ]


def _search(folder: pathlib.Path, processes: int) -> float:
  """Milliseconds of training per step of a member, of a search on all."""
  workdir = folder / f'{processes}-{len(list(folder.iterdir()))}'
  flags = [*_SEARCH, f'--workdir={workdir}']
  if processes == 1:
    commands.run('launch.search', flags)
  else:
    address = f'127.0.0.1:{_free_port()}'
    with contextlib.ExitStack() as stack:
      hosts = [
        stack.enter_context(
          commands.started(
            'launch.search',
            [*flags, '--distributed'],
            {
              'JAX_COORDINATOR_ADDRESS': address,
              'JAX_NUM_PROCESSES': str(processes),
              'JAX_PROCESS_ID': str(host),
            },
          )
        )
        for host in range(processes)
      ]
      for host in hosts:
        commands.finish(host)
  result = commands.result(workdir)
  # 768 tokens a step.
  return 1e3 * result['seconds_training'] / (result['tokens'] / 768)


def _free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


def main() -> None:
  """A process with so many devices; answers with milliseconds."""
  devices, folder = sys.argv[1:]
  experiment.prepare_backend({'mesh': f'member:{devices}'})
  own = pathlib.Path(folder) / f'devices-{devices}'
  own.mkdir()
  made = recipe.Recipe.make(own)
  members = recipe.Members(made, _MEMBERS, _STEPS, devices=jax.device_count())
  peer.serve(members.step_milliseconds)


if __name__ == '__main__':
  main()
