"""A map in front of its picture, as a PNG."""

import io
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from mmpretrain.core.errors import ConfigError

COLOURS = "inferno"
"""matplotlib's name of a colour map of even steps for the eye, the colour-blind one's included."""
LEAST_SIDE = 256
"""Pixels of a side that a small picture is enlarged to."""
COVER = (0.3, 0.8)
"""How much of the picture the colour covers where the map is 0 and 1."""


def picture_png(image_CHW: Tensor) -> bytes:
    """The picture as the model gets it."""
    return _png(_large(image_CHW))


def overlay_png(image_CHW: Tensor, map_HW: Tensor | np.ndarray) -> bytes:
    """The picture without its colours, behind the colours of the map.

    Raises:
        ConfigError: matplotlib, which has the colours, is not installed.
    """
    picture = _large(image_CHW)
    values = Image.fromarray(np.asarray(map_HW, dtype=np.float32)).resize(picture.size, Image.Resampling.BILINEAR)
    values_HW = np.clip(np.asarray(values), 0, 1)
    colour_HW3 = 255 * colours()(values_HW)[..., :3]
    grey_HW1 = np.asarray(picture.convert("L"), dtype=np.float32)[..., None]
    cover_HW1 = (COVER[0] + (COVER[1] - COVER[0]) * values_HW)[..., None]
    return _png(Image.fromarray((cover_HW1 * colour_HW3 + (1 - cover_HW1) * grey_HW1).round().astype(np.uint8)))


def legend_css(stops: int = 9) -> str:
    """The colours from 0 to 1 as CSS has them."""
    parts = [colours()(step / (stops - 1))[:3] for step in range(stops)]
    return ", ".join(f"rgb({round(255 * r)} {round(255 * g)} {round(255 * b)})" for r, g, b in parts)


def colours() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise ConfigError('explain: needs matplotlib for its colours; pip install -e ".[explain]"') from error
    return matplotlib.colormaps[COLOURS]


def _large(image_CHW: Tensor) -> Image.Image:
    picture = Image.fromarray(image_CHW.cpu().permute(1, 2, 0).contiguous().numpy())
    times = -(-LEAST_SIDE // min(picture.size))
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
