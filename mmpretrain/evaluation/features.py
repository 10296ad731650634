"""Embeddings of a whole split, made once by all ranks together."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

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
    some: Callable[[Sequence[int]], Batch]
    """Chosen samples alone, by their places in the split; equal on all ranks."""
    classes: list[str]
    sentences: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What a head says of every sample of a split, in the order of its shards; equal on all ranks."""

    columns: tuple[Tensor, ...]
    """What `HeadLearner.predict` gives, N x ..."""
    classes: list[str]
    """Of the head."""
    labels_N: Tensor
    label_sets: list[Sequence[int]]
    answers: list[Sequence[str]]
    question_types: list[str]
    galleries: list[str]
    keys: list[str]


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
PredictBatch = Callable[[Batch, str], tuple[Tensor, ...]]
Keep = Callable[[Batch, tuple[Tensor, ...]], tuple[Tensor, ...]]
EmbedTexts = Callable[[list[str]], Tensor]


class Embedder:
    """A model as evaluators see it: splits and sentences in, unit vectors out.

    Args:
        embed: features of a batch; all ranks call it equally often.
        measure: what the run's objectives say of a batch; as above.
        predict: what a head, by its name, says of a batch; as above.
        classes: of each head.
        tokenize: sentences -> tokens and mask.
        sources: the splits that may be asked for, by (dataset, split).
    """

    def __init__(
        self,
        embed: EmbedBatch,
        measure: MeasureBatch,
        predict: PredictBatch,
        classes: Mapping[str, Sequence[str]],
        tokenize: Callable[[list[str]], tuple[Tensor, Tensor]],
        sources: dict[str, SplitSource],
        image_size: int,
        device: torch.device,
    ) -> None:
        self._embed = embed
        self._measure = measure
        self._predict = predict
        self._classes = classes
        self._tokenize = tokenize
        self._sources = sources
        self._size = image_size
        self._device = device
        self._splits: dict[str, EmbeddedSplit] = {}

    def split(self, name: str) -> EmbeddedSplit:
        """The embeddings of a split, computed at the first call."""
        if name not in self._splits:
            self._splits[name] = self._embed_split(self._sources[name])
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

    def classes(self, head: str) -> list[str]:
        """What a head tells apart."""
        return list(self._classes[head])

    def predict(self, name: str, head: str, keep: Keep | None = None) -> Predicted:
        """What a head says of each sample of a split.

        Args:
            keep: what of a batch and of what is said of it travels between ranks, each B x ...; None: what is said.
        """
        source = self._sources[name]

        def ask(batch: Batch) -> tuple[Tensor, ...]:
            said = self._say(batch, head)
            return keep(batch, said) if keep else said

        collected = self._collect(source, ask)
        return Predicted(
            columns=tuple(collected.column(place) for place in range(collected.width)),
            classes=self.classes(head),
            labels_N=collected.tensors("labels_B"),
            label_sets=collected.items("label_sets"),
            answers=collected.items("answers"),
            question_types=collected.items("question_types"),
            galleries=collected.items("galleries"),
            keys=collected.items("keys"),
        )

    def predict_some(self, name: str, head: str, rows: Sequence[int]) -> tuple[Batch, tuple[Tensor, ...]]:
        """Some samples of a split, and what a head says of them; every rank asks about all of them."""
        batch = self._sources[name].some(rows)
        return batch, self._say(batch, head)

    def _say(self, batch: Batch, head: str) -> tuple[Tensor, ...]:
        return tuple(column.cpu() for column in self._predict(batch.to(self._device), head))

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

    def _embed_split(self, source: SplitSource) -> EmbeddedSplit:
        def embed(batch: Batch) -> tuple[Tensor, ...]:
            features = self._embed(batch.to(self._device))
            return features.image_BE.cpu(), features.text_BE.cpu()

        collected = self._collect(source, embed)
        return EmbeddedSplit(
            dataset=source.dataset,
            split=source.split,
            image_NE=collected.column(0),
            text_NE=collected.column(1),
            image_group_N=collected.tensors("image_group_B"),
            text_group_N=collected.tensors("text_group_B"),
            labels_N=collected.tensors("labels_B"),
            keys=collected.items("keys"),
            galleries=collected.items("galleries"),
            classes=source.classes,
            sentences=source.sentences,
        )

    def _collect(self, source: SplitSource, ask: Callable[[Batch], tuple[Tensor, ...]]) -> "Collected":
        """What is said of this rank's rows, exchanged with all others."""
        rows = [(light(batch), ask(batch)) for batch in together(source.batches())]
        return Collected([item for part in gather_objects(rows) for item in part], source.length)


def light(batch: Batch) -> Batch:
    """The batch without its pictures, for a way between processes."""
    return replace(batch, images_BCHW=torch.empty(0), masks_BHW=None)


class Collected:
    """Batches of all ranks and what was said of them, brought into the order of the split; repeats that fill the last
    round are dropped.
    """

    def __init__(self, everyone: Sequence[tuple[Batch, tuple[Tensor, ...]]], length: int) -> None:
        self._everyone = everyone
        self._order = self._join("positions_B").argsort()[:length]

    @property
    def width(self) -> int:
        """Columns that were said."""
        return len(self._everyone[0][1])

    def _join(self, name: str) -> Tensor:
        return torch.cat([getattr(batch, name) for batch, _ in self._everyone])

    def tensors(self, name: str) -> Tensor:
        """A field of the batches."""
        return self._join(name)[self._order]

    def items(self, name: str) -> list[Any]:
        """The same of a field that is no tensor."""
        every = [item for batch, _ in self._everyone for item in getattr(batch, name)]
        return [every[row] for row in self._order]

    def column(self, place: int) -> Tensor:
        """A column of what was said."""
        return torch.cat([said[place] for _, said in self._everyone])[self._order]
