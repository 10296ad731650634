"""What an evaluator gives back: figures, what it says of every sample, and what a report shows of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.interval import Figure


@dataclass(frozen=True, kw_only=True)
class Found:
    """The answer of an evaluator; equal on all ranks."""

    metrics: dict[str, Figure]
    """In the order in which people read them."""
    samples: dict[str, Sequence[Any]] = field(default_factory=dict)
    """Columns over the samples of the split, in the order of its shards, `key` first; written as one JSON line a
    sample. A column that is called as a metric holds what each sample adds to it: the metric is its mean, and
    `compare` pairs two runs by it."""
    facts: dict[str, Any] = field(default_factory=dict)
    """More of what stands in the line of results.jsonl, such as the sizes of galleries."""
    shown: dict[str, Any] = field(default_factory=dict)
    """For the report; an object with `row`, a sample's place in the split, gets that sample's picture and caption."""


class Evaluator(Protocol):
    """One way to look at a model."""

    name: str
    """What results.jsonl calls the task."""
    split: str
    headline: Sequence[str]
    """Metrics that a line in a log tells, those that there are."""

    def run(self, model: Embedder) -> Found:
        """Look; every rank calls it."""
