"""Zero-shot classification: a class is the mean embedding of its sentences (Radford et al. 2021)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.evaluation.base import Found
from mmpretrain.evaluation.class_sentences import Saying, SaysClasses, class_embeddings
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.one_label import accuracy_figures, class_table, confusion_matrix, random_chances
from mmpretrain.evaluation.shown import without_examples


@settings
class ZeroShot(SaysClasses):
    """Name the class of a picture out of the card's classes, by what is said of them."""

    kind: Literal["zero_shot"] = "zero_shot"

    def build(self) -> "ZeroShotEvaluator":
        return ZeroShotEvaluator(self)


class ZeroShotEvaluator:
    """acc1, acc5 and mean_per_class_recall; chance is a draw among all classes."""

    name = "zero_shot"
    headline: Sequence[str] = ("acc1",)

    def __init__(self, settings: ZeroShot) -> None:
        self.split = settings.split
        self._saying = Saying(settings)

    def run(self, model: Embedder) -> Found:
        """Classify.

        Raises:
            ConfigError: the dataset's card names no classes, or the settings name others.
        """
        split = model.split(self.split)
        if not split.classes:
            raise ConfigError(f"evaluation: {split.dataset} has no classes; add `label` and `classes` to its card")
        names = self._saying.names(split.dataset, split.classes)
        spoken = self._saying.sentences(split.dataset, split.classes, split.descriptions, split.templates)
        rows = np.flatnonzero(split.labels_N.numpy() >= 0)
        if not len(rows):
            raise ConfigError(f"evaluation: no sample of {split.dataset} has one class; see `label` of its card")
        label_N = split.labels_N.numpy()[rows]
        scores_NC = (split.image_NE[rows] @ class_embeddings(model, spoken).T).numpy()
        named_N = scores_NC.argmax(axis=1)
        table = class_table(label_N, named_N, names)
        return Found(
            metrics=accuracy_figures(label_N, scores_NC, random_chances(len(names))),
            samples={
                "key": [split.keys[row] for row in rows],
                "label": [names[label] for label in label_N],
                "predicted": [names[label] for label in named_N],
                "acc1": (named_N == label_N).astype(int).tolist(),
            },
            facts={"sentences": sum(map(len, spoken))},
            remarks=without_examples(table),
            shown={
                "classes": names,
                "confusion": confusion_matrix(label_N, named_N, len(names)),
                "table": table,
                "n": len(rows),
            },
        )
