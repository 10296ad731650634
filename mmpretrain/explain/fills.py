"""What takes the place of pixels that are removed."""

from typing import Literal

from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

Fill = Literal["blur", "mean"]
"""blur: the picture so blurred that nothing can be made out, which leaves colours where they were (Petsiuk et al.
2018); mean: the picture's mean colour."""
BLUR = 6
"""Deviations of the blur in a side of the picture."""


def filled(pixels_BCHW: Tensor, fill: Fill) -> Tensor:
    """Pictures of which everything is removed; floats."""
    pixels_BCHW = pixels_BCHW.float()
    if fill == "mean":
        return pixels_BCHW.mean(dim=(2, 3), keepdim=True).expand_as(pixels_BCHW)
    side = min(pixels_BCHW.shape[2:])
    # the kernel is odd, and a border that is mirrored is shorter than the picture
    return gaussian_blur(pixels_BCHW, [(side - 1) // 2 * 2 - 1 if side > 2 else 1] * 2, [max(side / BLUR, 0.1)] * 2)
