"""RISE: the mean of random masks, each weighed by the score of what it leaves."""

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmpretrain.core.settings import settings
from mmpretrain.explain.base import Target, from_least
from mmpretrain.explain.fills import Fill, filled

AT_A_TIME = 64
"""Pictures."""


@settings
class Rise:
    """Petsiuk, Das and Saenko 2018, arXiv 1806.07421; suits every tower."""

    kind: Literal["rise"] = "rise"
    masks: Annotated[int, Field(ge=16)] = 500
    """Masks, the same for every picture."""
    cells: Annotated[int, Field(ge=2)] = 8
    """Cells a side that a mask keeps or removes, before it is enlarged and moved."""
    kept: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability that a cell is kept."""
    seed: int = 0
    """Of the masks."""
    fill: Fill = "mean"
    """What stands where the picture is removed."""

    def __call__(self, model: Any, target: Target, image_CHW: Tensor) -> Tensor:
        masks_NHW = self.draw(image_CHW.shape[1]).to(image_CHW.device)
        pixels_1CHW = image_CHW[None].float()
        fill_1CHW = filled(pixels_1CHW, self.fill)
        with torch.no_grad():
            scores = [
                target.score(torch.lerp(fill_1CHW, pixels_1CHW, part_NHW[:, None])).float()
                for part_NHW in masks_NHW.split(AT_A_TIME)
            ]
        # less their means: else what few masks keep would show how often each pixel was kept
        score_N = torch.cat(scores)
        centred_N = score_N - score_N.mean()
        return from_least(torch.einsum("n,nhw->hw", centred_N, masks_NHW - masks_NHW.mean(dim=0)))

    def draw(self, size: int) -> Tensor:
        """masks_NHW in [0, 1]: coarse grids, enlarged beyond the picture and moved by less than a cell."""
        generator = torch.Generator().manual_seed(self.seed)
        cell = -(-size // self.cells)
        around = self.cells + 1
        grids_N = (torch.rand(self.masks, 1, around, around, generator=generator) < self.kept).float()
        large_N = F.interpolate(grids_N, size=(around * cell, around * cell), mode="bilinear", align_corners=False)
        moved_N2 = torch.randint(0, cell, (self.masks, 2), generator=generator).tolist()
        return torch.stack(
            [large[0, y : y + size, x : x + size] for large, (y, x) in zip(large_N, moved_N2, strict=True)]
        )
