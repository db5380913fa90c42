"""The hosts of a run: processes of one program that have to decide alike.

All of them run the same loop and see the same fitness. What hangs on a clock,
a signal or a file is decided by the first one, which alone writes the ledger,
and agreed over the coordination service: no device takes part, so nothing
waits for the segment that was just dispatched.
"""

import json
import threading
from collections.abc import Callable
from typing import Any, Protocol

# Another host's death ends a wait, not the clock.
_FOREVER = 1 << 40  # Milliseconds.
# Agreements that are kept: the hosts are at most a round or two apart.
_KEPT = 1000


class Client(Protocol):
  """What is used of JAX's client of the coordination service."""

  def key_value_set(self, key: str, value: str) -> None:
    """Writes a key that is not there."""
    ...

  def key_value_delete(self, key: str) -> None:
    """Deletes a key."""
    ...

  def blocking_key_value_get(self, key: str, timeout_in_ms: int) -> str:
    """Reads a key once it is there."""
    ...


class Hosts:
  """This host among those of a run.

  What agrees has to be called by all hosts, in the same order, from the main
  thread.

  Attributes:
    index: of this host, from 0.
    count: of hosts.
    moved: to be called at the end of each round that was computed.
    fence: to be called by the first host before it writes what the run goes on
      from; raises once another process has taken the run over.
    note: writes down a failure of devices, JSON-able, on the first host.
  """

  def __init__(
    self,
    client: Client | None = None,
    index: int = 0,
    count: int = 1,
    moved: Callable[[], None] = lambda: None,
    tell: Callable[[Any], None] = lambda failure: None,
  ):
    """By default this process is alone.

    Args:
      client: of the coordination service.
      index: of this host.
      count: of hosts.
      moved: called at the end of each round that was computed.
      tell: told a failure of this host's devices; ends the process where the
        loss of another host is behind it.
    """
    self.index, self.count, self.moved = index, count, moved
    self.fence: Callable[[], None] = lambda: None
    self.note: Callable[[Any], None] = lambda failure: None
    self._client, self._tell = client, tell
    self._agreed = 0
    self._noting, self._noted = threading.Lock(), False

  @property
  def first(self) -> bool:
    """Whether this host decides and writes."""
    return self.index == 0

  def agree(self, value: Any) -> Any:
    """What the first host gives, JSON-able; the others wait for it."""
    if self.count == 1:
      return value
    key, self._agreed = f'agreed/{self._agreed}', self._agreed + 1
    if not self.first:
      return json.loads(self._client.blocking_key_value_get(key, _FOREVER))
    text = json.dumps(value)
    self._client.key_value_set(key, text)
    if self._agreed > _KEPT:
      self._client.key_value_delete(f'agreed/{self._agreed - 1 - _KEPT}')
    return json.loads(text)

  def any(self, value: Any) -> Any:
    """What the lowest host gives that gives anything but None, JSON-able."""
    if self.count == 1:
      return value
    turn, found = self._agreed, [value]
    if not self.first:
      self._client.key_value_set(f'told/{turn}/{self.index}', json.dumps(value))
    else:
      found += [
        json.loads(
          self._client.blocking_key_value_get(f'told/{turn}/{host}', _FOREVER)
        )
        for host in range(1, self.count)
      ]
    return self.agree(next((v for v in found if v is not None), None))

  def fail(self, failure: Any) -> None:
    """Has a failure of this host's devices noted, after which all start again.

    Others may wait for these devices for ever, so nothing is agreed: whoever
    watches them hears of it.
    """
    self._tell(failure)
    self.heard(failure)

  def heard(self, failure: Any) -> None:
    """Notes a failure of any host, unless one is: the others follow from it."""
    with self._noting:
      if self.first and not self._noted:
        self.note(failure)
        self._noted = True

  def once(self, function: Callable[[], Any]) -> Any:
    """What a function gives on the first host, which alone calls it.

    Raises:
      ValueError: the function raised one, or an OSError, there.
    """
    value, error = None, None
    if self.first:
      try:
        value = function()
      except (OSError, ValueError) as raised:
        error = raised
    value, text = self.agree([value, error and str(error)])
    if text:
      raise ValueError(text) from error
    return value

  def same(self, value: Any, what: str) -> None:
    """Checks that all hosts have the same value, JSON-able.

    Raises:
      ValueError: this one's is not the first one's.
    """
    if self.agree(value) != json.loads(json.dumps(value)):
      raise ValueError(
        f'{what} is not what host 0 has; expected the same on all hosts'
      )
