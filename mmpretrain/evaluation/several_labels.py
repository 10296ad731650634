"""How well the classes of rows that may have several, or none, are told: mAP, F1, exact matches, loss.

Suffixes: N rows, C classes, R samples of the rows.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmpretrain.evaluation.interval import Figure, Statistic, figures, joined, means
from mmpretrain.evaluation.one_label import LEAST, class_rows, scores_by_class

NAMED_FROM = 0.5
"""A class is named where its probability is more."""


def label_set_figures(true_NC: np.ndarray, probability_NC: np.ndarray) -> dict[str, Figure]:
    """Every metric; chance is the best constant answer.

    Args:
        true_NC: bool.
    """
    named_NC = probability_NC > NAMED_FROM
    columns = {
        "exact_match": (named_NC == true_NC).all(axis=1).astype(float),
        "loss": cross_entropy(true_NC, probability_NC),
    }
    statistic = joined(mean_average_precision(true_NC, probability_NC), f1s(true_NC, named_NC), means(columns))
    return figures(statistic, len(true_NC), constant_scores(true_NC))


def cross_entropy(true_NC: np.ndarray, probability_NC: np.ndarray) -> np.ndarray:
    """The mean binary cross-entropy of each row's classes."""
    of_truth_NC = np.where(true_NC, probability_NC, 1 - probability_NC)
    loss_N: np.ndarray = -np.log(np.maximum(of_truth_NC, LEAST)).mean(axis=1)
    return loss_N


def constant_scores(true_NC: np.ndarray) -> dict[str, float]:
    """What whoever says the same of every row gets at best."""
    share_C = true_NC.mean(axis=0)
    present_C = share_C > 0
    # the best set for the micro mean holds the most frequent classes, as many as pay
    frequent_C = np.sort(share_C)[::-1]
    micro = 2 * frequent_C.cumsum() / (share_C.sum() + np.arange(1, len(share_C) + 1))
    sets = Counter(row_C.tobytes() for row_C in true_NC)
    two_C2 = np.stack([share_C, 1 - share_C])
    entropy_C = -(two_C2 * np.log(np.maximum(two_C2, LEAST))).sum(axis=0)
    return {
        "mAP": float(share_C[present_C].mean()) if present_C.any() else 0.0,
        "f1_micro": float(micro.max()),
        "f1_macro": float((2 * share_C / (1 + share_C)).mean()),
        "exact_match": sets.most_common(1)[0][1] / len(true_NC),
        "loss": float(entropy_C.mean()),
    }


def f1s(true_NC: np.ndarray, named_NC: np.ndarray) -> Statistic:
    """f1_micro over all rows and classes, f1_macro as the mean over classes; 0 / 0 is 0."""
    counted = [each_NC.astype(float) for each_NC in (true_NC & named_NC, true_NC, named_NC)]

    def statistic(weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        right_RC, true_RC, named_RC = (weights_RN @ each_NC for each_NC in counted)
        both_R = (true_RC + named_RC).sum(axis=1)
        return {
            "f1_micro": 2 * right_RC.sum(axis=1) / np.maximum(both_R, 1),
            "f1_macro": scores_by_class(right_RC, true_RC, named_RC)["f1"].mean(axis=1),
        }

    return statistic


def mean_average_precision(true_NC: np.ndarray, probability_NC: np.ndarray) -> Statistic:
    """mAP: the mean over the classes that a sample holds."""
    by_class = [average_precision(true_NC[:, c], probability_NC[:, c]) for c in range(true_NC.shape[1])]

    def statistic(weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        precision_RC = np.stack([precision(weights_RN) for precision in by_class], axis=1)
        there_RC = ~np.isnan(precision_RC)
        counted_R = np.maximum(there_RC.sum(axis=1), 1)
        return {"mAP": np.where(there_RC, precision_RC, 0.0).sum(axis=1) / counted_R}

    return statistic


def average_precision(true_N: np.ndarray, score_N: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Average precision of one class: weights_RN -> R, NaN where a sample has no row of it.

    The sum over distinct scores of (gain in recall) x precision, without interpolation; rows of equal score come in
    together, so that their order does not matter.
    """
    order_N = np.argsort(-score_N, kind="stable")
    last_N = np.append(np.diff(score_N[order_N]) != 0, True)  # the last row of each distinct score
    true_sorted_N = true_N[order_N].astype(float)

    def precision(weights_RN: np.ndarray) -> np.ndarray:
        weights_RN = weights_RN[:, order_N]
        right_RT = (weights_RN * true_sorted_N).cumsum(axis=1)[:, last_N]
        named_RT = weights_RN.cumsum(axis=1)[:, last_N]
        gained_RT = np.diff(right_RT, axis=1, prepend=0)
        with np.errstate(invalid="ignore"):
            averaged_R: np.ndarray = (gained_RT * right_RT / np.maximum(named_RT, 1)).sum(axis=1) / right_RT[:, -1]
        return averaged_R

    return precision


def class_table(true_NC: np.ndarray, probability_NC: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """See `class_rows`; and the average precision of each class."""
    named_NC = probability_NC > NAMED_FROM
    true_C, named_C, right_C = (each_NC.sum(axis=0) for each_NC in (true_NC, named_NC, true_NC & named_NC))
    one_1N = np.ones((1, len(true_NC)))
    rows = class_rows(classes, right_C, true_C, named_C)
    for c, row in enumerate(rows):
        found = average_precision(true_NC[:, c], probability_NC[:, c])(one_1N) if true_C[c] else [None]
        row["average_precision"] = found[0] if found[0] is None else float(found[0])
    return rows
