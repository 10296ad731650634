"""A model as evaluators see it: what it says of whole splits, asked once by all ranks together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch
from mmpretrain.core.distributed import gather_objects, on_all, together, world
from mmpretrain.data.told import Told
from mmpretrain.evaluation.asked import Asked, HeadFacts, Measured
from mmpretrain.evaluation.collected import Collected, Said, light
from mmpretrain.evaluation.splits import EmbeddedSplit, Predicted, SeenSplit, SplitSource
from mmpretrain.heads.generation.write import Generation

SENTENCES = 256
"""Read at a time."""
Vectors = Literal["features", "image"]
"""features: the picture in the space that it shares with texts; image: what the image tower pools."""


Keep = Callable[[Batch, tuple[Tensor, ...]], tuple[Tensor, ...]]


class Embedder:
    """The contract's model: splits and sentences in, answers out, equal on all ranks.

    Args:
        asked: the model; use it inside `engine.evaluating()`.
        heads: by their names.
        tokenize: sentences -> tokens and mask.
        sources: the splits that may be asked for, by the names that evaluators give them.
        training: names of those that the run learned from; empty where they cannot be read again.
    """

    def __init__(
        self,
        asked: Asked,
        heads: Mapping[str, HeadFacts],
        tokenize: Callable[[list[str]], tuple[Tensor, Tensor]],
        sources: Mapping[str, SplitSource],
        training: Sequence[str],
        device: torch.device,
    ) -> None:
        self.training = training
        self.heads = heads
        self._asked = asked
        self._tokenize = tokenize
        self._sources = sources
        self._device = device
        self._splits: dict[str, EmbeddedSplit] = {}
        self._told: dict[str, list[Told]] = {}

    @property
    def has_features(self) -> bool:
        """Whether pictures and texts share a space."""
        return self._asked.has_features

    def scale(self) -> float:
        """The inverse temperature that the run learned for its features."""
        return self._asked.scale()

    def split(self, name: str) -> EmbeddedSplit:
        """The embeddings of a split, computed at the first call."""
        if name not in self._splits:
            self._splits[name] = self._embed_split(self._sources[name])
        return self._splits[name]

    def told(self, name: str) -> list[Told]:
        """What stands beside the pictures of a split, read at the first call."""
        if name not in self._told:
            self._told[name] = on_all(lambda: list(self._sources[name].told()))
        return self._told[name]

    def seen(self, name: str, vectors: Vectors, rows: Sequence[int] | None = None) -> SeenSplit:
        """A vector of the pictures of a split.

        Args:
            rows: places of those that are asked for, in their order; None: all.
        """
        source = self._sources[name]

        def look(batch: Batch) -> Said:
            batch = batch.to(self._device)
            seen_BD = self._asked.embed(batch).image_BE if vectors == "features" else self._asked.pool(batch)
            return (seen_BD.float().cpu(),)

        collected = self._collect(source, look, rows)
        return SeenSplit(
            vector_ND=collected.column(0),
            image_group_N=collected.tensors("image_group_B"),
            **facts_of(source, collected),
        )

    def measure(self, name: str) -> list[Measured]:
        """What the objectives say of each batch of a split, in the order of its shards."""
        source = self._sources[name]
        found = []
        for batch in together(source.small_batches()):
            # repeats that fill the last round are asked nothing
            marked = replace(batch, source_B=torch.where(batch.positions_B < source.length, 0, -1))
            found.append((int(batch.positions_B[0]), self._asked.measure(marked.to(self._device))))
        everyone = sorted((each for part in gather_objects(found) for each in part), key=lambda each: each[0])
        # a batch of repeats alone is one more to draw from, and how many there are depends on the ranks
        return [measured for first, measured in everyone if first < source.length]

    def predict(self, name: str, head: str, keep: Keep | None = None) -> Predicted:
        """What a head says of each sample of a split.

        Args:
            keep: what of a batch and of what is said of it travels between ranks, each B x ...; None: what is said.
        """
        source = self._sources[name]

        def ask(batch: Batch) -> Said:
            said = self._say(batch, head)
            return keep(batch, said) if keep else said

        collected = self._collect(source, ask)
        return Predicted(
            dataset=source.dataset,
            columns=tuple(collected.column(place) for place in range(collected.width)),
            classes=list(self.heads[head].classes),
            card_classes=source.classes,
            labels_N=collected.tensors("labels_B"),
            label_sets=collected.items("label_sets"),
            answers=collected.items("answers"),
            keys=collected.items("keys"),
        )

    def write(self, name: str, rows: Sequence[int], generation: Generation) -> list[str]:
        """A text about the pictures at some places of a split, in that order."""
        places_N = torch.tensor(rows)

        def ask(batch: Batch) -> Said:
            # what is drawn for a picture hangs on its place in the split, whichever others are asked about
            own = replace(batch, positions_B=places_N[batch.positions_B % len(rows)])
            return (self._asked.write(own.to(self._device), generation),)

        return self._collect(self._sources[name], ask, rows).items_said(0)

    def answer(self, name: str, head: str, generation: Generation) -> tuple[list[str], Tensor]:
        """What a head writes behind each question of a split, and the probability of that text, fp64."""

        def ask(batch: Batch) -> Said:
            return self._asked.answer(batch.to(self._device), head, generation)

        collected = self._collect(self._sources[name], ask)
        return collected.items_said(0), collected.column(1)

    def match(self, name: str, rows: Sequence[int], texts: Sequence[Sequence[str]]) -> list[Tensor]:
        """The log-odds that each of some texts belongs to the picture at a place of a split.

        Args:
            texts: those asked of each place, at least one.
        """

        def ask(batch: Batch) -> Said:
            own = [texts[place] for place in (batch.positions_B % len(rows)).tolist()]
            return (self._asked.match(batch.to(self._device), own),)

        return self._collect(self._sources[name], ask, rows).items_said(0)

    def predict_some(self, name: str, head: str, rows: Sequence[int]) -> tuple[Batch, tuple[Tensor, ...]]:
        """Some samples of a split, and what a head says of them; every rank asks about all of them."""
        batch = self._sources[name].some(rows)
        return batch, self._say(batch, head)

    def _say(self, batch: Batch, head: str) -> tuple[Tensor, ...]:
        return tuple(column.cpu() for column in self._asked.predict(batch.to(self._device), head))

    def texts(self, sentences: list[str]) -> Tensor:
        """text_NE of sentences; ranks take turns."""
        parts = [sentences[start : start + SENTENCES] for start in range(0, len(sentences), SENTENCES)]
        rank, ranks = world().rank, world().size
        found = []
        for first in range(0, len(parts), ranks):
            # every rank reads as often as the others; what is left over at the end reads the last part again
            tokens_BL, mask_BL = self._tokenize(parts[min(first + rank, len(parts) - 1)])
            text_BE = self._asked.embed_texts(tokens_BL.to(self._device), mask_BL.to(self._device))
            found.append((first + rank, text_BE.cpu()))
        everyone = dict(each for part in gather_objects(found) for each in part)
        return torch.cat([everyone[place] for place in range(len(parts))])

    def _embed_split(self, source: SplitSource) -> EmbeddedSplit:
        def embed(batch: Batch) -> Said:
            features = self._asked.embed(batch.to(self._device))
            return features.image_BE.cpu(), features.text_BE.cpu()

        collected = self._collect(source, embed)
        return EmbeddedSplit(image_NE=collected.column(0), text_NE=collected.column(1), **facts_of(source, collected))

    def _collect(
        self, source: SplitSource, ask: Callable[[Batch], Said], chosen: Sequence[int] | None = None
    ) -> Collected:
        """What is said of this rank's rows, exchanged with all others."""
        rows = [(light(batch), ask(batch)) for batch in together(source.batches(chosen))]
        everyone = [item for part in gather_objects(rows) for item in part]
        return Collected(everyone, source.length if chosen is None else len(chosen))


def facts_of(source: SplitSource, collected: Collected) -> dict[str, Any]:
    """What `Rows` knows of the samples that were asked about."""
    return {
        "dataset": source.dataset,
        "labels_N": collected.tensors("labels_B"),
        "keys": collected.items("keys"),
        "classes": source.classes,
        "descriptions": source.descriptions,
        "templates": source.templates,
    }
