"""Splits that evaluators ask about, and what comes back of all their samples, in the order of the shards."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from mmpretrain.core.batch import Batch
from mmpretrain.data.told import Told


@dataclass(frozen=True, kw_only=True)
class SplitSource:
    """What the assembler knows of a split: its batches on this rank and facts from its card."""

    dataset: str
    length: int
    batches: Callable[[Sequence[int] | None], Iterator[Batch]]
    """Of the samples at these places of the split; None: of all."""
    small_batches: Callable[[], Iterator[Batch]]
    """Of all, in batches that figures are resampled by."""
    some: Callable[[Sequence[int]], Batch]
    """Chosen samples alone, by their places in the split; equal on all ranks."""
    told: Callable[[], Iterator[Told]]
    """All that stands beside the pictures."""
    classes: list[str]
    descriptions: list[list[str]]
    """What templates call each class."""
    templates: list[str]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is known of every sample of a split, in the order of its shards; equal on all ranks."""

    dataset: str
    labels_N: Tensor
    keys: list[str]
    classes: list[str]
    descriptions: list[list[str]]
    """What templates call each class."""
    templates: list[str]


@dataclass(frozen=True, kw_only=True)
class EmbeddedSplit(Rows):
    """Pictures and texts in the space that they share."""

    image_NE: Tensor
    text_NE: Tensor


@dataclass(frozen=True, kw_only=True)
class SeenSplit(Rows):
    """A vector of every picture."""

    vector_ND: Tensor
    image_group_N: Tensor


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What a head says of every sample of a split, in the order of its shards; equal on all ranks."""

    dataset: str
    columns: tuple[Tensor, ...]
    """What `HeadLearner.predict` gives, N x ..."""
    classes: list[str]
    """Of the head."""
    card_classes: list[str]
    """Of the split, which labels_N and label_sets count in."""
    labels_N: Tensor
    label_sets: list[Sequence[int]]
    answers: list[Sequence[str]]
    keys: list[str]
