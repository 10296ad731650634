"""What all ranks say of the rows of a split, brought into one order."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch

Said = tuple[Tensor | list[Any], ...]
"""Columns over the rows of a batch."""


def light(batch: Batch) -> Batch:
    """The batch without its pictures, for a way between processes."""
    return replace(batch, images_BCHW=torch.empty(0), masks_BHW=None)


class Collected:
    """Batches of all ranks and what was said of them, brought into the order of the split; repeats that fill the last
    round are dropped.
    """

    def __init__(self, everyone: Sequence[tuple[Batch, Said]], length: int) -> None:
        self._everyone = everyone
        self._order = self._join("positions_B").argsort()[:length]

    @property
    def width(self) -> int:
        """Columns that were said."""
        return len(self._everyone[0][1])

    def _join(self, name: str) -> Tensor:
        return torch.cat([getattr(batch, name) for batch, _ in self._everyone])

    def tensors(self, name: str) -> Tensor:
        """A field of the batches."""
        return self._join(name)[self._order]

    def items(self, name: str) -> list[Any]:
        """The same of a field that is no tensor."""
        return self._in_order([item for batch, _ in self._everyone for item in getattr(batch, name)])

    def column(self, place: int) -> Tensor:
        """A column of what was said."""
        return torch.cat([said[place] for _, said in self._everyone])[self._order]  # type: ignore[misc]

    def items_said(self, place: int) -> list[Any]:
        """The same of a column that is no tensor."""
        return self._in_order([item for _, said in self._everyone for item in said[place]])

    def _in_order(self, every: list[Any]) -> list[Any]:
        return [every[row] for row in self._order]
