"""Contrastive learning of images and texts over the global batch, with any number of positives a row."""

import math
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.distributed import gather, own_rows
from mmpretrain.core.settings import settings


@settings
class Contrastive:
    """Softmax over all pairs of the global batch, both ways (CLIP, Radford et al. 2021, arXiv 2103.00020)."""

    kind: Literal["contrastive"] = "contrastive"
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Factor in the sum of objectives."""
    scale: Annotated[float, Field(ge=1, le=100)] = 1 / 0.07
    """Inverse temperature at the start; learned from there."""
    max_scale: Annotated[float, Field(ge=1, le=1000)] = 100.0
    """Bound of the inverse temperature."""

    def __post_init__(self) -> None:
        if self.scale > self.max_scale:
            raise ValueError(f"scale {self.scale:g} is more than max_scale {self.max_scale:g}")

    def build(self) -> "ContrastiveObjective":
        return ContrastiveObjective(self)


class ContrastiveObjective(nn.Module):
    """Cross-entropy between the softmax of scaled cosines and the uniform distribution over a row's positives.

    For image i with positives P(i) among the texts of the global batch:
        loss_i = -1/|P(i)| * sum over j in P(i) of log softmax_j(scale * image_i . text_j)
    and the same for texts; the loss is the mean of both over all rows of the global batch. With one positive a
    row it is CLIP's loss; several are weighed as in SupCon's outer sum (Khosla et al. 2020, arXiv 2004.11362).
    """

    needs_global_features = True

    def __init__(self, settings: Contrastive) -> None:
        super().__init__()
        self.weight = settings.weight
        self.name = settings.kind
        self.max_log_scale = math.log(settings.max_scale)
        # one element and not a scalar: DeepSpeed cannot broadcast parameters without dimensions
        self.log_scale = nn.Parameter(torch.tensor([math.log(settings.scale)]))

    def count(self, batch: Batch) -> int:
        """Pairs of this rank's batch."""
        return len(batch)

    def forward(self, features: Features, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's share of the loss over `count` pairs of the global batch, and metrics that add up."""
        own = own_rows(features.image_BE)
        image_BE, text_BE = gather(features.image_BE), gather(features.text_BE)
        image_group_B, text_group_B = gather(features.image_group_B), gather(features.text_group_B)
        positive_RB = (image_group_B[own, None] == image_group_B) | (text_group_B[own, None] == text_group_B)
        scale = _clamp(self.log_scale, self.max_log_scale).exp()
        with torch.autocast(image_BE.device.type, enabled=False):
            images_RB = scale * features.image_BE.float() @ text_BE.float().T
            texts_RB = scale * features.text_BE.float() @ image_BE.float().T
            rows = _cross_entropy(images_RB, positive_RB) + _cross_entropy(texts_RB, positive_RB)
        share = rows / 2 / count
        metrics = {"loss": share.detach(), "scale": scale.detach().sum() * len(features.image_BE) / count}
        return share, metrics


def _cross_entropy(logits_RB: Tensor, positive_RB: Tensor) -> Tensor:
    target_RB = positive_RB.float() / positive_RB.sum(dim=1, keepdim=True)
    return F.cross_entropy(logits_RB, target_RB, reduction="sum")


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
