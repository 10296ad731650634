"""What every method of this folder has in common: (model, target, picture) -> a map of the picture.

A map is fp32, H x W of the picture as the image tower gets it, 0 where nothing counts and 1 where it counts most. The
same picture gives the same map; the model's weights, gradients and mode are as they were.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpretrain.towers.fusion import CrossTransformer
from mmpretrain.towers.image_tower import ImageTower

Score = Callable[[Tensor], Tensor]
"""images_BCHW, uint8 or floats on the same scale -> score_B, with a graph."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One number that a model says of a picture: what is to be explained."""

    name: str
    """As a person reads it."""
    score: Score
    reader: CrossTransformer | None = None
    """The blocks in which a text looks at the picture, where it is they that answer; None: the image tower does."""
    places: tuple[int, ...] = (0,)
    """Tokens of that text that the answer is read from."""


class Maker(Protocol):
    """A method at work."""

    def __call__(self, model: Any, target: Target, image_CHW: Tensor) -> Tensor:
        """map_HW in [0, 1].

        Args:
            model: whose image tower and readers the target asks; in evaluation mode.
            image_CHW: uint8, as the image tower gets it.

        Raises:
            ConfigError: the method does not suit the model; names one that does.
        """


def tower_of(model: Any) -> ImageTower:
    """The image tower, which whoever asks about pictures has."""
    tower: ImageTower = model.image
    return tower


def with_graph(image_CHW: Tensor) -> Tensor:
    """A batch of the picture alone, from which a graph begins whatever of the model is frozen."""
    return image_CHW[None].float().requires_grad_()


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Evaluation mode with gradients allowed, and afterwards as before."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.enable_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def from_zero(map_HW: Tensor) -> Tensor:
    """What speaks for the target, the most of it as 1; all 0 where nothing does."""
    map_HW = map_HW.detach().float().clamp(min=0)
    return map_HW / map_HW.max().clamp(min=torch.finfo(torch.float32).tiny)


def from_least(map_HW: Tensor) -> Tensor:
    """The least as 0, the most as 1, where below 0 there is an order too."""
    map_HW = map_HW.detach().float()
    return from_zero(map_HW - map_HW.min())


def enlarged(map_HW: Tensor, image_CHW: Tensor) -> Tensor:
    """A map of any grid at the size of its picture."""
    size = (image_CHW.shape[1], image_CHW.shape[2])
    large_11HW = F.interpolate(map_HW[None, None].float(), size=size, mode="bilinear", align_corners=False)
    return large_11HW[0, 0]
