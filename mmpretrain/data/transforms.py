"""Pictures to tensors of one size: drawn by position in training, fixed in evaluation."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.tv_tensors import Image, Mask

from mmpretrain.core.counter import counter_hash, name_to_int, seed_of, seed_torch
from mmpretrain.core.settings import settings
from mmpretrain.data.card import IGNORED

ASPECTS = (3 / 4, 4 / 3)
ATTEMPTS = 10
_CROP = name_to_int("crop")


class Transform(Protocol):
    """(uint8 picture of any size, position) -> uint8 picture, 3 x size x size; a mask goes the same way."""

    def __call__(self, image: Tensor, position: int) -> Tensor: ...
    def with_mask(self, image: Tensor, mask_HW: Tensor, position: int) -> tuple[Tensor, Tensor]:
        """The same picture, and its mask, size x size."""


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


class Box(NamedTuple):
    """A part of a picture, as shares of its width and height."""

    left: float
    top: float
    width: float
    height: float

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, left, height, width) in a picture of this size, inside it and not empty."""
        high, wide = (max(1, round(share * side)) for share, side in ((self.height, height), (self.width, width)))
        top = min(round(self.top * height), height - high)
        return top, min(round(self.left * width), width - wide), high, wide


def draw_box(aspect: float, scale: tuple[float, float], draws: np.ndarray) -> Box:
    """Inception's random crop (Szegedy et al. 2015, arXiv 1409.4842) with the aspects of torchvision's.

    In shares and not in pixels, so that a picture that was decoded smaller is cut at the same place.

    Args:
        aspect: width over height of the picture.
        scale: smallest and largest share of the area.
        draws: ATTEMPTS x 4 uniform numbers.
    """
    for area, ratio, left, top in draws.tolist():
        share = scale[0] + area * (scale[1] - scale[0])
        shape = ASPECTS[0] * (ASPECTS[1] / ASPECTS[0]) ** ratio  # uniform in its logarithm
        width, height = math.sqrt(share * shape / aspect), math.sqrt(share / shape * aspect)
        if width <= 1 and height <= 1:
            return Box(left * (1 - width), top * (1 - height), width, height)
    width, height = min(1, ASPECTS[1] / aspect), min(1, aspect / ASPECTS[0])
    return Box((1 - width) / 2, (1 - height) / 2, width, height)


def resize(image: Tensor, size: int) -> Tensor:
    """A uint8 picture at size x size, bicubic and antialiased as Pillow's, in integers all the way."""
    # torch's own function: torchvision's around it takes a quarter more time. It works on colours side by side, as
    # decoders leave them, only where the axis of the one-picture batch is the outermost in memory too
    batch_BCHW = image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    resized: Tensor = F.interpolate(batch_BCHW, [size, size], mode="bicubic", antialias=True)[0]
    return resized


def resize_mask(mask_HW: Tensor, size: int) -> Tensor:
    """Each pixel at size x size takes the class of the one that it lies in: classes have no mean."""
    resized: Tensor = F.interpolate(mask_HW[None, None], [size, size], mode="nearest-exact")[0, 0]
    return resized


class Augment:
    """A random crop and what else the settings ask for, the same for a position on every rank and worker."""

    def __init__(self, settings: Augmentation, size: int, seed: int) -> None:
        self._scale = settings.crop
        self._size = size
        self._seed = seed
        steps: list[v2.Transform] = []
        if settings.flip:
            steps.append(v2.RandomHorizontalFlip(settings.flip))
        if settings.jitter:
            steps.append(v2.ColorJitter(settings.jitter, settings.jitter, settings.jitter))
        if settings.grayscale:
            steps.append(v2.RandomGrayscale(settings.grayscale))
        self._more = v2.Compose(steps) if steps else None
        self.least_side = math.ceil(size / math.sqrt(settings.crop[0] * ASPECTS[0]))
        """Shorter side in pixels from which no crop has to be enlarged."""

    def box(self, height: int, width: int, position: int) -> tuple[int, int, int, int]:
        """(top, left, height, width) of the crop at a position."""
        hashes = counter_hash(_CROP, self._seed, position, np.arange(4 * ATTEMPTS))
        draws = (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return draw_box(width / height, self._scale, draws.reshape(ATTEMPTS, 4)).pixels(height, width)

    def __call__(self, image: Tensor, position: int) -> Tensor:
        cropped = resize(self._cut(image, position), self._size)
        return cropped if self._more is None else self._drawn(position, cropped)

    def with_mask(self, image: Tensor, mask_HW: Tensor, position: int) -> tuple[Tensor, Tensor]:
        cropped = resize(self._cut(image, position), self._size)
        mask_HW = resize_mask(self._cut(mask_HW[None], position)[0], self._size)
        if self._more is None:
            return cropped, mask_HW
        augmented, turned = self._drawn(position, Image(cropped), Mask(mask_HW))
        return augmented.as_subclass(Tensor), turned.as_subclass(Tensor)

    def _cut(self, image: Tensor, position: int) -> Tensor:
        top, left, height, width = self.box(image.shape[1], image.shape[2], position)
        return image[:, top : top + height, left : left + width]

    def _drawn(self, position: int, *inputs: Tensor) -> Any:
        assert self._more is not None
        # torchvision takes no generator: the global one is seeded for this picture and put back
        with torch.random.fork_rng(devices=[]):
            seed_torch(seed_of(self._seed, position))
            return self._more(*inputs)


@dataclass(frozen=True)
class OrBlank:
    """A transform, and zeros for a text without picture: beside pictures its row has to have their shape."""

    transform: Transform
    size: int

    def __call__(self, image: Tensor, position: int) -> Tensor:
        return self.transform(image, position) if image.numel() else image.new_zeros(3, self.size, self.size)

    def with_mask(self, image: Tensor, mask_HW: Tensor, position: int) -> tuple[Tensor, Tensor]:
        if image.numel():
            return self.transform.with_mask(image, mask_HW, position)
        return self(image, position), mask_HW.new_full((self.size, self.size), IGNORED)


class Nothing:
    """No pixels, for batches at whose pictures nobody looks."""

    def __call__(self, image: Tensor, position: int) -> Tensor:
        return image.new_zeros(3, 0, 0)

    def with_mask(self, image: Tensor, mask_HW: Tensor, position: int) -> tuple[Tensor, Tensor]:
        return self(image, position), mask_HW.new_zeros(0, 0)


class Centre:
    """The shorter side to `size`, then the centre: what open_clip does in evaluation."""

    def __init__(self, size: int) -> None:
        bicubic = v2.Resize(size, interpolation=InterpolationMode.BICUBIC, antialias=True)
        self._pipeline = v2.Compose([bicubic, v2.CenterCrop(size)])

    def __call__(self, image: Tensor, position: int) -> Tensor:
        centre: Tensor = self._pipeline(image)
        return centre

    def with_mask(self, image: Tensor, mask_HW: Tensor, position: int) -> tuple[Tensor, Tensor]:
        # of a mask torchvision takes the nearest pixel, whatever the interpolation of pictures
        centre, mask = self._pipeline(Image(image), Mask(mask_HW))
        return centre.as_subclass(Tensor), mask.as_subclass(Tensor)
