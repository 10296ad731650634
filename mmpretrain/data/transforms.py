"""Pictures to tensors: torchvision's transforms, seeded by position in training, fixed in evaluation."""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from mmpretrain.core.counter import seed_of, seed_torch
from mmpretrain.core.settings import settings

Transform = Callable[[Tensor, int], Tensor]
"""(uint8 picture of any size, position) -> uint8 picture, 3 x size x size."""
NARROWEST = 3 / 4
"""Shorter over longer side of the narrowest crop that torchvision's RandomResizedCrop draws."""


@settings
class Augmentation:
    """What training does to a picture; every draw is a function of (seed, position)."""

    crop: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.9, 1.0)
    """Smallest and largest share of the area that a random crop keeps; open_clip's default is 0.9 to 1."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability of mirroring; keep 0 where captions speak of left and right."""
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Strength of random brightness, contrast and saturation."""
    grayscale: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability of dropping the colour."""

    def build(self, size: int, seed: int) -> "Augment":
        return Augment(self, size, seed)


class Augment:
    """A random crop and what else the settings ask for, the same for a position on every rank and worker."""

    def __init__(self, settings: Augmentation, size: int, seed: int) -> None:
        crop = v2.RandomResizedCrop(size, settings.crop, interpolation=InterpolationMode.BICUBIC, antialias=True)
        steps: list[v2.Transform] = [crop]
        if settings.flip:
            steps.append(v2.RandomHorizontalFlip(settings.flip))
        if settings.jitter:
            steps.append(v2.ColorJitter(settings.jitter, settings.jitter, settings.jitter))
        if settings.grayscale:
            steps.append(v2.RandomGrayscale(settings.grayscale))
        self._pipeline = v2.Compose(steps)
        self._seed = seed
        self.least_side = math.ceil(size / math.sqrt(settings.crop[0] * NARROWEST))
        """Shorter side in pixels from which no crop has to be enlarged."""

    def seed_at(self, position: int) -> int:
        """What torch's generator starts from for the picture at a position."""
        return seed_of(self._seed, position)

    def __call__(self, image: Tensor, position: int) -> Tensor:
        # torchvision takes no generator: the global one is seeded for this picture and put back
        with torch.random.fork_rng(devices=[]):
            seed_torch(self.seed_at(position))
            augmented: Tensor = self._pipeline(image)
            return augmented


def evaluation_transform(size: int) -> Transform:
    """The shorter side to `size`, then the centre: what open_clip does in evaluation."""
    pipeline = v2.Compose(
        [v2.Resize(size, interpolation=InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(size)]
    )
    return lambda image, position: pipeline(image)
