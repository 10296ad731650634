"""A figure with what it takes to judge it: a bootstrap interval, chance and the number of queries."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95
DRAWN_AT_A_TIME = 4_000_000
"""Rows over all resamples that are held at once."""

Statistic = Callable[[np.ndarray], dict[str, np.ndarray]]
"""weights_RN, how often each of N rows counts in each of R samples -> values_R of each metric; NaN where a sample says
nothing."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One metric: a fraction, a rank, a loss or a score."""

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
    return np.concatenate([values[drawn_RN].mean(axis=1) for drawn_RN in draws(len(values), seed)])


def bootstrap_medians(values: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.concatenate([np.median(values[drawn_RN], axis=1) for drawn_RN in draws(len(values), seed)])


def draws(n: int, seed: int) -> Iterator[np.ndarray]:
    """Which of n rows stand in each of `RESAMPLES` resamples, some resamples at a time: drawn_RN.

    The numbers do not depend on how they are cut.
    """
    generator = np.random.default_rng(seed)
    rows = max(1, DRAWN_AT_A_TIME // max(1, n))
    for start in range(0, RESAMPLES, rows):
        yield generator.integers(0, n, size=(min(rows, RESAMPLES - start), n))


def figure(value: float, resampled: np.ndarray, chance: float, n: int) -> Figure:
    """A metric and the percentiles of its resamples, those left out that say nothing (NaN)."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(resampled[~np.isnan(resampled)], [tail, 100 - tail])
    return Figure(value=float(value), low=float(low), high=float(high), chance=float(chance), n=n)


# -- many metrics of the same rows ------------------------------------------------------------------------


def figures(
    statistic: Statistic, n: int, chances: Mapping[str, float], counts: Mapping[str, int] | None = None
) -> dict[str, Figure]:
    """Metrics of n rows; all of them are taken of the same resamples, so that differences are paired.

    Args:
        chances: of each metric.
        counts: rows behind a metric that not all rows say something of.
    """
    spread = resampled(statistic, n)
    whole = statistic(np.ones((1, n)))
    counts = counts or {}
    return {
        name: figure(float(value_1[0]), spread[name], chances[name], counts.get(name, n))
        for name, value_1 in whole.items()
    }


def resampled(statistic: Statistic, n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Each metric over `RESAMPLES` resamples of n rows."""
    parts = []
    for drawn_RN in draws(n, seed):
        count = len(drawn_RN)
        flat_RN = drawn_RN + n * np.arange(count)[:, None]
        weights_RN = np.bincount(flat_RN.ravel(), minlength=count * n).reshape(count, n).astype(float)
        parts.append(statistic(weights_RN))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def means(columns: Mapping[str, np.ndarray]) -> Statistic:
    """The mean of each column over the rows that say something of it; the others hold NaN."""
    asked = {name: ~np.isnan(values_N) for name, values_N in columns.items()}
    filled = {name: np.where(asked[name], values_N, 0.0) for name, values_N in columns.items()}

    def statistic(weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):
            return {name: weights_RN @ filled[name] / (weights_RN @ asked[name].astype(float)) for name in columns}

    return statistic


def joined(*statistics: Statistic) -> Statistic:
    """The metrics of several statistics of the same rows."""

    def statistic(weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values_R for each in statistics for name, values_R in each(weights_RN).items()}

    return statistic


def summed_by(group_N: np.ndarray, groups: int) -> Callable[[np.ndarray], np.ndarray]:
    """Sums of rows by group: values_RN -> R x groups."""
    order_N = np.argsort(group_N, kind="stable")
    present, starts = np.unique(group_N[order_N], return_index=True)

    def sums(values_RN: np.ndarray) -> np.ndarray:
        sums_RG = np.zeros((len(values_RN), groups))
        sums_RG[:, present] = np.add.reduceat(values_RN[:, order_N], starts, axis=1)
        return sums_RG

    return sums


def as_in_training(right_N: np.ndarray, chance: float) -> dict[str, Any]:
    """The fact `as_in_training` of a result: the accuracy as its head tells it of training batches, for the gap.

    Args:
        right_N: from 0 to 1; NaN where a row is not asked in training.
    """
    asked = int((~np.isnan(right_N)).sum())
    if not asked:
        return {}
    found = figures(means({"accuracy": right_N}), len(right_N), {"accuracy": chance}, {"accuracy": asked})
    return {"as_in_training": found["accuracy"].as_dict()}
