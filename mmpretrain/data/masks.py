"""Masks: the class of each pixel of a picture, a PNG of 8-bit values as Pascal VOC and ADE20K have it."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmpretrain.data.card import IGNORED
from mmpretrain.data.faults import BadSample
from mmpretrain.data.images import ImageLimits, open_image


def decode_mask(content: bytes, image_CHW: Tensor, classes: int, limits: ImageLimits) -> Tensor:
    """mask_HW of uint8: values below `classes`, and IGNORED.

    Grey values or places in a palette; the colours of the palette mean nothing.

    Raises:
        BadSample: no PNG of 8-bit values, not of the picture's size, or with values that are no class.
    """
    image = open_image(content, limits)
    # Pillow scales grey of 2 and 4 bits to 8, and the values would no longer be classes
    if image.format != "PNG" or image.mode not in ("L", "P", "1") or (image.mode == "L" and content[24] != 8):
        raise BadSample("unknown_mask", f"{image.format} {image.mode}; a PNG of 8-bit values or a palette is needed")
    if (image.height, image.width) != tuple(image_CHW.shape[1:]):
        size = f"{image_CHW.shape[2]} x {image_CHW.shape[1]}"
        raise BadSample("size_of_mask", f"{image.width} x {image.height} pixels, its picture has {size}")
    values_HW = _values(image)
    strange = np.setdiff1d(np.unique(values_HW), [*range(classes), IGNORED])
    if len(strange):
        raise BadSample("unknown_class", f"a mask has the value {strange[0]}; the card lists {classes} mask_classes")
    return torch.from_numpy(values_HW)


def _values(image: Image.Image) -> np.ndarray:
    try:
        return np.array(image, dtype=np.uint8)
    except Exception as error:  # whatever a decoder says of hostile bytes
        raise BadSample("damaged_mask", (str(error).splitlines() or [type(error).__name__])[0][:200]) from error
