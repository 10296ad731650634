"""One line of the table of speed: a piece of work, whom it is measured against, and what came out."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

SLACK = 0.1
"""How far outside what was committed a row has to be before it counts as slower: machines are shared with others."""


class Goal(NamedTuple):
    """What a ratio is to reach."""

    value: float
    at_least: bool = True
    """False: at most."""

    def met_by(self, ratio: float) -> bool:
        return ratio >= self.value if self.at_least else ratio <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.value:g}"


class Ratio(NamedTuple):
    """Median, least and most over rounds, each the ratio of two that stood side by side."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(over: Sequence[float], under: Sequence[float]) -> "Ratio":
        """Round by round, both in the order in which they were taken."""
        every = [one / other for one, other in zip(over, under, strict=True)]
        return Ratio(statistics.median(every), min(every), max(every))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line; a ratio, never an absolute figure."""

    row: str
    """Number of the work, and of its part where it has several: `4 resnet_50 bf16`."""
    work: str
    """Model, batch, numbers, data."""
    peer: str
    """What users would pick instead, or the limit."""
    measure: str
    """What the ratio is of: `samples/s over theirs`, `time over theirs`."""
    ratio: Ratio
    goal: Goal
    rounds: int
    difference: str
    """How far the numbers of both are apart: losses, vectors, pixels."""
    flops: float | None = None
    """Operations of one turn of ours, counted."""
    share: float | None = None
    """Of the largest rate of matrix products that this machine reached in the same run, reached by ours."""
    peer_share: float | None = None
    """The same of the peer, by the operations that its own work has."""
    remarks: Sequence[str] = field(default_factory=tuple)
    """What a reader has to know; of a row that is missed, where its time goes and what was tried."""

    @property
    def met(self) -> bool:
        """By the median."""
        return self.goal.met_by(self.ratio.median)

    def as_dict(self) -> dict[str, Any]:
        own = asdict(self) | {"goal": self.goal.value, "at_least": self.goal.at_least, "met": self.met}
        return {"ratio": own.pop("ratio"), **own} | dict(zip(("ratio", "low", "high"), self.ratio, strict=True))


def is_slower(new: dict[str, Any], old: dict[str, Any]) -> bool:
    """Whether a row is worse than when it was committed: its best round is worse than the worst one then."""
    if not all(math.isfinite(row[end]) for row in (new, old) for end in ("low", "high")):
        return True
    if new["at_least"]:
        return bool(new["high"] < old["low"] * (1 - SLACK))
    return bool(new["low"] > old["high"] * (1 + SLACK))
