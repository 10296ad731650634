"""What is found out about rows of one class each, whoever named their classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmpretrain.evaluation.base import Found
from mmpretrain.evaluation.one_label import calibration_bins, class_table, confusion_matrix, label_figures
from mmpretrain.evaluation.shown import without_examples

MISTAKES = 12
"""Wrong rows of which a report shows the picture."""


def labelled(
    rows: Sequence[int],
    keys: Sequence[str],
    label_N: np.ndarray,
    probability_NC: np.ndarray,
    classes: Sequence[str],
    facts: dict[str, Any],
    remarks: Sequence[str] = (),
) -> Found:
    """Figures, lines by sample, and what a report shows.

    Args:
        rows: places of the samples in their split.
        keys: of all samples of the split.
        remarks: in front of others.
    """
    named_N, sure_N = probability_NC.argmax(axis=1), probability_NC.max(axis=1)
    right_N = (named_N == label_N).astype(int)
    table = class_table(label_N, named_N, classes)
    return Found(
        metrics=label_figures(label_N, probability_NC),
        samples={
            "key": [keys[row] for row in rows],
            "label": [classes[c] for c in label_N],
            "predicted": [classes[c] for c in named_N],
            "probability": rounded(sure_N),
            "acc1": right_N.tolist(),
        },
        facts=facts,
        remarks=[*remarks, *without_examples(table)],
        shown={
            "classes": list(classes),
            "confusion": confusion_matrix(label_N, named_N, len(classes)),
            "table": table,
            "calibration": calibration_bins(right_N, sure_N),
            "mistakes": [
                {
                    "row": int(rows[n]),
                    "label": classes[label_N[n]],
                    "predicted": classes[named_N[n]],
                    "probability": float(sure_N[n]),
                }
                for n in surest_mistakes(right_N, sure_N)
            ],
            "n": len(rows),
        },
    )


def rounded(values_N: np.ndarray) -> list[float]:
    """Digits enough for whoever reads them."""
    return [round(float(value), 6) for value in values_N]


def surest_mistakes(right_N: np.ndarray, sure_N: np.ndarray) -> list[int]:
    """Wrong rows, the surest first."""
    wrong = np.flatnonzero(right_N == 0)
    chosen: list[int] = wrong[np.argsort(-sure_N[wrong], kind="stable")][:MISTAKES].tolist()
    return chosen
