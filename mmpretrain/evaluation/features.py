"""Embeddings of a whole split, made once by all ranks together."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.distributed import gather_objects, together


@dataclass(frozen=True, kw_only=True)
class EmbeddedSplit:
    """Every sample of a split, in the order of its shards; equal on all ranks."""

    dataset: str
    split: str
    image_NE: Tensor
    text_NE: Tensor
    image_group_N: Tensor
    text_group_N: Tensor
    labels_N: Tensor
    keys: list[str]
    galleries: list[str]
    classes: list[str]
    sentences: list[list[str]]

    def rows(self, gallery: str) -> Tensor:
        """Which samples belong to one gallery, int64."""
        return torch.tensor([row for row, name in enumerate(self.galleries) if name == gallery])


@dataclass(frozen=True, kw_only=True)
class SplitSource:
    """What the assembler knows of a split: its batches on this rank and facts from its card."""

    dataset: str
    split: str
    length: int
    batches: Callable[[], Iterator[Batch]]
    small_batches: Callable[[], Iterator[Batch]]
    """The same in batches that figures are resampled by."""
    classes: list[str]
    sentences: list[list[str]]


class Measured(NamedTuple):
    """What objectives say of one batch, by objective."""

    sums: dict[str, float]
    """`OBJECTIVE/METRIC`, summed over what was asked."""
    counts: dict[str, float]
    """How often something was asked."""
    answers: dict[str, Counter[int]]
    """How often each answer was right."""


MeasureBatch = Callable[[Batch], Measured]
EmbedBatch = Callable[[Batch], Features]
EmbedTexts = Callable[[list[str]], Tensor]


class Embedder:
    """A model as evaluators see it: splits and sentences in, unit vectors out.

    Args:
        embed: features of a batch; all ranks call it equally often.
        measure: what the run's objectives say of a batch; as above.
        tokenize: sentences -> tokens and mask.
        sources: the splits that may be asked for, by (dataset, split).
    """

    def __init__(
        self,
        embed: EmbedBatch,
        measure: MeasureBatch,
        tokenize: Callable[[list[str]], tuple[Tensor, Tensor]],
        sources: dict[str, SplitSource],
        image_size: int,
        device: torch.device,
    ) -> None:
        self._embed = embed
        self._measure = measure
        self._tokenize = tokenize
        self._sources = sources
        self._size = image_size
        self._device = device
        self._splits: dict[str, EmbeddedSplit] = {}

    def split(self, name: str) -> EmbeddedSplit:
        """The embeddings of a split, computed at the first call."""
        if name not in self._splits:
            self._splits[name] = self._collect(self._sources[name])
        return self._splits[name]

    def measure(self, name: str) -> list[Measured]:
        """What the objectives say of each batch of a split, from all ranks in the order of ranks."""
        source = self._sources[name]
        found = []
        for batch in together(source.small_batches()):
            # repeats that fill the last round are asked nothing
            marked = replace(batch, source_B=torch.where(batch.positions_B < source.length, 0, -1))
            found.append(self._measure(marked.to(self._device)))
        return [measured for part in gather_objects(found) for measured in part]

    def texts(self, sentences: list[str]) -> Tensor:
        """text_NE of sentences; every rank embeds all of them."""
        tokens_BL, mask_BL = self._tokenize(sentences)
        rows = torch.zeros(len(sentences), dtype=torch.int64)
        # a batch needs pictures: the towers always run together, so that every rank walks the same graph
        batch = Batch(
            images_BCHW=torch.zeros(len(sentences), 3, self._size, self._size, dtype=torch.uint8),
            tokens_BL=tokens_BL,
            mask_BL=mask_BL,
            positions_B=rows,
            image_group_B=rows,
            text_group_B=rows,
            labels_B=rows,
        )
        return self._embed(batch.to(self._device)).text_BE.cpu()

    def _collect(self, source: SplitSource) -> EmbeddedSplit:
        """This rank's rows, exchanged with all others; repeats that fill the last round are dropped."""
        rows = []
        for batch in together(source.batches()):
            features = self._embed(batch.to(self._device))
            rows.append((replace(batch, images_BCHW=torch.empty(0)), features.image_BE.cpu(), features.text_BE.cpu()))
        everyone = [item for part in gather_objects(rows) for item in part]
        positions = torch.cat([batch.positions_B for batch, _, _ in everyone])
        order = positions.argsort()[: source.length]
        keys = [key for batch, _, _ in everyone for key in batch.keys]
        galleries = [gallery for batch, _, _ in everyone for gallery in batch.galleries]
        return EmbeddedSplit(
            dataset=source.dataset,
            split=source.split,
            image_NE=torch.cat([image for _, image, _ in everyone])[order],
            text_NE=torch.cat([text for _, _, text in everyone])[order],
            image_group_N=torch.cat([batch.image_group_B for batch, _, _ in everyone])[order],
            text_group_N=torch.cat([batch.text_group_B for batch, _, _ in everyone])[order],
            labels_N=torch.cat([batch.labels_B for batch, _, _ in everyone])[order],
            keys=[keys[row] for row in order],
            galleries=[galleries[row] for row in order],
            classes=source.classes,
            sentences=source.sentences,
        )
