"""Tip-Adapter without training (Zhang et al. 2022, arXiv 2207.09519): what texts say of a class, and similar examples.

Suffixes: N rows asked about, M shots, C classes, D channels.
"""

import numpy as np

from mmpretrain.evaluation.shots import Answer, Setting

ALPHAS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
BETAS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
ALONE = (1.0, 5.5)
"""Alpha and beta of the paper's own start, for one example a class: left out, it leaves its class without any."""


class TipAdapter:
    """Logits s f W^T + alpha exp(-beta (1 - f F^T)) L for vectors f of unit length.

    W are the vectors of the classes' texts, F those of the examples, L their classes.

    Args:
        class_CD: W.
        scale: s, the inverse temperature that the run learned; CLIP's is 100.
        alpha: None: chosen on the examples, each left out in turn; of equally good ones the smallest.
        beta: likewise.
    """

    def __init__(self, class_CD: np.ndarray, scale: float, alpha: float | None, beta: float | None) -> None:
        self._class_CD = class_CD
        self._scale = scale
        self._alphas = ALPHAS if alpha is None else (alpha,)
        self._betas = BETAS if beta is None else (beta,)

    def zero_shot(self, asked_ND: np.ndarray) -> np.ndarray:
        """The class of each row by the texts alone."""
        named_N: np.ndarray = (asked_ND @ self._class_CD.T).argmax(axis=1)
        return named_N

    def __call__(self, given: Setting) -> Answer:
        alpha, beta = self.choose(given)
        logits_NC = self.logits(given, given.asked_ND, given.asked_ND @ given.shot_MD.T, alpha, beta)
        return Answer(logits_NC.argmax(axis=1), {"alpha": alpha, "beta": beta})

    def logits(
        self, given: Setting, vector_ND: np.ndarray, likeness_NM: np.ndarray, alpha: float, beta: float
    ) -> np.ndarray:
        """Of vectors, by how like each example they are; minus infinity: that example is left out."""
        weight_NM = np.exp(-beta * (1 - likeness_NM))
        cached_NC = weight_NM @ np.eye(given.classes)[given.label_M]
        logits_NC: np.ndarray = self._scale * vector_ND @ self._class_CD.T + alpha * cached_NC
        return logits_NC

    def choose(self, given: Setting) -> tuple[float, float]:
        """The alpha and beta that name most examples rightly, each by the others."""
        if len(self._alphas) * len(self._betas) > 1 and given.k == 1:
            alpha, beta = ALONE
            return self._alphas[0] if len(self._alphas) == 1 else alpha, self._betas[0] if len(
                self._betas
            ) == 1 else beta
        likeness_MM = given.shot_MD @ given.shot_MD.T
        np.fill_diagonal(likeness_MM, -np.inf)

        def rights(alpha: float, beta: float) -> int:
            named_M = self.logits(given, given.shot_MD, likeness_MM, alpha, beta).argmax(axis=1)
            return int((named_M == given.label_M).sum())

        pairs = [(alpha, beta) for alpha in self._alphas for beta in self._betas]
        return max(pairs, key=lambda pair: rights(*pair))
