"""A figure with what it takes to judge it: a bootstrap interval, chance and the number of queries."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One metric: a fraction, or a rank."""

    value: float
    low: float
    """Lower end of the 95 % percentile bootstrap interval over queries."""
    high: float
    chance: float
    """What guessing gives on average."""
    n: int
    """Queries behind the value."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def bootstrap_means(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Means of `RESAMPLES` resamples of the values (Efron 1979); one seed pairs two systems' resamples."""
    draws = np.random.default_rng(seed).integers(0, len(values), size=(RESAMPLES, len(values)))
    means: np.ndarray = values[draws].mean(axis=1)
    return means


def bootstrap_medians(values: np.ndarray, seed: int = 0) -> np.ndarray:
    draws = np.random.default_rng(seed).integers(0, len(values), size=(RESAMPLES, len(values)))
    medians: np.ndarray = np.median(values[draws], axis=1)
    return medians


def figure(value: float, resampled: np.ndarray, chance: float, n: int) -> Figure:
    """A metric and the percentiles of its resamples."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return Figure(value=float(value), low=float(low), high=float(high), chance=float(chance), n=n)
