"""What a benchmark is told."""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class Options:
  """What a benchmark is told.

  Attributes:
    folder: for what it has to write, an empty one.
    nanogpt: a checkout of nanoGPT, or None.
  """

  folder: pathlib.Path
  nanogpt: pathlib.Path | None
