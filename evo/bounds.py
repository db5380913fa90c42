"""Bounds: what a campaign may use at most."""

import dataclasses

from evo import disk as disk_lib


@dataclasses.dataclass(frozen=True)
class Bounds:
  """What a campaign may use at most; None is no bound.

  Attributes:
    members: trained to the end of their budget in the search. A member that
      takes over another's run by an exploit is not counted again.
    flops: charged in all, the confirmation included.
    minutes: of wall clock, the confirmation included.
    disk: that the workdir may take.
  """

  members: int | None = None
  flops: float | None = None
  minutes: float | None = None
  disk: disk_lib.Disk | None = None
