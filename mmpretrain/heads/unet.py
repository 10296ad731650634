"""U-Net's way back up: from the maps of an image tower to scores of every pixel."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpretrain.towers.maps import Scale

LEAST = 16
"""Channels at the finest scale, at least."""
GROUPS = 8
"""Of GroupNorm: rows do not know each other, and a batch may be cut in any way."""


class UNet(nn.Module):
    """Scores of every pixel (Ronneberger et al. 2015, arXiv 1505.04597).

    From the coarsest map on, each step brings what was found to the next finer scale and joins the map of that scale;
    the last one joins the picture itself. Maps of one scale, as a transformer gives them, are taken for scales that
    double: the later, the coarser (UNETR, Hatamizadeh et al. 2022, arXiv 2103.10504). What the tower pools is added to
    the coarsest map (image-level features, Chen et al. 2017, arXiv 1706.05587).

    Args:
        scales: of the maps, from the finest on.
        pooled: channels of what the tower pools.
        size: side of the picture.
        width: channels at the coarsest scale; each finer one has half as many, `LEAST` at least.
    """

    def __init__(self, scales: Sequence[Scale], pooled: int, size: int, width: int, classes: int) -> None:
        super().__init__()
        *finer, coarsest = scales
        finer.reverse()
        channels = [max(width >> step, LEAST) for step in range(len(scales) + 1)]
        sides = rising([coarsest.side, *(scale.side for scale in finer)], size)
        self.start = layer(coarsest.channels, width, kernel=1)
        self.context = nn.Linear(pooled, width)
        self.picture = layer(3, channels[-1])
        skips = [*(scale.channels for scale in finer), channels[-1]]
        self.steps = nn.ModuleList(
            Step(before, skip, after, side)
            for (before, after), skip, side in zip(itertools.pairwise(channels), skips, [*sides[1:], size], strict=True)
        )
        self.scores = nn.Conv2d(channels[-1], classes, 1)

    def forward(self, maps: Sequence[Tensor], pooled_BD: Tensor, pixels_BCHW: Tensor) -> Tensor:
        """Scores, B x classes x H x W.

        Args:
            maps: from the finest on.
        """
        *finer, coarsest = maps
        x_BDHW = self.start(coarsest) + self.context(pooled_BD)[:, :, None, None]
        for step, skip_BCHW in zip(self.steps, [*reversed(finer), self.picture(pixels_BCHW)], strict=True):
            x_BDHW = step(x_BDHW, skip_BCHW)
        return self.scores(x_BDHW)


class Step(nn.Module):
    """One scale up: what was found so far, brought to `side`, joins the skip connection of that scale."""

    def __init__(self, before: int, skip: int, after: int, side: int) -> None:
        super().__init__()
        self._side = side
        # maps of different blocks have different magnitudes; each is brought to the same
        self.skip = layer(skip, after, kernel=1)
        self.join = nn.Sequential(layer(before + after, after), layer(after, after))

    def forward(self, x_BDHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        skip_BDHW = enlarged(self.skip(skip_BCHW), self._side)
        return self.join(torch.cat([enlarged(x_BDHW, self._side), skip_BDHW], dim=1))


def layer(channels: int, after: int, kernel: int = 3) -> nn.Sequential:
    """Convolution, norm, ReLU."""
    convolution = nn.Conv2d(channels, after, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, after), nn.ReLU())


def enlarged(map_BDHW: Tensor, side: int) -> Tensor:
    """The nearest of its places at each place of `side` x `side`; GPUs too sum its gradient in one order."""
    return map_BDHW if map_BDHW.shape[2] == side else F.interpolate(map_BDHW, [side, side], mode="nearest-exact")


def rising(sides: Sequence[int], most: int) -> list[int]:
    """Sides of the scales, from the coarsest on: a map's own where it is finer than the one before, else twice that."""
    found = [sides[0]]
    for side in sides[1:]:
        found.append(side if side > found[-1] else min(2 * found[-1], most))
    return found
