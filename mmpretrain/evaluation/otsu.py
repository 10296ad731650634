"""Segmentation without learning: the threshold that parts a picture's grey values best (Otsu 1979, IEEE SMC 9(1))."""

import numpy as np
import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue in grey, ITU-R BT.601."""


def otsu_masks(images_BCHW: Tensor) -> Tensor:
    """masks_BHW of uint8: 0 on the side of the threshold that most of the picture's border lies on, 1 on the other."""
    weights = np.array(LUMA)[:, None, None]
    greys = (images_BCHW.numpy() * weights).sum(axis=1).round().astype(np.uint8)
    return torch.from_numpy(np.stack([otsu_mask(grey_HW) for grey_HW in greys]))


def otsu_mask(grey_HW: np.ndarray) -> np.ndarray:
    """The mask of one picture."""
    bright_HW = grey_HW > otsu_threshold(grey_HW)
    border = np.concatenate([bright_HW[0], bright_HW[-1], bright_HW[1:-1, 0], bright_HW[1:-1, -1]])
    return (bright_HW != (border.mean() > 0.5)).astype(np.uint8)


def otsu_threshold(grey_HW: np.ndarray) -> int:
    """The grey value up to which pixels are dark: it makes the variance between dark and bright ones largest.

    Of several as good, as a gap in the histogram makes them, the one in their middle.
    """
    counts = np.bincount(grey_HW.ravel(), minlength=256).astype(float)
    dark, all_grey = counts.cumsum(), (counts * np.arange(256)).sum()
    bright, dark_grey = dark[-1] - dark, (counts * np.arange(256)).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = dark * bright * (dark_grey / dark - (all_grey - dark_grey) / bright) ** 2
    between = np.nan_to_num(between)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return int(best[len(best) // 2])
