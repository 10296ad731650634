"""What an evaluator gives back: figures, what it says of every sample, and what a report shows of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from mmpretrain.core.settings import settings
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.interval import Figure


@settings
class OfSplit:
    """Settings that all evaluators share."""

    asks: ClassVar[Sequence[str]] = ()
    """Kinds of heads that it asks."""
    split: str
    """Split to evaluate: SPLIT of the training dataset (the first of a mixture), or NAME:SPLIT of another."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Every split that is read, such as one to learn a probe from."""
        return (self.split,)


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
    remarks: list[str] = field(default_factory=list)
    """Sentences that a reader of the figures has to know, such as what could not be asked."""
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
