"""What travels: a batch of pairs, the features of its pairs, and an objective's share of the loss.

Suffixes: B batch, C H W image, L text length, N image tokens, D width, E embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Pairs of pictures and texts, one row each.

    Two rows are positives of each other when either group is equal: the same picture under several captions,
    or the same text for several pictures.
    """

    images_BCHW: Tensor
    """uint8, RGB; the image tower normalises, so that little travels between processes."""
    tokens_BL: Tensor
    """int64, padded to the longest text of the batch, rounded up."""
    mask_BL: Tensor
    """bool, True on tokens, False on padding."""
    positions_B: Tensor
    """int64, place in the endless order; keys all randomness of a row."""
    image_group_B: Tensor
    """int64, equal for equal pictures."""
    text_group_B: Tensor
    """int64, equal for texts that mean the same."""
    labels_B: Tensor
    """int64, class of the row, -1 where it has none."""
    keys: Sequence[str] = field(default_factory=tuple)
    """Sample keys, for messages and reports."""
    galleries: Sequence[str] = field(default_factory=tuple)
    """The card's gallery of each row, for evaluation."""

    def __len__(self) -> int:
        return len(self.positions_B)

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`; pinned memory moves while the processor goes on."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(
            self, **{n: v.to(device, non_blocking=True) for n, v in moved.items() if isinstance(v, torch.Tensor)}
        )

    def pin_memory(self) -> "Batch":
        pinned = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: v.pin_memory() for n, v in pinned.items() if isinstance(v, torch.Tensor)})


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the towers say of a batch, in fp32 and of unit length, with the groups that pair its rows."""

    image_BE: Tensor
    text_BE: Tensor
    image_group_B: Tensor
    text_group_B: Tensor

    @staticmethod
    def join(parts: Sequence["Features"]) -> "Features":
        """The features of several micro-batches as one."""
        names = [f.name for f in fields(Features)]
        return Features(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True, kw_only=True)
class Shares:
    """This rank's part of the full-batch loss: parts over micro-batches and ranks add up to the whole."""

    total: Tensor
    """Scalar with a graph: the weighted sum over objectives."""
    metrics: dict[str, Tensor]
    """Detached scalars that also add up, such as each objective's own share."""
