"""What objectives over all pairs of the global batch share: whose rows they learn from, and a bounded scale."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.distributed import gather, global_sum, own_rows
from mmpretrain.objectives.tiles import Relation


class Sources:
    """The datasets of a mixture that an objective learns from.

    Args:
        chosen: their names in the objective's settings; none stands for all.
        names: the datasets that rows come from, in the order of `source_B`.
    """

    def __init__(self, chosen: Sequence[str], names: Sequence[str]) -> None:
        self._places = [place for place, name in enumerate(names) if name in chosen] if chosen else None

    def count(self, batch: Batch) -> int:
        """Rows of this rank's batch that the objective learns from."""
        return len(batch) if batch.source_B is None or self._places is None else int(self._uses(batch.source_B).sum())

    def pairs(self, features: Features) -> "Pairs":
        """This rank's pictures against the texts of all ranks, the rows that the objective learns from alone."""
        own = own_rows(features.image_BE)
        image_RE, columns = features.image_BE, (features.text_BE, features.image_group_B, features.text_group_B)
        text_CE, image_group_C, text_group_C = (gather(column) for column in columns)
        if self._places is not None:
            used_C = self._uses(gather(features.source_B))
            image_RE, text_CE = image_RE[used_C[own]], text_CE[used_C]
            image_group_C, text_group_C = image_group_C[used_C], text_group_C[used_C]
            own = slice(int(used_C[: own.start].sum()), int(used_C[: own.stop].sum()))
        return Pairs(_precise(image_RE), _precise(text_CE), Relation(image_group_C, text_group_C, own))

    def _uses(self, source_B: Tensor) -> Tensor:
        return torch.isin(source_B, torch.tensor(self._places, device=source_B.device))


class Pairs(NamedTuple):
    """R pictures of this rank and C texts of all ranks, in fp32 or fp64, and which belong together."""

    image_RE: Tensor
    text_CE: Tensor
    relation: Relation


def _precise(features_BE: Tensor) -> Tensor:
    return features_BE.to(torch.promote_types(features_BE.dtype, torch.float32))


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
