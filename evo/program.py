"""Programs: functions compiled ahead of time, once, and counted."""

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from evo import lull

# The meter for which this thread compiles, if it does.
_metered = threading.local()


class Memory(NamedTuple):
  """Bytes that a call of a program takes on each device.

  Attributes:
    arguments: those that are given back changed among them.
    results: all others.
    temporaries: in between.
  """

  arguments: int
  results: int
  temporaries: int


@dataclasses.dataclass
class Meter:
  """Where the time of a session goes, in seconds, and what was compiled.

  Attributes:
    compiling: tracing, lowering and compiling programs.
    training: devices busy with segments.
    evaluating: devices busy with evaluations.
    compilations: programs lowered.
    cached: those of them that the compilation cache had.
  """

  compiling: float = 0.0
  training: float = 0.0
  evaluating: float = 0.0
  compilations: int = 0
  cached: int = 0


def _listen(event: str, **unused: Any) -> None:
  meter = getattr(_metered, 'meter', None)
  if meter and event == '/jax/compilation_cache/cache_hits':
    meter.cached += 1


jax.monitoring.register_event_listener(_listen)


class Program:
  """A jitted function that is compiled at its first call and never again.

  A later call with other shapes or dtypes raises instead of compiling anew,
  so mutating hyperparameters cannot compile anything unnoticed.
  """

  def __init__(
    self,
    function: Callable,
    meter: Meter,
    options: dict[str, str] | None = None,
    **jit_options: Any,
  ):
    """Sets up.

    Args:
      function: pure function of arrays.
      meter: counts the compilation and its seconds.
      options: of the compiler.
      **jit_options: of `jax.jit`, such as `donate_argnums`.
    """
    self._jitted = jax.jit(function, **jit_options)
    self._meter, self._options = meter, options
    self._compiled = None

  def compile(self, *args: Any) -> None:
    """Compiles for these arguments (arrays or shapes), if not yet done."""
    if self._compiled is None:
      self._meter.compilations += 1
      with lull.expected():
        lowered = self._jitted.lower(*args)
        _metered.meter = self._meter
        try:
          self._compiled = lowered.compile(self._options)
        finally:
          _metered.meter = None

  def text(self) -> str:
    """The optimised program; empty where it was not needed so far."""
    return self._compiled.as_text() if self._compiled else ''

  def memory(self) -> Memory:
    """What a call takes; once compiled."""
    analysis = self._compiled.memory_analysis()
    return Memory(
      arguments=analysis.argument_size_in_bytes,
      results=analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
      temporaries=analysis.temp_size_in_bytes,
    )

  def peak_bytes(self) -> int:
    """Memory that a call takes on each device, arguments included."""
    return sum(self.memory())

  def __call__(self, *args: Any) -> Any:
    if self._compiled is None:
      begin = time.monotonic()
      self.compile(*args)
      self._meter.compiling += time.monotonic() - begin
    return self._compiled(*args)
