"""The class of each pixel of a picture."""

from collections.abc import Set
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmpretrain.core.batch import Batch, Encoded
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import settings
from mmpretrain.data.card import IGNORED
from mmpretrain.heads.base import Head, HeadLearner, require_classes
from mmpretrain.heads.unet import UNet
from mmpretrain.objectives.base import Surroundings

AT_A_TIME = 16
"""Pictures whose scores are kept at a time in evaluation: each has as many as pixels times classes."""


@settings
class Segmentation(Head):
    """Classes of pixels, as the masks have them that the card names (its `mask_classes`)."""

    kind: Literal["segmentation"] = "segmentation"
    width: Annotated[int, Field(ge=16, multiple_of=16)] = 64
    """Channels of the decoder at the coarsest scale; each finer one has half as many, 16 at least."""
    dice: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a soft Dice loss beside the cross-entropy: each picture's, of the classes that its mask has
    (Milletari et al. 2016, arXiv 1606.04797)."""

    @property
    def needs(self) -> Set[str]:
        return frozenset({"image", "maps"})

    def build(self, around: Surroundings) -> "SegmentationLearner":
        return SegmentationLearner(self, around)


class SegmentationLearner(HeadLearner):
    """Cross-entropy of the right class, the mean over the pixels of the global batch that count. Dice losses are a mean
    over pictures, each weighed by its pixels that count, so that they add up over parts of a batch too.
    """

    def __init__(self, settings: Segmentation, around: Surroundings) -> None:
        super().__init__(settings, around)
        self.classes = require_classes(around, settings, "mask_classes")
        self._dice = settings.dice
        image = around.model.image
        self.decoder = UNet(image.scales, image.width, image.size, settings.width, len(self.classes))

    def _truth(self, batch: Batch) -> Tensor:
        """truth_BHW, int64; nothing counts in rows that it does not learn from."""
        assert batch.masks_BHW is not None
        return torch.where(self.used(batch)[:, None, None], batch.masks_BHW, IGNORED).long()

    def count(self, batch: Batch) -> Tensor:
        return (self._truth(batch) != IGNORED).sum()

    def forward(self, model: Any, batch: Batch, encoded: Encoded, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        scores_BCHW, truth_BHW = self._scores(model, batch, encoded, slice(None)), self._truth(batch)
        count = count.clamp(min=1)
        share = F.cross_entropy(scores_BCHW, truth_BHW, ignore_index=IGNORED, reduction="sum") / count
        if self._dice:
            counting_B = (truth_BHW != IGNORED).sum(dim=(1, 2))
            share = share + self._dice * (dice_losses(scores_BCHW, truth_BHW) * counting_B).sum() / count
        right = (scores_BCHW.detach().argmax(dim=1) == truth_BHW).sum() / count
        return share, {"loss": share.detach(), "accuracy": right}

    def predict(self, model: Any, batch: Batch, encoded: Encoded) -> tuple[Tensor, ...]:
        """masks_BHW: the likeliest class of each pixel, uint8."""
        parts = [slice(first, first + AT_A_TIME) for first in range(0, len(batch), AT_A_TIME)]
        masks = [self._scores(model, batch, encoded, rows).argmax(dim=1).to(torch.uint8) for rows in parts]
        return (torch.cat(masks),)

    def _scores(self, model: Any, batch: Batch, encoded: Encoded, rows: slice) -> Tensor:
        """Of some rows, B x C x H x W."""
        assert encoded.image_BD is not None
        maps = [map_BDHW[rows] for map_BDHW in encoded.image_maps]
        pixels_BCHW = model.image.pixels(batch.images_BCHW[rows])
        return at_least_fp32(self.decoder(maps, encoded.image_BD[rows], pixels_BCHW))


def dice_losses(scores_BCHW: Tensor, truth_BHW: Tensor) -> Tensor:
    """1 - the mean Dice coefficient of the classes that stand in a picture's truth; B, 0 where no pixel counts."""
    counts_B1HW = (truth_BHW != IGNORED)[:, None]
    classes = scores_BCHW.shape[1]
    truth_BCHW = (truth_BHW[:, None] == torch.arange(classes, device=truth_BHW.device)[:, None, None]).to(scores_BCHW)
    shares_BCHW = scores_BCHW.softmax(dim=1) * counts_B1HW
    both_BC = (shares_BCHW * truth_BCHW).sum(dim=(2, 3))
    sizes_BC = shares_BCHW.sum(dim=(2, 3)) + truth_BCHW.sum(dim=(2, 3))
    there_BC = truth_BCHW.amax(dim=(2, 3))
    lost_BC = 1 - 2 * both_BC / sizes_BC.clamp(min=1)
    return (lost_BC * there_BC).sum(dim=1) / there_BC.sum(dim=1).clamp(min=1)
