"""Classification by a head: which class, how often right, for which classes not, and how sure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean, settings
from mmpretrain.evaluation import several_labels
from mmpretrain.evaluation.base import Found, OfSplit
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.interval import as_in_training
from mmpretrain.evaluation.labelled import labelled, rounded
from mmpretrain.evaluation.shown import NAMED, without_examples
from mmpretrain.evaluation.splits import Predicted


@settings
class ClassificationTask(OfSplit):
    """Ask a classification head about every sample that has a class of its own."""

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
            ConfigError: no row of the split has classes that the head knows.
        """
        head = self._head
        predicted = model.predict(self.split, head)
        given = given_classes(head, predicted)
        probability_NC = model.heads[head].probabilities(predicted.columns[0].double()).numpy()
        of_rows = of_sets if model.heads[head].several else of_labels
        return of_rows(head, predicted, given, probability_NC)


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the rows of a split really are, in the head's numbers."""

    rows: list[int]
    """Places of those whose classes the head all knows."""
    classes: list[tuple[int, ...]]
    """Of each of these rows; empty: it has none."""
    unknown: Counter[str]
    """Rows that have a class which the head does not choose from, by the first such class."""

    def remarks(self, n: int) -> list[str]:
        if not self.unknown:
            return []
        named = ", ".join(f"{name!r} {count}" for name, count in self.unknown.most_common(NAMED))
        return [
            f"{self.unknown.total():,} of {n:,} samples have classes that the head does not choose from ({named}), and "
            "were left out."
        ]


def given_classes(head: str, predicted: Predicted) -> Given:
    """The classes of all rows.

    Raises:
        ConfigError: no row has classes that the head knows.
    """
    known = {name: place for place, name in enumerate(predicted.classes)}
    found = Given(rows=[], classes=[], unknown=Counter())
    # a card of one class a row is a special case
    pairs = zip(predicted.label_sets, predicted.labels_N.tolist(), strict=True)
    for row, (labels, label) in enumerate(pairs):
        names = [predicted.card_classes[each] for each in (*labels, *([label] if label >= 0 else []))]
        strange = next((name for name in names if name not in known), None)
        if strange is not None:
            found.unknown[strange] += 1
        else:
            found.rows.append(row)
            found.classes.append(tuple(known[name] for name in names))
    if found.unknown and not any(found.classes):
        name = found.unknown.most_common(1)[0][0]
        raise ConfigError(
            f"evaluation: {predicted.dataset} has the class {name!r}, which the head {head} does not choose "
            f"from{did_you_mean(name, predicted.classes)}, and none that it does; evaluate on data with its classes, "
            "or train it on these"
        )
    return found


def of_labels(head: str, predicted: Predicted, given: Given, probability_NC: np.ndarray) -> Found:
    """One class a row.

    Raises:
        ConfigError: no row has one.
    """
    n = len(predicted.keys)
    rows = [row for row, classes in zip(given.rows, given.classes, strict=True) if len(classes) == 1]
    if not rows:
        raise ConfigError(
            f"evaluation: no sample of {predicted.dataset} has one class; name the field in dataset.yaml (`label`)"
        )
    return labelled(
        rows,
        predicted.keys,
        np.array([classes[0] for classes in given.classes if len(classes) == 1]),
        probability_NC[rows],
        predicted.classes,
        {"head": head, **outside(given)},
        [*given.remarks(n), *unlabelled(len(given.rows) - len(rows), n)],
    )


def outside(given: Given) -> dict[str, int]:
    """How many rows were left out, where some were."""
    return {"outside_classes": given.unknown.total()} if given.unknown else {}


def of_sets(head: str, predicted: Predicted, given: Given, probability_NC: np.ndarray) -> Found:
    """Several classes a row, or none."""
    classes, n = predicted.classes, len(given.rows)
    probability_NC = probability_NC[given.rows]
    true_NC = np.zeros((n, len(classes)), dtype=bool)
    for place, labels in enumerate(given.classes):
        true_NC[place, list(labels)] = True
    named_NC = probability_NC > several_labels.NAMED_FROM
    share_C = true_NC.mean(axis=0)
    constant = float(np.maximum(share_C, 1 - share_C).mean())
    table = several_labels.class_table(true_NC, probability_NC, classes)
    return Found(
        metrics=several_labels.label_set_figures(true_NC, probability_NC),
        samples={
            "key": [predicted.keys[row] for row in given.rows],
            "labels": [names_of(row_C, classes) for row_C in true_NC],
            "predicted": [names_of(row_C, classes) for row_C in named_NC],
            "probability": [rounded(row_C[named_C]) for row_C, named_C in zip(probability_NC, named_NC, strict=True)],
            "exact_match": (true_NC == named_NC).all(axis=1).astype(int).tolist(),
        },
        facts={"head": head, **outside(given), **as_in_training((true_NC == named_NC).mean(axis=1), constant)},
        remarks=[*given.remarks(len(predicted.keys)), *without_examples(table)],
        shown={"table": table, "n": n},
    )


def names_of(row_C: np.ndarray, classes: Sequence[str]) -> list[str]:
    return [name for name, there in zip(classes, row_C, strict=True) if there]


def unlabelled(count: int, n: int) -> list[str]:
    return [f"{count:,} of {n:,} samples do not have one class and were not asked."] if count else []
