"""Contrastive learning of images and texts over the global batch, with any number of positives a row."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmpretrain.core.batch import Features
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.log_sums import LogSums
from mmpretrain.objectives.pairs import PairLearner, PairObjective
from mmpretrain.objectives.tiles import SIDE, Gradients, Relation, walk


@settings
class Contrastive(PairObjective):
    """Softmax over all pairs of the global batch, both ways (CLIP, Radford et al. 2021, arXiv 2103.00020)."""

    kind: Literal["contrastive"] = "contrastive"
    tile: Annotated[int, Field(gt=0)] = SIDE
    """Rows and columns of the matrix of all pairs that are in memory at a time."""

    def build(self, around: Surroundings) -> "ContrastiveObjective":
        return ContrastiveObjective(self, around)


class ContrastiveObjective(PairLearner):
    """Cross-entropy between the softmax of scaled cosines and the uniform distribution over a row's positives.

    For image i with positives P(i) among the texts of the global batch:
        loss_i = -1/|P(i)| * sum over j in P(i) of log softmax_j(scale * image_i . text_j)
    and the same for texts; the loss is the mean of both over all rows of the global batch. With one positive a
    row it is CLIP's loss; several are weighed as in SupCon's outer sum (Khosla et al. 2020, arXiv 2004.11362).
    """

    def __init__(self, settings: Contrastive, around: Surroundings) -> None:
        super().__init__(settings, around)
        self._tile = settings.tile

    def forward(self, features: Features, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's share of the loss over `count` pairs of the global batch, and metrics that add up."""
        image_RE, text_CE, relation = self.pairs(features)
        scale = self.scale().to(image_RE.dtype)
        count = count.clamp(min=1)  # a step may hold no row of the objective's sources
        share = softmax_loss(image_RE, text_CE, scale, relation, self._tile) / 2 / count
        metrics = {"loss": share.detach(), "scale": scale.detach().sum() * len(image_RE) / count}
        return share, metrics


def softmax_loss(image_RE: Tensor, text_CE: Tensor, scale: Tensor, relation: Relation, side: int = SIDE) -> Tensor:
    """This rank's part of the sum, over all rows and columns, of their cross-entropies: those of its own pairs.

    Its memory is a few tiles and the gradients of its arguments, its work four matrix products.

    The cross-entropy of a column takes the logits of all ranks' rows, so this rank's rows are in the parts of others,
    too. Backward gives the gradient of the sum of all ranks' parts with respect to this rank's rows and its use of the
    texts; it takes the gradient that this rank's part receives for that of every part. They are equal because a share
    is this part divided by a global count, times a weight from the config, times what the engine multiplies the loss
    by: each the same on all ranks. `gather` then sums what the ranks say of a text and the engine what they say of
    the scale, which makes them the gradients of one process.

    Args:
        scale: of one element.
        side: rows and columns of a tile.
    """
    loss: Tensor = _SoftmaxLoss.apply(image_RE, text_CE, scale, relation, side)
    return loss


class _SoftmaxLoss(torch.autograd.Function):
    """With S = scale * image_RE @ text_CE.T and positives P, tile by tile:

        row_i = log sum_j exp S_ij - sum_(j in P(i)) S_ij / |P(i)|
        column_j = log sum_i exp S_ij - sum_(i in P(j)) S_ij / |P(j)|
        d loss / d S_ij = exp(S_ij - log sum_j) + exp(S_ij - log sum_i) - [ij in P] * (1 / |P(i)| + 1 / |P(j)|)

    Each tile is computed once in forward, for rows and columns at a time, and once again in backward.
    """

    @staticmethod
    def forward(
        context: Any, image_RE: Tensor, text_CE: Tensor, scale: Tensor, relation: Relation, side: int
    ) -> Tensor:
        rows, columns = LogSums(image_RE), LogSums(text_CE)
        of_rows_R, of_columns_C = image_RE.new_zeros(len(image_RE)), text_CE.new_zeros(len(text_CE))
        for tile in walk(image_RE, text_CE, scale, relation, side):
            rows.add(tile.rows, tile.logits_RC, 1, tile.spare_RC)
            columns.add(tile.columns, tile.logits_RC, 0, tile.spare_RC)
            positives_RC = tile.logits_RC.masked_fill_(tile.differs_RC, 0)
            of_rows_R[tile.rows] += positives_RC.sum(1)
            of_columns_C[tile.columns] += positives_RC.sum(0)
        (of_columns_C,) = columns.complete(of_columns_C)
        weight_C = 1 / relation.counts().to(scale.dtype)
        row_log_sum_R, column_log_sum_C = rows.log_sum(), columns.log_sum()
        context.save_for_backward(image_RE, text_CE, scale, row_log_sum_R, column_log_sum_C, weight_C)
        context.relation, context.side = relation, side
        # subtracted one by one: the sums are some hundred times what is left
        of_rows_R = row_log_sum_R - of_rows_R * weight_C[relation.own]
        of_columns_C = column_log_sum_C - of_columns_C * weight_C
        return of_rows_R.sum() + of_columns_C[relation.own].sum()

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        image_RE, text_CE, scale, row_log_sum_R, column_log_sum_C, weight_C = context.saved_tensors
        weight_R = weight_C[context.relation.own]
        gradients = Gradients(image_RE, text_CE, scale)
        for tile in walk(image_RE, text_CE, scale, context.relation, context.side):
            slope_RC = torch.sub(tile.logits_RC, row_log_sum_R[tile.rows, None], out=tile.spare_RC).exp_()
            slope_RC.add_(tile.logits_RC.sub_(column_log_sum_C[tile.columns]).exp_())
            target_RC = torch.add(weight_R[tile.rows, None], weight_C[tile.columns], out=tile.logits_RC)
            gradients.add(tile, slope_RC.sub_(target_RC.masked_fill_(tile.differs_RC, 0)))
        return *gradients.finish(gradient), None, None
