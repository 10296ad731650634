"""Zero-shot classification: a class is the mean embedding of its templates (Radford et al. 2021)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.evaluation.base import Found
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.interval import Figure, bootstrap_means, figure


@settings
class ZeroShot:
    """Name the class of a picture out of the card's classes, by the card's templates."""

    kind: Literal["zero_shot"] = "zero_shot"
    split: str
    """Split to classify: SPLIT of the training dataset (the first of a mixture), or NAME:SPLIT of another."""

    def build(self) -> "ZeroShotEvaluator":
        return ZeroShotEvaluator(self.split)


class ZeroShotEvaluator:
    """acc1, acc5 and mean_per_class_recall."""

    headline: Sequence[str] = ("acc1",)

    def __init__(self, split: str) -> None:
        self.name = "zero_shot"
        self.split = split

    def run(self, model: Embedder) -> Found:
        """Classify.

        Raises:
            ConfigError: the dataset's card names no classes.
        """
        split = model.split(self.split)
        if not split.classes:
            raise ConfigError(f"evaluation: {split.dataset} has no classes; add `label` and `classes` to its card")
        class_CE = class_embeddings(model, split.sentences)
        chosen = split.labels_N >= 0
        labels, scores = split.labels_N[chosen], split.image_NE[chosen] @ class_CE.T
        predicted = scores.argmax(dim=1)
        confusion = confusion_matrix(labels, predicted, len(split.classes))
        return Found(
            metrics=classification_metrics(labels, scores),
            samples={
                "key": [split.keys[row] for row in chosen.nonzero().flatten().tolist()],
                "label": [split.classes[label] for label in labels],
                "predicted": [split.classes[label] for label in predicted],
                "acc1": (predicted == labels).int().tolist(),
            },
            shown={"classes": split.classes, "confusion": confusion, "n": len(labels)},
        )


def class_embeddings(model: Embedder, sentences: list[list[str]]) -> Tensor:
    """class_CE of unit length: for each class the mean over its sentences."""
    text_TE = model.texts([sentence for of_class in sentences for sentence in of_class])
    by_class = text_TE.split([len(of_class) for of_class in sentences])
    return F.normalize(torch.stack([part.mean(dim=0) for part in by_class]), dim=-1)


def classification_metrics(labels: Tensor, scores: Tensor) -> dict[str, Figure]:
    """acc1, acc5 and mean_per_class_recall of scores_NC against labels_N."""
    n, classes = scores.shape
    order = scores.argsort(dim=1, descending=True)
    right = (order == labels[:, None]).numpy()
    metrics = {}
    for k in (1, 5):
        hits = right[:, :k].any(axis=1).astype(float)
        metrics[f"acc{k}"] = figure(hits.mean(), bootstrap_means(hits), min(1.0, k / classes), n)
    hits = right[:, 0].astype(float)
    present = [np.flatnonzero(labels.numpy() == label) for label in range(classes)]
    by_class = [hits[rows] for rows in present if len(rows)]
    resampled = np.mean([bootstrap_means(part, seed) for seed, part in enumerate(by_class)], axis=0)
    mean = float(np.mean([part.mean() for part in by_class]))
    return {**metrics, "mean_per_class_recall": figure(mean, resampled, 1 / classes, n)}


def confusion_matrix(labels: Tensor, predicted: Tensor, classes: int) -> list[list[int]]:
    """Counts by true class (rows) and predicted class (columns)."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes).tolist()
