"""What the chips of TPUs can do, and how long a compiled program takes there.

Peak, memory and its bandwidth are published (cloud.google.com/tpu/docs), as is
the arrangement of matrix units, from which the clock follows. Bandwidth of
links: The Scaling Book (jax-ml.github.io/scaling-book/tpus).

Times are estimates: the cycles for which the compiler has scheduled a program.
They were never compared with a chip. Chains of large matrix products come out
at 1.03 to 1.14 of the roofline, on v6e at up to 1.4 (`tests/evo/hlo_test.py`).
"""

import dataclasses
import re

from evo import hlo

_GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Chip:
  """One chip, which JAX calls a device.

  Attributes:
    name: as in topologies, such as `v5e`.
    peak: bfloat16 FLOPs a second.
    clock: cycles a second.
    usable: bytes of memory that the compiler lets a program and its arrays
      have.
    bandwidth: of memory, bytes a second.
    link: of a link to a neighbour, bytes a second one way.
    configuration: under which the compiler takes the chip for one device; v4
      has two cores that others take for two.
  """

  name: str
  peak: float
  clock: float
  usable: float
  bandwidth: float
  link: float
  configuration: str = 'default'

  def seconds(self, program: hlo.Module) -> float:
    """Estimate for one run, what carries no cycles (kernels) left out."""
    return program.total(_cycles) / self.clock


CHIPS = {
  chip.name: chip
  for chip in (
    Chip('v4', 275e12, 1.05e9, 30.75 * _GIB, 1.23e12, 4.5e10, 'megacore'),
    Chip('v5e', 197e12, 1.5e9, 15.75 * _GIB, 8.2e11, 4.5e10),
    Chip('v5p', 459e12, 1.75e9, 95.74 * _GIB, 2.77e12, 9e10),
    Chip('v6e', 920e12, 1.75e9, 31.25 * _GIB, 1.64e12, 9e10),
  )
}


def _cycles(instruction: hlo.Instruction) -> float:
  found = re.search(r'"estimated_cycles":"?(\d+)', instruction.text)
  return float(found[1]) if found else 0.0
