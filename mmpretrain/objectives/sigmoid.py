"""Sigmoid learning of images and texts over the global batch: every pair is a question of its own."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmpretrain.core.batch import Features
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.pairs import PairLearner, PairObjective
from mmpretrain.objectives.tiles import SIDE, Gradients, Relation, Tile, walk


@settings
class Sigmoid(PairObjective):
    """Logistic regression of "do they belong together" on all pairs (SigLIP, Zhai et al. 2023, arXiv 2303.15343)."""

    kind: Literal["sigmoid"] = "sigmoid"
    scale: Annotated[float, Field(ge=1, le=100)] = 10.0
    """Inverse temperature at the start; learned from there."""
    bias: float = -10.0
    """Added to every logit at the start; learned from there. Far below 0, because nearly all pairs are negatives."""
    tile: Annotated[int, Field(gt=0)] = SIDE
    """Rows and columns of the matrix of all pairs that are in memory at a time."""

    def build(self, around: Surroundings) -> "SigmoidObjective":
        return SigmoidObjective(self, around)


class SigmoidObjective(PairLearner):
    """Cross-entropy of the sigmoid of every pair's logit.

    With z = 1 where image i and text j are positives of each other and -1 elsewhere, over B rows:
        loss = -1/B * sum over i, j of log sigmoid(z_ij * (scale * image_i . text_j + bias))
    With one positive a row it is SigLIP's loss.
    """

    def __init__(self, settings: Sigmoid, around: Surroundings) -> None:
        super().__init__(settings, around)
        self._tile = settings.tile
        self.bias = nn.Parameter(torch.tensor([settings.bias]))

    def forward(self, features: Features, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's share of the loss over `count` rows of the global batch, and metrics that add up."""
        image_RE, text_CE, relation = self.pairs(features)
        scale = self.scale().to(image_RE.dtype)
        bias = self.bias.to(image_RE.dtype)
        count = count.clamp(min=1)  # a step may hold no row of the objective's sources
        share = sigmoid_loss(image_RE, text_CE, scale, bias, relation, self._tile) / count
        own = len(image_RE) / count
        learned = {"scale": scale.detach().sum() * own, "bias": bias.detach().sum() * own}
        return share, {"loss": share.detach(), **learned}


def sigmoid_loss(
    image_RE: Tensor, text_CE: Tensor, scale: Tensor, bias: Tensor, relation: Relation, side: int = SIDE
) -> Tensor:
    """The sum over this rank's pictures and the texts of all ranks; its memory is a few tiles and its gradients.

    No pair is in the parts of two ranks, so the parts add up to the loss of one process as they stand; `gather` sums
    what the ranks say of a text and the engine what they say of scale and bias.

    Args:
        scale: of one element, as bias.
        side: rows and columns of a tile.
    """
    loss: Tensor = _SigmoidLoss.apply(image_RE, text_CE, scale, bias, relation, side)
    return loss


class _SigmoidLoss(torch.autograd.Function):
    """With logits S = scale * image_RE @ text_CE.T + bias and z as above, tile by tile:

        loss = sum over i, j of log(1 + exp(-z_ij * S_ij)),  d loss / d S_ij = -z_ij * sigmoid(-z_ij * S_ij)

    Each tile is computed once in forward and once again in backward.
    """

    @staticmethod
    def forward(
        context: Any, image_RE: Tensor, text_CE: Tensor, scale: Tensor, bias: Tensor, relation: Relation, side: int
    ) -> Tensor:
        context.save_for_backward(image_RE, text_CE, scale, bias)
        context.relation, context.side = relation, side
        loss_R, zero = image_RE.new_zeros(len(image_RE)), image_RE.new_zeros(())
        for tile in walk(image_RE, text_CE, scale, relation, side):
            wrong_RC = _turn_positives(tile.logits_RC.add_(bias), tile)
            # a softplus without the threshold of torch's own, above which that is a straight line
            loss_R[tile.rows] += torch.logaddexp(wrong_RC, zero, out=tile.spare_RC).sum(1)
        return loss_R.sum()

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None, None]:
        image_RE, text_CE, scale, bias = context.saved_tensors
        gradients, bias_gradient_R = Gradients(image_RE, text_CE, scale), image_RE.new_zeros(len(image_RE))
        for tile in walk(image_RE, text_CE, scale, context.relation, context.side):
            wrong_RC = _turn_positives(tile.logits_RC.add_(bias), tile)
            slope_RC = _turn_positives(wrong_RC.sigmoid_(), tile)
            bias_gradient_R[tile.rows] += slope_RC.sum(1)
            gradients.add(tile, slope_RC)
        image, text, of_scale = gradients.finish(gradient)
        return image, text, of_scale, (gradient * bias_gradient_R.sum()).expand_as(bias), None, None


def _turn_positives(values_RC: Tensor, tile: Tile) -> Tensor:
    """The values in place, with the other sign where a pair is a positive."""
    positives_RC = tile.spare_RC.copy_(values_RC).masked_fill_(tile.differs_RC, 0)
    # exact: x - 2x = -x
    return values_RC.sub_(positives_RC, alpha=2)
