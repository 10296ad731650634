"""Pictures to tensors: torchvision's transforms, seeded by position in training, fixed in evaluation."""

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

    def build(self, size: int, seed: int) -> Transform:
        steps: list[v2.Transform] = [
            v2.RandomResizedCrop(size, scale=self.crop, interpolation=InterpolationMode.BICUBIC, antialias=True)
        ]
        if self.flip:
            steps.append(v2.RandomHorizontalFlip(self.flip))
        if self.jitter:
            steps.append(v2.ColorJitter(self.jitter, self.jitter, self.jitter))
        if self.grayscale:
            steps.append(v2.RandomGrayscale(self.grayscale))
        pipeline = v2.Compose(steps)

        def augment(image: Tensor, position: int) -> Tensor:
            # torchvision takes no generator: the global one is seeded for this picture and put back
            with torch.random.fork_rng(devices=[]):
                seed_torch(seed_of(seed, position))
                augmented: Tensor = pipeline(image)
                return augmented

        return augment


def evaluation_transform(size: int) -> Transform:
    """The shorter side to `size`, then the centre: what open_clip does in evaluation."""
    pipeline = v2.Compose(
        [v2.Resize(size, interpolation=InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(size)]
    )
    return lambda image, position: pipeline(image)
