"""Logistic regression on vectors, by scikit-learn.

Suffixes: N rows, D channels, C classes.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmpretrain.core.phases import progress

LEAST_DEVIATION = 1e-12


class Probe:
    """Multinomial logistic regression with an L2 penalty (L-BFGS) on channels of mean 0 and deviation 1.

    Args:
        penalty: scikit-learn's C: the higher, the weaker.
        steps: of L-BFGS at most.
        start: an earlier probe of the same classes to go on from.
    """

    def __init__(
        self,
        vector_ND: np.ndarray,
        label_N: np.ndarray,
        classes: int,
        penalty: float,
        steps: int,
        start: "Probe | None" = None,
    ) -> None:
        from sklearn.exceptions import ConvergenceWarning

        self._classes = classes
        self._mean_D = vector_ND.mean(axis=0)
        self._deviation_D = np.maximum(vector_ND.std(axis=0), LEAST_DEVIATION)
        self._model: Any = start._model if start else _new(steps)
        self._model.C = penalty
        self._only = int(label_N[0]) if len(np.unique(label_N)) == 1 else None
        self.converged = True
        if self._only is None:
            with progress.opaque(), warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", ConvergenceWarning)
                self._model.fit(self._scaled(vector_ND), label_N)
            self.converged = not any(issubclass(each.category, ConvergenceWarning) for each in said)

    def _scaled(self, vector_ND: np.ndarray) -> np.ndarray:
        scaled_ND: np.ndarray = (vector_ND - self._mean_D) / self._deviation_D
        return scaled_ND

    def probabilities(self, vector_ND: np.ndarray) -> np.ndarray:
        """Of all classes, 0 for those that were not learned; fp64, N x C."""
        found_NC = np.zeros((len(vector_ND), self._classes))
        if self._only is not None:
            found_NC[:, self._only] = 1.0
        else:
            found_NC[:, self._model.classes_] = self._model.predict_proba(self._scaled(vector_ND))
        return found_NC


def _new(steps: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=steps, warm_start=True)


def best_penalty(
    learned: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    classes: int,
    penalties: Sequence[float],
    steps: int,
) -> tuple[float, dict[float, float]]:
    """The strongest penalty among those that are right most often, and how often each is right.

    Args:
        learned: vectors and labels.
        held_out: others, to choose by.
    """
    rights, probe = {}, None
    for penalty in sorted(penalties):
        probe = Probe(*learned, classes, penalty, steps, probe)
        rights[penalty] = float((probe.probabilities(held_out[0]).argmax(axis=1) == held_out[1]).mean())
    return max(rights, key=lambda penalty: (rights[penalty], -penalty)), rights
