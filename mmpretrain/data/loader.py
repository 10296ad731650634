"""From a dataset's name to batches: assembles card, index, order, samples, transforms and tokenizer.

Training batches come without end from a given step; evaluation batches are one pass over a split. Both are
webdataset pipelines whose source is the exact order instead of a shuffled stream.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import torch
import webdataset
from pydantic import Field
from torch.utils.data import DataLoader, get_worker_info

from mmpretrain.core.batch import Batch
from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.settings import settings
from mmpretrain.data.card import Card, find_dataset, load_card, shard_paths
from mmpretrain.data.index import ShardIndex, open_index
from mmpretrain.data.order import Order, digest_of_shards, positions_of_micro_batch
from mmpretrain.data.samples import Sample, ShardReader, decode
from mmpretrain.data.tokenizer import ClipTokenizer, Tokenizer, WordPieceTokenizer
from mmpretrain.data.transforms import Augmentation, Transform, evaluation_transform

TokenizerSettings = Annotated[ClipTokenizer | WordPieceTokenizer, Field(discriminator="kind")]


@settings
class Data:
    """Where pairs come from and how they become batches."""

    name: str
    """A folder with a dataset.yaml, or the name of one under data_shards."""
    split: str = "train"
    """The split to train on."""
    batch: Annotated[int, Field(gt=0)]
    """Pairs in one optimizer step, over all ranks and micro-batches."""
    tokenizer: TokenizerSettings = field(default_factory=ClipTokenizer)
    augmentation: Augmentation = field(default_factory=Augmentation)
    workers: Annotated[int, Field(ge=0)] = 1
    """Processes that decode for each rank; 0 decodes in the training process."""
    seed: int = 0
    """Another seed is another order and another set of random crops."""
    verify: bool = False
    """Hash every shard before the first step; sizes are always compared, members checked as they are read."""


class Dataset:
    """One split of one dataset on disk: its card, its shards' indexes and its digest."""

    def __init__(self, name: str, split: str, verify: bool = False) -> None:
        self.folder = find_dataset(name)
        self.card: Card = load_card(self.folder)
        self.split = split
        self.shards: list[ShardIndex] = [open_index(p, verify) for p in shard_paths(self.folder, self.card, split)]
        expected = self.card.splits[split].samples
        if len(self) != expected:
            raise DataError(
                f"{self.folder}: the card says {expected:,} samples in {split!r}, its shards hold {len(self):,}; "
                "correct dataset.yaml or restore the shards"
            )

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @property
    def bytes(self) -> int:
        return sum(shard.path.stat().st_size for shard in self.shards)

    @property
    def digest(self) -> str:
        return digest_of_shards([(shard.path.name, shard.digest) for shard in self.shards])

    def order(self, seed: int) -> Order:
        return Order([len(shard) for shard in self.shards], self.digest, seed)

    def samples(self) -> Iterator[Sample]:
        """Every sample once, in the order of the shards."""
        places = ((shard, sample) for shard in range(len(self.shards)) for sample in range(len(self.shards[shard])))
        raw = ({"__position__": i, "__place__": place} for i, place in enumerate(places))
        return decoded(read(raw, self.shards), self.card)

    def captions(self) -> Iterator[str]:
        return (sample.caption for sample in self.samples())


# -- stages: from stream to stream ------------------------------------------------------------------------


def read(stream: Iterable[dict[str, Any]], shards: list[ShardIndex]) -> Iterator[dict[str, Any]]:
    """Add the members at each `__place__` as webdataset's own dictionaries have them."""
    reader = ShardReader()
    for item in stream:
        shard, sample = item["__place__"]
        index = shards[shard]
        yield {**item, "__key__": index.keys[sample], "__url__": str(index.path), **reader.read(index, sample)}


def decoded(stream: Iterable[dict[str, Any]], card: Card) -> Iterator[Sample]:
    for item in stream:
        yield decode(card, item, item["__key__"], item["__position__"], Path(item["__url__"]))


def collated(stream: Iterable[Sample], rows: int, transform: Transform, tokenizer: Tokenizer) -> Iterator[Batch]:
    """Batches of `rows` neighbours of the stream."""
    stream = iter(stream)
    while samples := list(itertools.islice(stream, rows)):
        tokens_BL, mask_BL = tokenizer([sample.caption for sample in samples])
        yield Batch(
            images_BCHW=torch.stack([transform(sample.image, sample.position) for sample in samples]),
            tokens_BL=tokens_BL,
            mask_BL=mask_BL,
            positions_B=torch.tensor([sample.position for sample in samples]),
            image_group_B=torch.tensor([sample.image_group for sample in samples]),
            text_group_B=torch.tensor([sample.text_group for sample in samples]),
            labels_B=torch.tensor([sample.label for sample in samples]),
            keys=tuple(sample.key for sample in samples),
            galleries=tuple(sample.gallery for sample in samples),
        )


# -- loaders ----------------------------------------------------------------------------------------------


def check_batch(data: Data, dataset: Dataset, ranks: int, micros: int) -> None:
    """Refuse batches that cannot be cut or filled.

    Raises:
        ConfigError: the global batch is larger than the split, or does not divide by ranks x micro-batches.
    """
    if data.batch > len(dataset):
        raise ConfigError(
            f"data.batch: {data.batch} is more than the {len(dataset)} samples of {data.name}:{data.split}; "
            f"use at most {len(dataset)}"
        )
    if data.batch % (ranks * micros):
        near = max(ranks * micros, data.batch // (ranks * micros) * ranks * micros)
        raise ConfigError(
            f"data.batch: {data.batch} does not divide by {ranks} ranks x {micros} micro-batches; use {near}"
        )


def training_loader(
    data: Data, dataset: Dataset, tokenizer: Tokenizer, size: int, world: World, micros: int, start: int
) -> Iterator[list[Batch]]:
    """For each step from `start` on, without end, this rank's micro-batches of it."""
    check_batch(data, dataset, world.size, micros)
    order = dataset.order(data.seed)

    def mine(step_and_micro: int) -> range:
        step, micro = divmod(step_and_micro, micros)
        return positions_of_micro_batch(step, micro, data.batch, world.rank, world.size, micros)

    def places() -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for number in itertools.count(start * micros + first, stride):
            for position in mine(number):
                yield {"__position__": position, "__place__": order[position]}

    rows = data.batch // (world.size * micros)
    transform = data.augmentation.build(size, data.seed)
    batches = iter(_loader(places, dataset, rows, transform, tokenizer, data.workers))
    return iter(lambda: list(itertools.islice(batches, micros)), [])


def evaluation_loader(
    dataset: Dataset, tokenizer: Tokenizer, size: int, world: World, rows: int, workers: int = 0
) -> Iterator[Batch]:
    """One pass over a split, equally many batches on each rank.

    A round hands `rows` samples to each rank. Where the split does not divide, the last rows repeat samples
    from the start and carry positions of at least len(dataset): whoever collects drops those.
    """
    rounds = -(-len(dataset) // (rows * world.size))
    starts = [len(shard) for shard in dataset.shards]
    flat = [(shard, sample) for shard, length in enumerate(starts) for sample in range(length)]

    def places() -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for number in range(first, rounds, stride):
            for row in range(rows):
                position = (number * world.size + world.rank) * rows + row
                yield {"__position__": position, "__place__": flat[position % len(flat)]}

    return iter(_loader(places, dataset, rows, evaluation_transform(size), tokenizer, workers))


def _loader(
    places: Callable[[], Iterator[dict[str, Any]]],
    dataset: Dataset,
    rows: int,
    transform: Transform,
    tokenizer: Tokenizer,
    workers: int,
) -> DataLoader:
    pipeline = webdataset.DataPipeline(
        places,
        functools.partial(read, shards=dataset.shards),
        functools.partial(decoded, card=dataset.card),
        functools.partial(collated, rows=rows, transform=transform, tokenizer=tokenizer),
    )
    return DataLoader(
        pipeline,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_one_thread,
        # iter() of a DataLoader draws from the global generator unless it has one of its own
        generator=torch.Generator(),
    )


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
