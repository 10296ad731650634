"""Classification by a head: which class, how often right, for which classes not, and how sure."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean, settings
from mmpretrain.evaluation import several_labels
from mmpretrain.evaluation.base import Found, OfSplit
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.labelled import labelled, rounded
from mmpretrain.evaluation.shown import without_examples
from mmpretrain.evaluation.splits import Predicted


@settings
class ClassificationTask(OfSplit):
    """Ask a classification head about every sample that has a class."""

    asks = ("classification",)
    kind: Literal["classification"] = "classification"
    head: str = ""
    """Name of the head; empty: the only one of its kind."""

    def build(self) -> "ClassificationEvaluator":
        return ClassificationEvaluator(self)


class ClassificationEvaluator:
    """One class a row: acc1, acc5, recall, precision and F1 as means over classes, calibration error, loss; several:
    mAP, f1_micro, f1_macro, exact_match, loss. Chance is the best constant answer.
    """

    name = "classification"
    headline: Sequence[str] = ("acc1", "mAP")

    def __init__(self, settings: ClassificationTask) -> None:
        self.split = settings.split
        self._head = settings.head

    def run(self, model: Embedder) -> Found:
        """Classify.

        Raises:
            ConfigError: the split has classes that the head does not know, or none at all.
        """
        head = self._head
        predicted = model.predict(self.split, head)
        place_of = places(head, predicted)
        probability_NC = model.heads[head].probabilities(predicted.columns[0].double()).numpy()
        of_rows = of_sets if model.heads[head].several else of_labels
        return of_rows(head, predicted, place_of, probability_NC)


def places(head: str, predicted: Predicted) -> np.ndarray:
    """Where each class of the split's card stands in the head; -1 where it is not there, and no row has it.

    Raises:
        ConfigError: a row has a class that is not there.
    """
    known = {name: place for place, name in enumerate(predicted.classes)}
    place_of = np.array([known.get(name, -1) for name in predicted.card_classes], dtype=int)
    there = {label for labels in predicted.label_sets for label in labels} | set(predicted.labels_N.tolist()) - {-1}
    for label in sorted(there):
        if place_of[label] < 0:
            name = predicted.card_classes[label]
            raise ConfigError(
                f"evaluation: {predicted.dataset} has the class {name!r}, which the head {head} does not choose "
                f"from{did_you_mean(name, predicted.classes)}; evaluate on data with its classes, or train it on these"
            )
    return place_of


def of_labels(head: str, predicted: Predicted, place_of: np.ndarray, probability_NC: np.ndarray) -> Found:
    """One class a row.

    Raises:
        ConfigError: no row has one.
    """
    given_N = predicted.labels_N.numpy()
    rows = np.flatnonzero(given_N >= 0)
    if not len(rows):
        raise ConfigError(
            f"evaluation: no sample of {predicted.dataset} has one class; name the field in dataset.yaml (`label`)"
        )
    return labelled(
        rows.tolist(),
        predicted.keys,
        place_of[given_N[rows]],
        probability_NC[rows],
        predicted.classes,
        {"head": head},
        unlabelled(len(given_N) - len(rows), len(given_N)),
    )


def of_sets(head: str, predicted: Predicted, place_of: np.ndarray, probability_NC: np.ndarray) -> Found:
    """Several classes a row, or none."""
    classes, n = predicted.classes, len(predicted.keys)
    true_NC = np.zeros((n, len(classes)), dtype=bool)
    # a card of one class a row is a special case
    given = [
        (*labels, *([label] if label >= 0 else []))
        for labels, label in zip(predicted.label_sets, predicted.labels_N.tolist(), strict=True)
    ]
    for row, labels in enumerate(given):
        true_NC[row, place_of[list(labels)]] = True
    named_NC = probability_NC > several_labels.NAMED_FROM
    table = several_labels.class_table(true_NC, probability_NC, classes)
    return Found(
        metrics=several_labels.label_set_figures(true_NC, probability_NC),
        samples={
            "key": predicted.keys,
            "labels": [names_of(row_C, classes) for row_C in true_NC],
            "predicted": [names_of(row_C, classes) for row_C in named_NC],
            "probability": [rounded(row_C[named_C]) for row_C, named_C in zip(probability_NC, named_NC, strict=True)],
            "exact_match": (true_NC == named_NC).all(axis=1).astype(int).tolist(),
        },
        facts={"head": head},
        remarks=without_examples(table),
        shown={"table": table, "n": n},
    )


def names_of(row_C: np.ndarray, classes: Sequence[str]) -> list[str]:
    return [name for name, there in zip(classes, row_C, strict=True) if there]


def unlabelled(count: int, n: int) -> list[str]:
    return [f"{count:,} of {n:,} samples have no class and were not asked."] if count else []
