"""How well rows of one class each are told apart: accuracy, recall by class, precision, F1, calibration, loss.

Suffixes: N rows, C classes, R samples of the rows, K calibration bins.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmpretrain.evaluation.interval import Figure, Statistic, figures, joined, means, summed_by

BINS = 15
"""Of equal width, as Guo et al. 2017 (arXiv 1706.04599) have them."""
LEAST = 1e-12
"""A probability is not taken to be less, so that one sure mistake does not make a loss infinite."""


def accuracy_figures(label_N: np.ndarray, scores_NC: np.ndarray, chances: dict[str, float]) -> dict[str, Figure]:
    """acc1, acc5 and mean_per_class_recall."""
    columns = hits(label_N, scores_NC)
    by_class = recall_by_class(label_N, columns["acc1"], scores_NC.shape[1])
    return figures(joined(means(columns), by_class), len(label_N), chances)


def random_chances(classes: int) -> dict[str, float]:
    """What whoever draws classes evenly gets."""
    return {"acc1": 1 / classes, "acc5": min(1.0, 5 / classes), "mean_per_class_recall": 1 / classes}


def constant_chances(shares_C: np.ndarray) -> dict[str, float]:
    """What whoever always names the most frequent classes gets: one class recalled whole, and the others not at all."""
    frequent_C = np.sort(shares_C)[::-1]
    recall = 1 / int((shares_C > 0).sum())
    return {"acc1": float(frequent_C[0]), "acc5": float(frequent_C[:5].sum()), "mean_per_class_recall": recall}


def hits(label_N: np.ndarray, scores_NC: np.ndarray) -> dict[str, np.ndarray]:
    """Whether the right class is among the first and the first five; of equal scores the lower class is first."""
    own_N1 = np.take_along_axis(scores_NC, label_N[:, None], axis=1)
    ahead_N = (scores_NC > own_N1).sum(axis=1)
    lower_NC = np.arange(scores_NC.shape[1]) < label_N[:, None]
    ahead_N = ahead_N + ((scores_NC == own_N1) & lower_NC).sum(axis=1)
    return {"acc1": (ahead_N < 1).astype(float), "acc5": (ahead_N < 5).astype(float)}


def recall_by_class(label_N: np.ndarray, right_N: np.ndarray, classes: int) -> Statistic:
    """mean_per_class_recall over the classes that a sample holds."""
    by_label = summed_by(label_N, classes)

    def statistic(weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):
            recall_RC = by_label(weights_RN * right_N) / by_label(weights_RN)
        return {"mean_per_class_recall": np.nanmean(recall_RC, axis=1)}

    return statistic


def label_figures(label_N: np.ndarray, probability_NC: np.ndarray) -> dict[str, Figure]:
    """Every metric; chance is the best constant answer, for the loss and the calibration the shares of the classes."""
    classes = probability_NC.shape[1]
    predicted_N = probability_NC.argmax(axis=1)
    columns = hits(label_N, probability_NC)
    loss_N = -np.log(np.maximum(probability_NC[np.arange(len(label_N)), label_N], LEAST))
    shares_C = np.bincount(label_N, minlength=classes) / len(label_N)
    chances = {
        **constant_chances(shares_C),
        **constant_macros(shares_C),
        "ece": 0.0,
        "loss": float(-(shares_C[shares_C > 0] * np.log(shares_C[shares_C > 0])).sum()),
    }
    statistic = joined(
        means(columns),
        recall_by_class(label_N, columns["acc1"], classes),
        macros(label_N, predicted_N, classes),
        calibration_error(columns["acc1"], probability_NC.max(axis=1)),
        means({"loss": loss_N}),
    )
    return figures(statistic, len(label_N), chances)


# -- precision, recall, F1 --------------------------------------------------------------------------------


def macros(label_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> Statistic:
    """Means over the classes that a sample holds or that were named in it, as scikit-learn takes them; 0 / 0 is 0."""
    right_N = (label_N == predicted_N).astype(float)
    by_label, by_predicted = summed_by(label_N, classes), summed_by(predicted_N, classes)

    def statistic(weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        true_RC, named_RC = by_label(weights_RN), by_predicted(weights_RN)
        by_class = scores_by_class(by_label(weights_RN * right_N), true_RC, named_RC)
        there_RC = true_RC + named_RC > 0
        return {f"{name}_macro": np.mean(values_RC, axis=1, where=there_RC) for name, values_RC in by_class.items()}

    return statistic


def scores_by_class(right_C: np.ndarray, true_C: np.ndarray, named_C: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 from counts of what is right, true and named; 0 / 0 is 0."""
    return {
        "precision": right_C / np.maximum(named_C, 1),
        "recall": right_C / np.maximum(true_C, 1),
        "f1": 2 * right_C / np.maximum(true_C + named_C, 1),
    }


def constant_macros(shares_C: np.ndarray) -> dict[str, float]:
    """The macro means of whoever always names the most frequent class."""
    present, likeliest = int((shares_C > 0).sum()), float(shares_C.max())
    means_of = {"precision": likeliest, "recall": 1.0, "f1": 2 * likeliest / (1 + likeliest)}
    return {f"{name}_macro": value / present for name, value in means_of.items()}


def class_table(label_N: np.ndarray, predicted_N: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """See `class_rows`."""
    rows = (label_N, predicted_N, label_N[label_N == predicted_N])
    true_C, named_C, right_C = (np.bincount(row_N, minlength=len(classes)) for row_N in rows)
    return class_rows(classes, right_C, true_C, named_C)


def class_rows(
    classes: Sequence[str], right_C: np.ndarray, true_C: np.ndarray, named_C: np.ndarray
) -> list[dict[str, Any]]:
    """For each class its name, rows, and precision, recall and F1; None where there is nothing to divide by."""
    scores = scores_by_class(right_C, true_C, named_C)
    asked = {"precision": named_C > 0, "recall": true_C > 0, "f1": true_C + named_C > 0}
    return [
        {
            "name": name,
            "n": int(true_C[c]),
            "named": int(named_C[c]),
            **{key: float(values_C[c]) if asked[key][c] else None for key, values_C in scores.items()},
        }
        for c, name in enumerate(classes)
    ]


def confusion_matrix(label_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> list[list[int]]:
    """Counts by true class (rows) and predicted class (columns)."""
    counts = np.bincount(label_N * classes + predicted_N, minlength=classes**2)
    matrix: list[list[int]] = counts.reshape(classes, classes).tolist()
    return matrix


# -- calibration ------------------------------------------------------------------------------------------


def calibration_error(right_N: np.ndarray, sure_N: np.ndarray) -> Statistic:
    """ece: |accuracy - mean probability of the named class| by bins of that probability, weighed by rows.

    Args:
        sure_N: the probability of the named class.
    """
    by_bin = summed_by(bin_of(sure_N), BINS)

    def statistic(weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        gap_RK = by_bin(weights_RN * (right_N - sure_N))
        return {"ece": np.abs(gap_RK).sum(axis=1) / weights_RN.sum(axis=1)}

    return statistic


def bin_of(sure_N: np.ndarray) -> np.ndarray:
    """Bins are open below and closed above; 0 belongs to the first."""
    return np.clip(np.ceil(sure_N * BINS).astype(int) - 1, 0, BINS - 1)


def calibration_bins(right_N: np.ndarray, sure_N: np.ndarray) -> list[dict[str, Any]]:
    """Rows, mean probability and accuracy of each bin that holds any."""
    bin_N = bin_of(sure_N)
    return [
        {
            "low": k / BINS,
            "high": (k + 1) / BINS,
            "n": int((bin_N == k).sum()),
            "probability": float(sure_N[bin_N == k].mean()),
            "accuracy": float(right_N[bin_N == k].mean()),
        }
        for k in np.unique(bin_N)
    ]
