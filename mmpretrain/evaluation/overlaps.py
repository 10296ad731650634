"""Pixels that two masks agree on, by class, and the figures that follow from their sums over pictures."""

import numpy as np
import torch
from torch import Tensor

from mmpretrain.data.card import IGNORED
from mmpretrain.evaluation.interval import RESAMPLES


def overlaps(found_BHW: Tensor, truth_BHW: Tensor, classes: int) -> Tensor:
    """Pixels of each picture and class: of found and truth alike, of the truth, of what was found; B x 3 x C, int64.

    Pixels that the truth ignores count nowhere.
    """
    found_BHW, truth_BHW = found_BHW.long(), truth_BHW.long()
    rows_B11 = torch.arange(len(truth_BHW))[:, None, None] * classes
    counts_BHW = truth_BHW != IGNORED

    def tally(classes_BHW: Tensor, where_BHW: Tensor) -> Tensor:
        places = (rows_B11 + classes_BHW)[where_BHW]
        return torch.bincount(places, minlength=len(truth_BHW) * classes).view(-1, classes)

    both = tally(truth_BHW, counts_BHW & (found_BHW == truth_BHW))
    return torch.stack([both, tally(truth_BHW, counts_BHW), tally(found_BHW, counts_BHW)], dim=1)


def class_ious(overlaps_R3C: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, R x C; NaN where a class is neither in the truth nor found."""
    both, truth, found = np.moveaxis(overlaps_R3C, 1, 0).astype(float)
    union = truth + found - both
    return np.divide(both, union, out=np.full_like(union, np.nan), where=union > 0)


def mean_iou(overlaps_R3C: np.ndarray) -> np.ndarray:
    """The mean over the classes that are there, R; 0 where there are no pixels."""
    return mean_of_known(class_ious(overlaps_R3C), 0.0)


def foreground_iou(overlaps_N3C: np.ndarray) -> np.ndarray:
    """Of each picture the mean over its classes but the first, N; 1 where it has none and none was found."""
    return mean_of_known(class_ious(overlaps_N3C)[:, 1:], 1.0)


def pixel_accuracy(overlaps_R3C: np.ndarray) -> np.ndarray:
    """The share of pixels of the right class, R."""
    both, truth, _ = np.moveaxis(overlaps_R3C, 1, 0).sum(axis=2)
    return both / np.maximum(truth, 1)


def mean_of_known(values_RC: np.ndarray, otherwise: float) -> np.ndarray:
    """The mean of the numbers of each row that are no NaN, R."""
    known = ~np.isnan(values_RC)
    counts = known.sum(axis=1)
    means = np.where(known, values_RC, 0).sum(axis=1) / np.maximum(counts, 1)
    return np.where(counts > 0, means, otherwise)


def constant(overlaps_N3C: np.ndarray, place: int) -> np.ndarray:
    """The overlaps of whoever finds one class everywhere."""
    truth_NC = overlaps_N3C[:, 1]
    found = np.zeros_like(overlaps_N3C)
    found[:, 0, place], found[:, 1], found[:, 2, place] = truth_NC[:, place], truth_NC, truth_NC.sum(axis=1)
    return found


def resampled_sums(overlaps_N3C: np.ndarray, seed: int = 0) -> np.ndarray:
    """Sums over resamples of the pictures, the draws of `bootstrap_means`; RESAMPLES x 3 x C."""
    count = len(overlaps_N3C)
    draws = np.random.default_rng(seed).integers(0, count, size=(RESAMPLES, count))
    times = np.stack([np.bincount(drawn, minlength=count) for drawn in draws])
    return np.tensordot(times, overlaps_N3C, axes=1)
