"""What the run's own objectives say of a split that they did not learn from: losses and accuracies."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from mmpretrain.core.settings import settings
from mmpretrain.evaluation.asked import Measured
from mmpretrain.evaluation.base import Found, OfSplit
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.interval import RESAMPLES, Figure, figure


@settings
class HeldOut(OfSplit):
    """Loss and accuracy of each objective that asks about rows, such as hidden words, next words and matching."""

    kind: Literal["held_out"] = "held_out"

    def build(self) -> "HeldOutEvaluator":
        return HeldOutEvaluator(self.split)


class HeldOutEvaluator:
    """OBJECTIVE_loss (mean -log p of the right answer) and OBJECTIVE_accuracy.

    What is asked is drawn as in training, by position and seed. Chance is the best constant answer: the share of the
    most frequent right answer, and for the loss the entropy of right answers. Intervals resample batches, because
    answers of one batch are not independent.
    """

    headline: Sequence[str] = ()  # whatever accuracies there are

    def __init__(self, split: str) -> None:
        self.name = "held_out"
        self.split = split

    def run(self, model: Embedder) -> Found:
        batches = model.measure(self.split)
        metrics = summarise(batches)
        return Found(
            metrics=metrics, samples={"key": [f"batch {i}" for i in range(len(batches))], **parts(batches, metrics)}
        )


def summarise(batches: list[Measured]) -> dict[str, Figure]:
    """Sums over batches as means over what was asked."""
    found: dict[str, Figure] = {}
    for objective in sorted({name for batch in batches for name in batch.counts}):
        counts_N = np.array([batch.counts[objective] for batch in batches])
        if not counts_N.sum():
            continue
        guesses = best_constant(sum((batch.answers[objective] for batch in batches), Counter()))
        for metric, chance in guesses.items():
            sums_N = np.array([batch.sums[f"{objective}/{metric}"] for batch in batches])
            name, n = f"{objective}_{metric}", int(counts_N.sum())
            value = float(sums_N.sum() / counts_N.sum())
            found[name] = figure(value, resampled_ratios(sums_N, counts_N), chance, n)
    return found


def parts(batches: list[Measured], metrics: dict[str, Figure]) -> dict[str, list[float]]:
    """What each batch adds to a metric, so that the metric is their mean."""
    found = {}
    for metric in metrics:
        objective, _, said = metric.rpartition("_")
        asked = sum(batch.counts[objective] for batch in batches) / len(batches)
        found[metric] = [batch.sums[f"{objective}/{said}"] / asked for batch in batches]
    return found


def best_constant(answers: Counter[int]) -> dict[str, float]:
    """Loss and accuracy of whoever always says the same; 1 is the loss of normalised pixels, which are no choice."""
    if not answers:
        return {"loss": 1.0}
    shares = np.array(sorted(answers.values())) / answers.total()
    return {"loss": float(-(shares * np.log(shares)).sum()), "accuracy": float(shares.max())}


def resampled_ratios(sums_N: np.ndarray, counts_N: np.ndarray, seed: int = 0) -> np.ndarray:
    """Ratios of sums over resamples of the batches."""
    draws = np.random.default_rng(seed).integers(0, len(sums_N), size=(RESAMPLES, len(sums_N)))
    ratios: np.ndarray = sums_N[draws].sum(axis=1) / np.maximum(counts_N[draws].sum(axis=1), 1)
    return ratios
