"""Batches to plan with: as many rows as one rank gets, with texts of given lengths and nothing on the pictures."""

from collections.abc import Set
from dataclasses import field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mmpretrain.core.batch import Batch
from mmpretrain.core.settings import settings
from mmpretrain.objectives.views import VIEWS

Count = Annotated[int, Field(gt=0)]


@settings
class Cut:
    """How a global batch falls on ranks and micro-batches, and what stands in a row."""

    ranks: Count
    micros: Count
    rows: Count
    """Of one micro-batch on one rank."""
    size: Annotated[int, Field(ge=0)]
    """Side of a picture in pixels; 0: texts alone."""
    lengths: Annotated[list[int], Field(min_length=1)]
    """Tokens of texts, taken in turn."""
    padded: Count
    """Tokens to which the texts of a batch are filled up."""
    teacher_width: int = 0
    """Of the vectors that a teacher says."""
    shares: Annotated[list[float], Field(min_length=1)] = field(default_factory=lambda: [1.0])
    """Of each source in the rows; they add up to 1."""
    pictured: list[bool] = field(default_factory=lambda: [True])
    """Whether each source has pictures."""

    @property
    def batch(self) -> int:
        """Rows of all ranks in a step."""
        return self.ranks * self.micros * self.rows


def batches_of(cut: Cut, needs: Set[str]) -> list[Batch]:
    """The micro-batches of rank 0."""
    return [batch_of(cut, needs, micro * cut.rows) for micro in range(cut.micros)]


def batch_of(cut: Cut, needs: Set[str], first: int) -> Batch:
    """One micro-batch from position `first` on: distinct pictures and texts."""
    positions_B = torch.arange(first, first + cut.rows)
    mask_BL = mask_of(cut, first)
    source_B = sources_of(cut)
    mixed = cut.size > 0 and not all(cut.pictured)
    pair = "pair" in needs
    return Batch(
        images_BCHW=pictures(cut.rows, size=cut.size),
        tokens_BL=mask_BL.long(),
        mask_BL=mask_BL,
        positions_B=positions_B,
        image_group_B=positions_B.clone(),
        # next-sentence prediction draws wrong continuations among the passages of one document
        text_group_B=positions_B * 0 if pair else positions_B.clone(),
        labels_B=positions_B * 0 - 1,
        source_B=source_B,
        pictured_B=torch.tensor(cut.pictured)[source_B] if mixed else None,
        views_BVCHW=pictures(cut.rows, VIEWS, size=cut.size) if "views" in needs else None,
        teacher_image_BT=torch.rand(cut.rows, cut.teacher_width) if "teacher" in needs else None,
        teacher_text_BT=torch.rand(cut.rows, cut.teacher_width) if "teacher" in needs else None,
        next_tokens_BL=mask_BL.long() if pair else None,
        next_mask_BL=mask_BL.clone() if pair else None,
        masks_BHW=torch.zeros(cut.rows, cut.size, cut.size, dtype=torch.uint8) if "maps" in needs else None,
    )


def sources_of(cut: Cut) -> Tensor:
    """source_B: each source's share of the rows, one source after the other."""
    ends = [round(cut.rows * sum(cut.shares[: number + 1])) for number in range(len(cut.shares))]
    return torch.tensor([sum(row >= end for end in ends[:-1]) for row in range(cut.rows)])


def pictures(*leading: int, size: int) -> Tensor:
    """Grey ones, uint8."""
    return torch.empty(*leading, 3, size, size, dtype=torch.uint8).fill_(128)


def mask_of(cut: Cut, first: int) -> Tensor:
    """mask_BL of the rows from `first` on."""
    lengths = [cut.lengths[(first + row) % len(cut.lengths)] for row in range(cut.rows)]
    return torch.arange(cut.padded) < torch.tensor(lengths).clamp(max=cut.padded)[:, None]
