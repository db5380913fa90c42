"""The phases of a campaign: what is done beside its searches."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Phases:
  """What a campaign does, and how its bounds are shared.

  Attributes:
    pairs: seeds that champion and baseline are confirmed on at most, see
      `gate.looks`; 0 leaves the confirmation out.
    calibrates: whether the noise of the loss is measured first.
    ablates: whether the changes of a champion that passed are tested.
    locks: whether the locked split is read at the end.
    cycles: searches among which the bounds are shared; there are more where
      the tests ended early and leave room.
    search_share: of the FLOPs of a cycle; the rest is for its verification.
      All of them where no changes are tested.
    transfer_share: of the FLOPs of a bound, if there is a larger scale.
  """

  pairs: int = 4
  calibrates: bool = False
  ablates: bool = False
  locks: bool = False
  cycles: int = 1
  search_share: float = 0.5
  transfer_share: float = 0.2
