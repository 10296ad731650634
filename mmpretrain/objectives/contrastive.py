"""Contrastive learning of images and texts over the global batch, with any number of positives a row."""

import math
from collections.abc import Set
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.distributed import gather, own_rows
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Learner, Objective, Surroundings

FAR_BELOW = -1e9
"""A logit that takes no part in a softmax."""


@settings
class Contrastive(Objective):
    """Softmax over all pairs of the global batch, both ways (CLIP, Radford et al. 2021, arXiv 2103.00020)."""

    kind: Literal["contrastive"] = "contrastive"
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

    def build(self, around: Surroundings) -> "ContrastiveObjective":
        return ContrastiveObjective(self, around)


class ContrastiveObjective(Learner):
    """Cross-entropy between the softmax of scaled cosines and the uniform distribution over a row's positives.

    For image i with positives P(i) among the texts of the global batch:
        loss_i = -1/|P(i)| * sum over j in P(i) of log softmax_j(scale * image_i . text_j)
    and the same for texts; the loss is the mean of both over all rows of the global batch. With one positive a
    row it is CLIP's loss; several are weighed as in SupCon's outer sum (Khosla et al. 2020, arXiv 2004.11362).
    """

    is_global = True

    def __init__(self, settings: Contrastive, around: Surroundings) -> None:
        super().__init__(settings, around)
        self.max_log_scale = math.log(settings.max_scale)
        # one element and not a scalar: DeepSpeed cannot broadcast parameters without dimensions
        self.log_scale = nn.Parameter(torch.tensor([math.log(settings.scale)]))

    def count(self, batch: Batch) -> Tensor:
        """Pairs of this rank's batch that the objective learns from."""
        return self.used(batch).sum()

    def forward(self, features: Features, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's share of the loss over `count` pairs of the global batch, and metrics that add up."""
        own = own_rows(features.image_BE)
        image_BE, text_BE = gather(features.image_BE), gather(features.text_BE)
        image_group_B, text_group_B = gather(features.image_group_B), gather(features.text_group_B)
        used_B = self.uses(gather(features.source_B))
        positive_RB = (image_group_B[own, None] == image_group_B) | (text_group_B[own, None] == text_group_B)
        positive_RB &= used_B[own, None] & used_B
        scale = _clamp(self.log_scale, self.max_log_scale).exp()
        with torch.autocast(image_BE.device.type, enabled=False):
            images_RB = scale * at_least_fp32(features.image_BE) @ at_least_fp32(text_BE).T
            texts_RB = scale * at_least_fp32(features.text_BE) @ at_least_fp32(image_BE).T
            rows = sum(_cross_entropy(logits_RB, positive_RB, used_B) for logits_RB in (images_RB, texts_RB))
        count = count.clamp(min=1)  # a step may hold no row of the objective's sources
        share = rows / 2 / count
        metrics = {"loss": share.detach(), "scale": scale.detach().sum() * used_B[own].sum() / count}
        return share, metrics


def _cross_entropy(logits_RB: Tensor, positive_RB: Tensor, used_B: Tensor) -> Tensor:
    """Summed over rows; a row without positives, which comes from another source, adds nothing."""
    target_RB = positive_RB.to(logits_RB.dtype) / positive_RB.sum(dim=1, keepdim=True).clamp(min=1)
    # not -inf: its product with a target of 0 is no number
    return F.cross_entropy(logits_RB.masked_fill(~used_B, FAR_BELOW), target_RB, reduction="sum")


class _Clamp(torch.autograd.Function):
    """min(x, bound), whose gradient above the bound passes only where it leads back."""

    @staticmethod
    def forward(context: Any, value: Tensor, bound: float) -> Tensor:
        context.save_for_backward(value > bound)
        return value.clamp(max=bound)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (above,) = context.saved_tensors
        # a descent step lowers the value where the gradient is positive
        return torch.where(above, gradients[0].clamp(min=0), gradients[0]), None


def _clamp(value: Tensor, bound: float) -> Tensor:
    """Never in place after the step: under ZeRO the optimizer's master copy would win."""
    clamped: Tensor = _Clamp.apply(value, bound)
    return clamped
