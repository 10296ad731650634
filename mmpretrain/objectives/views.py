"""Self-supervision of the image tower: two random views of a picture find each other among all others."""

from collections.abc import Set
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.distributed import gather
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Learner, Objective, Surroundings
from mmpretrain.objectives.log_sums import LogSums, Softmax
from mmpretrain.objectives.pairs import FAR_BELOW, chosen
from mmpretrain.objectives.tiles import SIDE, Gradients, Product, equals, products

VIEWS = 2


@settings
class Views(Objective):
    """SimCLR (Chen et al. 2020, arXiv 2002.05709) beside the pairs, as SLIP has it (Mu et al. 2022, arXiv 2112.12750).

    The loader makes two more views of each picture by data.view_augmentation, and the image tower runs on both.
    """

    kind: Literal["views"] = "views"
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Of the softmax; fixed, as in SLIP."""
    tile: Annotated[int, Field(gt=0)] = SIDE
    """Rows and columns of the matrix of all views that are in memory at a time."""

    @property
    def needs(self) -> Set[str]:
        return frozenset({"views"})

    def build(self, around: Surroundings) -> "ViewsLearner":
        return ViewsLearner(self, around)


class ViewsLearner(Learner):
    """Cross-entropy of each view's softmax over all other views of the global batch, against those of its own picture
    (pictures of equal bytes are one); the mean over views.
    """

    is_global = True

    def __init__(self, settings: Views, around: Surroundings) -> None:
        super().__init__(settings, around)
        self._scale = 1 / settings.temperature
        self._tile = settings.tile

    def count(self, batch: Batch) -> Tensor:
        return self.used(batch).sum()

    def forward(self, features: Features, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        mine, everybodys, own = chosen(self, features)
        row_RE = at_least_fp32(torch.cat([view_BE[mine] for view_BE in features.views]))
        column_CE = at_least_fp32(torch.cat([gather(view_BE)[everybodys] for view_BE in features.views]))
        picture_B = gather(features.image_group_B)[everybodys]
        view_VB = torch.arange(VIEWS * len(picture_B), device=picture_B.device).view(VIEWS, -1)
        columns = Shown(picture_B.repeat(VIEWS), view_VB.flatten())
        rows = Shown(picture_B[own].repeat(VIEWS), view_VB[:, own].flatten())
        share = views_loss(row_RE, column_CE, self._scale, rows, columns, self._tile) / VIEWS / count.clamp(min=1)
        return share, {"loss": share.detach()}


class Shown(NamedTuple):
    """What some views show: the first of each picture, then the second."""

    picture_X: Tensor
    """int64, equal for equal pictures."""
    view_X: Tensor
    """int64, another number for each view of the global batch."""


def views_loss(
    row_RE: Tensor, column_CE: Tensor, scale: float, rows: Shown, columns: Shown, side: int = SIDE
) -> Tensor:
    """The sum of cross-entropies of this rank's views over those of all ranks; its memory is a few tiles and the
    gradients of its arguments. What the ranks say of a column, `gather` sums.

    Args:
        side: rows and columns of a tile.
    """
    loss: Tensor = _ViewsLoss.apply(row_RE, column_CE, scale, rows, columns, side)
    return loss


class _ViewsLoss(torch.autograd.Function):
    """With S = scale * row_RE @ column_CE.T without each view's own column, and P(i) those of the same picture:

        row_i = log sum_j exp S_ij - sum_(j in P(i)) S_ij / |P(i)|
        d loss / d S_ij = exp(S_ij - log sum_j exp S_ij) - [j in P(i)] / |P(i)|

    Each tile is computed once in forward and once again in backward.
    """

    @staticmethod
    def forward(
        context: Any, row_RE: Tensor, column_CE: Tensor, scale: float, rows: Shown, columns: Shown, side: int
    ) -> Tensor:
        sums, positives_R = LogSums(row_RE), row_RE.new_zeros(len(row_RE))
        share_R = 1 / (equals(rows.picture_X, columns.picture_X)[1] - 1).to(row_RE.dtype)
        for tile in products(row_RE, column_CE, scale, side):
            others_RC = _without_itself(tile, rows, columns)
            sums.add(tile.rows, others_RC, 1, tile.spare_RC)
            positives_R[tile.rows] += others_RC.masked_fill_(~_positives(tile, rows, columns), 0).sum(1)
        softmax = sums.softmax()
        context.save_for_backward(row_RE, column_CE, *rows, *columns, share_R, *softmax)
        context.scale, context.side = scale, side
        return (sums.log_sum() - share_R * positives_R).sum()

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        row_RE, column_CE, *shown, share_R, largest_R, weight_R = context.saved_tensors
        rows, columns, softmax = Shown(*shown[:2]), Shown(*shown[2:]), Softmax(largest_R, weight_R)
        gradients = Gradients(row_RE, column_CE, row_RE.new_tensor([context.scale]))
        for tile in products(row_RE, column_CE, context.scale, context.side):
            slope_RC = softmax.of(_without_itself(tile, rows, columns), tile.rows, 1, tile.logits_RC)
            target_RC = tile.spare_RC.copy_(share_R[tile.rows, None].expand_as(slope_RC))
            slope_RC.sub_(target_RC.masked_fill_(~_positives(tile, rows, columns), 0))
            gradients.add(tile, slope_RC)
        return *gradients.finish(gradient)[:2], None, None, None, None


def _without_itself(tile: Product, rows: Shown, columns: Shown) -> Tensor:
    """The tile's logits in place, each view's own one far below all others."""
    return tile.logits_RC.masked_fill_(rows.view_X[tile.rows, None] == columns.view_X[tile.columns], FAR_BELOW)


def _positives(tile: Product, rows: Shown, columns: Shown) -> Tensor:
    """Whether a column shows the row's picture in another view; bool."""
    same_RC = rows.picture_X[tile.rows, None] == columns.picture_X[tile.columns]
    return same_RC.logical_and_(rows.view_X[tile.rows, None] != columns.view_X[tile.columns])
