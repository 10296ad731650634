"""Zero-shot classification: a class is the mean embedding of its templates (Radford et al. 2021)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.evaluation.base import Found, OfSplit
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.one_label import accuracy_figures, confusion_matrix, random_chances


@settings
class ZeroShot(OfSplit):
    """Name the class of a picture out of the card's classes, by the card's templates."""

    kind: Literal["zero_shot"] = "zero_shot"

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
        label_N, scores_NC = split.labels_N[chosen].numpy(), (split.image_NE[chosen] @ class_CE.T).numpy()
        named_N = scores_NC.argmax(axis=1)
        count = len(split.classes)
        return Found(
            metrics=accuracy_figures(label_N, scores_NC, random_chances(count)),
            samples={
                "key": [split.keys[row] for row in chosen.nonzero().flatten().tolist()],
                "label": [split.classes[label] for label in label_N],
                "predicted": [split.classes[label] for label in named_N],
                "acc1": (named_N == label_N).astype(int).tolist(),
            },
            shown={
                "classes": split.classes,
                "confusion": confusion_matrix(label_N, named_N, count),
                "n": len(label_N),
            },
        )


def class_embeddings(model: Embedder, sentences: list[list[str]]) -> Tensor:
    """class_CE of unit length: for each class the mean over its sentences."""
    text_TE = model.texts([sentence for of_class in sentences for sentence in of_class])
    by_class = text_TE.split([len(of_class) for of_class in sentences])
    return F.normalize(torch.stack([part.mean(dim=0) for part in by_class]), dim=-1)
