"""Scores of captions against references, by pycocoevalcap's scorers: BLEU, ROUGE-L, CIDEr.

Suffix: N pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmpretrain.evaluation.interval import Statistic, joined, means

ORDERS = 4
"""Longest row of words that BLEU looks at."""
TINY, SMALL = 1e-15, 1e-9
"""What BleuScorer adds where it divides."""


@dataclass(frozen=True, kw_only=True)
class CaptionScores:
    """What each caption says of its picture."""

    cider_N: np.ndarray
    """Document frequencies are those of all references of the split, whichever pictures are drawn."""
    rouge_N: np.ndarray
    exact_N: np.ndarray
    """1.0 where the caption is one of the references, but for case and spaces."""
    bleu_NK: np.ndarray
    """For each order the rows of words that are right (4) and written (4), then the words written and those of the
    reference that is nearest in length."""

    def columns(self) -> dict[str, np.ndarray]:
        """Scores that are means over pictures."""
        return {"CIDEr": self.cider_N, "ROUGE_L": self.rouge_N, "exact_match": self.exact_N}

    def statistic(self) -> Statistic:
        """All metrics: BLEU is one of the whole set, and no mean."""
        return joined(means(self.columns()), self._bleu)

    def _bleu(self, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        counts_RK = weights_RN @ self.bleu_NK
        right, written = counts_RK[:, :ORDERS], counts_RK[:, ORDERS : 2 * ORDERS]
        ratio_R = (counts_RK[:, -2] + TINY) / (counts_RK[:, -1] + SMALL)
        brevity_R = np.where(ratio_R < 1, np.exp(1 - 1 / ratio_R), 1.0)
        product_RO = ((right + TINY) / (written + SMALL)).cumprod(axis=1)
        return {f"Bleu_{order}": brevity_R * product_RO[:, order - 1] ** (1 / order) for order in range(1, ORDERS + 1)}


def score(written: Sequence[str], references: Sequence[Sequence[str]], exact_N: np.ndarray) -> CaptionScores:
    """Scores of tokenized captions.

    Args:
        references: of each picture, at least one.
        exact_N: see `exact_matches`, which looks at captions before they are tokenized.
    """
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    given = {place: [caption] for place, caption in enumerate(written)}
    right = {place: list(several) for place, several in enumerate(references)}
    return CaptionScores(
        cider_N=np.asarray(Cider().compute_score(right, given)[1]),
        rouge_N=np.asarray(Rouge().compute_score(right, given)[1]),
        exact_N=exact_N,
        bleu_NK=bleu_counts(written, references),
    )


def bleu_counts(written: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """See `CaptionScores.bleu_NK`."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=ORDERS)
    for caption, several in zip(written, references, strict=True):
        scorer += (caption, list(several))
    return np.array([_counts(entry) for entry in scorer.ctest], dtype=float)


def _counts(entry: dict[str, Any]) -> list[int]:
    length = entry["testlen"]
    nearest = min(entry["reflen"], key=lambda other: (abs(other - length), other))
    return [*entry["correct"], *entry["guess"], length, nearest]


def exact_matches(written: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """1.0 where the caption is one of the references, but for case and spaces."""
    pairs = zip(written, references, strict=True)
    return np.array([float(plain(caption) in {plain(other) for other in several}) for caption, several in pairs])


def plain(caption: str) -> str:
    return " ".join(caption.casefold().split())
