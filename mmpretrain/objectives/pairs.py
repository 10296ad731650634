"""What objectives over all pairs of the global batch share: whose rows they learn from, and a bounded scale."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.distributed import gather, global_sum, own_rows
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.objectives.base import Learner
from mmpretrain.objectives.tiles import Relation


class PairLearner(Learner):
    """An objective over all pairs of pictures and texts of the global batch."""

    is_global = True

    def count(self, batch: Batch) -> Tensor:
        """Rows of this rank's batch that the objective learns from."""
        return self.used(batch).sum()

    def pairs(self, features: Features) -> "Pairs":
        """This rank's pictures against the texts of all ranks, the rows that the objective learns from alone."""
        own = own_rows(features.image_BE)
        image_RE, columns = features.image_BE, (features.text_BE, features.image_group_B, features.text_group_B)
        text_CE, image_group_C, text_group_C = (gather(column) for column in columns)
        if not self.uses_all:
            used_C = self.uses(gather(features.source_B))
            image_RE, text_CE = image_RE[used_C[own]], text_CE[used_C]
            image_group_C, text_group_C = image_group_C[used_C], text_group_C[used_C]
            own = slice(int(used_C[: own.start].sum()), int(used_C[: own.stop].sum()))
        return Pairs(at_least_fp32(image_RE), at_least_fp32(text_CE), Relation(image_group_C, text_group_C, own))


class Pairs(NamedTuple):
    """R pictures of this rank and C texts of all ranks, in fp32 or fp64, and which belong together."""

    image_RE: Tensor
    text_CE: Tensor
    relation: Relation


class _Bound(torch.autograd.Function):
    """min(value, bound), whose gradient above the bound passes only where it leads back."""

    @staticmethod
    def forward(context: Any, value: Tensor, bound: float) -> Tensor:
        context.save_for_backward(value > bound)
        return value.clamp(max=bound)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (above,) = context.saved_tensors
        # a descent step lowers the value where the gradient is positive; each rank holds a part of it, and their
        # sum decides, or the ranks would cut off other parts than one process
        outward = global_sum(gradients[0]) < 0
        return gradients[0].masked_fill(above & outward, 0), None


def bounded(value: Tensor, bound: float) -> Tensor:
    """min(value, bound), from where a parameter finds its way back.

    Never in place after the step: under ZeRO the optimizer's master copy would win.
    """
    result: Tensor = _Bound.apply(value, bound)
    return result
