"""What objectives over all pairs of the global batch share: whose rows they learn from, and a bounded scale."""

import math
from collections.abc import Set
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.distributed import gather, global_sum, own_rows
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Learner, Objective, Surroundings
from mmpretrain.objectives.tiles import Relation

FAR_BELOW = -1e9
"""A logit that takes no part in a softmax; not -inf, whose product with a target of 0 is no number."""


@settings
class PairObjective(Objective):
    """Settings of objectives over all pairs of the global batch."""

    scale: Annotated[float, Field(ge=1, le=100)] = 1 / 0.07
    """Inverse temperature at the start; learned from there."""
    max_scale: Annotated[float, Field(ge=1, le=1000)] = 100.0
    """Bound of the inverse temperature."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale > self.max_scale:
            raise ValueError(f"scale {self.scale:g} is more than max_scale {self.max_scale:g}")

    @property
    def needs(self) -> Set[str]:
        return frozenset({"features"})


class PairLearner(Learner):
    """An objective over all pairs of pictures and texts of the global batch, with a learned scale."""

    is_global = True

    def __init__(self, settings: Any, around: Surroundings) -> None:
        super().__init__(settings, around)
        self.max_log_scale = math.log(settings.max_scale)
        # one element and not a scalar: DeepSpeed cannot broadcast parameters without dimensions
        self.log_scale = nn.Parameter(torch.tensor([math.log(settings.scale)]))

    def scale(self) -> Tensor:
        """The inverse temperature within its bound; one element."""
        return bounded(self.log_scale, self.max_log_scale).exp()

    def count(self, batch: Batch) -> Tensor:
        """Rows of this rank's batch that the objective learns from."""
        return self.used(batch).sum()

    def pairs(self, features: Features) -> "Pairs":
        """This rank's pictures against the texts of all ranks, the rows that the objective learns from alone."""
        mine, everybodys, own = chosen(self, features)
        columns = (features.text_BE, features.image_group_B, features.text_group_B)
        text_CE, image_group_C, text_group_C = (gather(column)[everybodys] for column in columns)
        image_RE = features.image_BE[mine]
        return Pairs(at_least_fp32(image_RE), at_least_fp32(text_CE), Relation(image_group_C, text_group_C, own))


class Chosen(NamedTuple):
    """Which rows an objective learns from; all of them, or bool."""

    mine: slice | Tensor
    """Of this rank's."""
    everybodys: slice | Tensor
    """Of those that `gather` returns."""
    own: slice
    """Where this rank's stand among everybody's chosen ones."""


def chosen(learner: Learner, features: Features) -> Chosen:
    """The rows of the sources that an objective learns from."""
    own = own_rows(features.source_B)
    if learner.uses_all:
        return Chosen(slice(None), slice(None), own)
    used_C = learner.uses(gather(features.source_B))
    return Chosen(used_C[own], used_C, slice(int(used_C[: own.start].sum()), int(used_C[: own.stop].sum())))


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
