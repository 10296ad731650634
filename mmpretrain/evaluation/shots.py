"""Ways to learn from a few examples a class.

Suffixes: N rows asked about, M shots, C classes, D channels.
"""

from typing import Any, NamedTuple

import numpy as np

from mmpretrain.evaluation.linear_probe import Probe

PENALTIES = (0.01, 0.1, 1.0)
"""scikit-learn's C to choose from."""
ALONE = 0.1
"""With one example a class there is nothing to choose by."""
PARTS = 3
"""Of the examples, of which each is held out in turn."""
STEPS = 500


class Setting(NamedTuple):
    """Examples of unit length, and the rows that are asked about."""

    shot_MD: np.ndarray
    label_M: np.ndarray
    asked_ND: np.ndarray
    classes: int
    k: int


class Answer(NamedTuple):
    """The class of each row, and what was chosen on the examples."""

    named_N: np.ndarray
    chosen: dict[str, Any]


def prototypes(given: Setting) -> Answer:
    """The class whose mean is nearest (Snell et al. 2017, arXiv 1703.05175, on vectors of unit length)."""
    counts_C = np.bincount(given.label_M, minlength=given.classes)
    sum_CD = np.zeros((given.classes, given.shot_MD.shape[1]))
    np.add.at(sum_CD, given.label_M, given.shot_MD)
    mean_CD = sum_CD / np.maximum(counts_C, 1)[:, None]
    closeness_NC = 2 * given.asked_ND @ mean_CD.T - np.square(mean_CD).sum(axis=1)
    closeness_NC[:, counts_C == 0] = -np.inf
    return Answer(closeness_NC.argmax(axis=1), {})


def shot_probe(given: Setting) -> Answer:
    """Logistic regression; its penalty is chosen by the examples, a third of them held out in turn."""
    penalty = best_by_parts(given) if given.k > 1 else ALONE
    probe = Probe(given.shot_MD, given.label_M, given.classes, penalty, STEPS)
    return Answer(probe.probabilities(given.asked_ND).argmax(axis=1), {"C": penalty})


def best_by_parts(given: Setting) -> float:
    """The strongest penalty among those that name most held-out examples rightly."""
    # shots come class by class: neighbours go to different parts, and each class to all of them
    part_M = np.arange(len(given.label_M)) % min(PARTS, given.k)
    rights = dict.fromkeys(PENALTIES, 0)
    for part in np.unique(part_M):
        held_M = part_M == part
        for penalty in PENALTIES:
            probe = Probe(given.shot_MD[~held_M], given.label_M[~held_M], given.classes, penalty, STEPS)
            named = probe.probabilities(given.shot_MD[held_M]).argmax(axis=1)
            rights[penalty] += int((named == given.label_M[held_M]).sum())
    return max(PENALTIES, key=lambda penalty: (rights[penalty], -penalty))
