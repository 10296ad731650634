"""Masks and their pictures as a report shows them: small PNGs in base64."""

import base64
import io

from PIL import Image
from torch import Tensor

from mmpretrain.data.card import IGNORED

SIDE = 128
"""Most pixels of a side."""
COLOURS = (
    (38, 42, 48),
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)
"""Of the first classes, told apart by the colour-blind (Okabe and Ito 2008); further ones take them in turn but for
the first, the background's."""
NOWHERE = (255, 255, 255)
"""Of pixels that count nowhere."""


def drawn_picture(image_CHW: Tensor) -> str:
    image = Image.fromarray(image_CHW.permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return encoded(image)


def drawn_mask(mask_HW: Tensor) -> str:
    """Classes in their colours: the PNG's values stay the classes."""
    image = Image.fromarray(mask_HW.contiguous().numpy())
    image.putpalette([value for place in range(256) for value in colour_of(place)])
    image.thumbnail((SIDE, SIDE), Image.Resampling.NEAREST)
    return encoded(image)


def colour_of(place: int) -> tuple[int, int, int]:
    if place == IGNORED:
        return NOWHERE
    return COLOURS[place if place < len(COLOURS) else 1 + (place - 1) % (len(COLOURS) - 1)]


def encoded(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
