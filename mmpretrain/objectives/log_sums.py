"""log sum exp of the rows, or columns, of a matrix that exists tile by tile, and what else is summed along them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mmpretrain.core.distributed import global_max, global_sum


class LogSums:
    """log sum exp of logits, and the mean of values weighed by their softmax, from tile to tile.

    Sums are kept relative to the largest logit so far, so that nothing overflows and the largest never vanishes.

    Args:
        like_XE: one row for each row, or column, of the matrix.
    """

    def __init__(self, like_XE: Tensor) -> None:
        self._largest = like_XE.new_full((len(like_XE),), -math.inf)
        self._total, self._weighed = like_XE.new_zeros(len(like_XE)), like_XE.new_zeros(len(like_XE))

    def add(self, part: slice, logits_RC: Tensor, dim: int, spare_RC: Tensor, values_RC: Tensor | None = None) -> None:
        """Take in a tile, reduced over `dim`; its room is overwritten."""
        before = self._largest[part]
        largest = torch.maximum(before, logits_RC.amax(dim))
        kept = (before - largest).exp()
        exponentials_RC = torch.sub(logits_RC, largest.unsqueeze(dim), out=spare_RC).exp_()
        self._total[part] = self._total[part] * kept + exponentials_RC.sum(dim)
        if values_RC is not None:
            self._weighed[part] = self._weighed[part] * kept + exponentials_RC.mul_(values_RC).sum(dim)
        self._largest[part] = largest

    def complete(self, *beside: Tensor) -> list[Tensor]:
        """Join with what the other ranks' rows say of the same columns.

        Args:
            beside: plain sums, which are returned joined over ranks in the same exchange.
        """
        largest = global_max(self._largest)
        kept = (self._largest - largest).exp()
        self._largest = largest
        self._total, self._weighed, *joined = global_sum(
            torch.stack([self._total * kept, self._weighed * kept, *beside])
        )
        return joined

    def log_sum(self) -> Tensor:
        return self._largest + self._total.log()

    def softmax(self) -> "Softmax":
        """What the softmax of a tile's logits is made of."""
        return Softmax(self._largest, 1 / self._total)

    def mean(self) -> Tensor:
        """Of the values, weighed by the softmax."""
        return self._weighed / self._total


class Softmax(NamedTuple):
    """exp(logits - largest) * share: closer in fp32 than exp(logits - log sum exp) where logits are large."""

    largest_X: Tensor
    share_X: Tensor

    def of(self, logits_RC: Tensor, part: slice, dim: int, out: Tensor) -> Tensor:
        """Of a tile along `dim`, into `out`, which may be the logits themselves."""
        largest, share = self.largest_X[part].unsqueeze(dim), self.share_X[part].unsqueeze(dim)
        return torch.sub(logits_RC, largest, out=out).exp_().mul_(share)
