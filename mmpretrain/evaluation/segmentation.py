"""How well a head finds the class of each pixel, and whether that is better than a threshold."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from mmpretrain.core.batch import Batch
from mmpretrain.core.settings import settings
from mmpretrain.evaluation.base import Found, OfSplit
from mmpretrain.evaluation.drawn_masks import colour_of, drawn_mask, drawn_picture
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.interval import Figure, bootstrap_means, figure
from mmpretrain.evaluation.otsu import otsu_masks
from mmpretrain.evaluation.overlaps import (
    class_ious,
    constant,
    foreground_iou,
    mean_iou,
    overlaps,
    pixel_accuracy,
    resampled_sums,
)

SHOWN = 12
"""Pictures in a report, from the best to the worst."""
Measure = Callable[[np.ndarray], np.ndarray]


@settings
class Segmentation(OfSplit):
    """Masks of a head against those of a split, at the size that the image tower looks at."""

    asks = ("segmentation",)
    kind: Literal["segmentation"] = "segmentation"
    head: str = ""
    """Name of the head; empty: the run's only one for segmentation."""

    def build(self) -> "SegmentationEvaluator":
        return SegmentationEvaluator(self.split, self.head)


class SegmentationEvaluator:
    """Three figures, and beside them that of Otsu's threshold where there are two classes.

    mIoU: intersection over union of each class over all pixels of the split, the mean over classes. foreground_IoU: the
    same of each picture without the first class, the mean over pictures. pixel_accuracy: right pixels of the split.
    Intervals resample pictures. Chance is the best constant class.
    """

    headline: Sequence[str] = ("mIoU", "otsu_mIoU")

    def __init__(self, split: str, head: str) -> None:
        self.name = "segmentation"
        self.split = split
        self._head = head

    def run(self, model: Embedder) -> Found:
        classes = list(model.heads[self._head].classes)

        def keep(batch: Batch, said: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            """Counts in place of masks: little is to travel between ranks."""
            assert batch.masks_BHW is not None
            masks = [said[0], otsu_masks(batch.images_BCHW)] if len(classes) == 2 else [said[0]]
            return tuple(overlaps(each_BHW, batch.masks_BHW, len(classes)) for each_BHW in masks)

        predicted = model.predict(self.split, self._head, keep)
        counts, *baseline = (column.numpy() for column in predicted.columns)
        each_N = foreground_iou(counts)
        metrics = {
            "mIoU": of_sums(mean_iou, counts),
            "foreground_IoU": of_pictures(foreground_iou, counts),
            "pixel_accuracy": of_sums(pixel_accuracy, counts),
        }
        facts: dict[str, Any] = {
            "IoU": dict(zip(classes, rounded(class_ious(counts.sum(axis=0)[None])[0]), strict=True))
        }
        for otsu in baseline:
            metrics["otsu_mIoU"] = of_sums(mean_iou, otsu)
            facts["over_otsu"] = difference(counts, otsu)
        return Found(
            metrics=metrics,
            samples={"key": predicted.keys, "foreground_IoU": each_N.tolist(), "pixels": counts.tolist()},
            facts=facts,
            shown={
                "classes": [{"name": name, "colour": colour_of(place)} for place, name in enumerate(classes)],
                "pictures": self._shown(model, each_N),
            },
        )

    def _shown(self, model: Embedder, each_N: np.ndarray) -> list[dict[str, Any]]:
        """Pictures evenly spaced between the best and the worst, with their masks; every rank draws them."""
        order = np.argsort(-each_N, kind="stable")
        rows = order[np.unique(np.linspace(0, len(order) - 1, SHOWN).round().astype(int))].tolist()
        batch, (found_BHW,) = model.predict_some(self.split, self._head, rows)
        assert batch.masks_BHW is not None
        return [
            {
                "row": row,
                "foreground_IoU": round(float(each_N[row]), 4),
                "picture": drawn_picture(image_CHW),
                "truth": drawn_mask(truth_HW),
                "found": drawn_mask(found_HW),
            }
            for row, image_CHW, truth_HW, found_HW in zip(
                rows, batch.images_BCHW, batch.masks_BHW, found_BHW, strict=True
            )
        ]


def of_sums(measure: Measure, counts_N3C: np.ndarray) -> Figure:
    """A figure of the sums over all pictures."""

    def whole(counts: np.ndarray) -> float:
        return float(measure(counts.sum(axis=0)[None])[0])

    chance = max(whole(constant(counts_N3C, place)) for place in range(counts_N3C.shape[2]))
    return figure(whole(counts_N3C), measure(resampled_sums(counts_N3C)), chance, len(counts_N3C))


def of_pictures(measure: Measure, counts_N3C: np.ndarray) -> Figure:
    """The mean over pictures."""
    each_N = measure(counts_N3C)
    chance = max(measure(constant(counts_N3C, place)).mean() for place in range(counts_N3C.shape[2]))
    return figure(each_N.mean(), bootstrap_means(each_N), chance, len(each_N))


def difference(counts_N3C: np.ndarray, other_N3C: np.ndarray) -> dict[str, float]:
    """What is gained in mIoU over another's masks of the same pictures, with the interval of paired resamples."""
    resampled = mean_iou(resampled_sums(counts_N3C)) - mean_iou(resampled_sums(other_N3C))
    value = mean_iou(counts_N3C.sum(axis=0)[None])[0] - mean_iou(other_N3C.sum(axis=0)[None])[0]
    found = figure(value, resampled, 0.0, len(counts_N3C))
    return {"value": found.value, "low": found.low, "high": found.high}


def rounded(values: np.ndarray) -> list[float | None]:
    """For people; None for a class that is nowhere."""
    return [None if np.isnan(value) else round(float(value), 4) for value in values]
