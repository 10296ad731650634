"""From a dataset's name to batches: assembles card, index, order, samples, transforms and tokenizer.

Training batches come without end from a given step; evaluation batches are one pass over a split. Both are
webdataset pipelines whose source is the exact order instead of a shuffled stream.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from typing import Annotated, Literal

import torch
import webdataset
from pydantic import Field
from torch.utils.data import DataLoader, get_worker_info

from mmpretrain.core.batch import Batch
from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.mixture import Mixture, Place
from mmpretrain.data.order import positions_of_micro_batch
from mmpretrain.data.samples import Limits, decode
from mmpretrain.data.stages import collated, read_strictly, read_with_reserves
from mmpretrain.data.storage import Storage
from mmpretrain.data.streaming import Streaming
from mmpretrain.data.tokenizer import ClipTokenizer, Tokenizer, WordPieceTokenizer
from mmpretrain.data.transforms import Augmentation, evaluation_transform

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
    limits: Limits = field(default_factory=Limits)
    order: Literal["exact", "streaming"] = "exact"
    """exact: every sample once an epoch, the same for any number of ranks and workers, resumed where it stopped.
    streaming: shards are drawn at random and read once from front to back; for networks where seeks are dear."""
    verify: bool = False
    """Hash every shard before the first step; sizes are always compared, members checked as they are read."""
    storage: Storage = field(default_factory=Storage)


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

    def positions() -> Iterator[int]:
        for number in _share_of_worker(itertools.count(start * micros)):
            step, micro = divmod(number, micros)
            yield from positions_of_micro_batch(step, micro, data.batch, world.rank, world.size, micros)

    if data.order == "exact":
        plan = Mixture([dataset.order(data.seed)], [[(0, 1.0)]], data.batch, data.seed)
        read = functools.partial(read_with_reserves, plan=plan, datasets=[dataset], limits=data.limits)
        stages: list[Callable] = [positions, read]
    else:
        stages = _streaming(data, dataset, world, start)
    rows = data.batch // (world.size * micros)
    batch = functools.partial(
        collated, rows=rows, transform=data.augmentation.build(size, data.seed), tokenizer=tokenizer
    )
    batches = iter(_loader([*stages, batch], data.workers))
    return iter(lambda: list(itertools.islice(batches, micros)), [])


def _streaming(data: Data, dataset: Dataset, world: World, start: int) -> list[Callable]:
    card = dataset.card
    return Streaming(
        shards={str(number): shard for number, shard in enumerate(dataset.paths)},
        dataset=dataset.folder.name,
        decode=lambda members, key, position: decode(card, members, key, position, data.limits),
        suffixes=frozenset({card.image, card.caption, "json"}),
        max_bytes=max(data.limits.image.max_bytes, data.limits.json_bytes),
        seed=data.seed,
        world=world,
        first=start * data.batch,
    ).stages()


def evaluation_loader(
    dataset: Dataset,
    tokenizer: Tokenizer,
    size: int,
    world: World,
    rows: int,
    workers: int = 0,
    limits: Limits | None = None,
) -> Iterator[Batch]:
    """One pass over a split, equally many batches on each rank.

    A round hands `rows` samples to each rank. Where the split does not divide, the last rows repeat samples
    from the start and carry positions of at least len(dataset): whoever collects drops those.
    """
    rounds = -(-len(dataset) // (rows * world.size))
    flat = [Place(0, shard, row) for shard, index in enumerate(dataset.shards) for row in range(len(index))]

    def places() -> Iterator[tuple[int, Place]]:
        for number in _share_of_worker(range(rounds)):
            for row in range(rows):
                position = (number * world.size + world.rank) * rows + row
                yield position, flat[position % len(flat)]

    read = functools.partial(read_strictly, dataset=dataset, limits=limits or Limits())
    batch = functools.partial(collated, rows=rows, transform=evaluation_transform(size), tokenizer=tokenizer)
    return iter(_loader([places, read, batch], workers))


def _share_of_worker(numbers: Iterable[int]) -> Iterator[int]:
    """Every n-th number for each of n loader processes; the DataLoader takes turns, so batches stay in order."""
    worker = get_worker_info()
    return itertools.islice(numbers, worker.id if worker else 0, None, worker.num_workers if worker else 1)


def _loader(stages: Sequence[Callable], workers: int) -> DataLoader:
    return DataLoader(
        webdataset.DataPipeline(*stages),
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
