"""From a dataset's name to batches: assembles card, index, order, samples, transforms and tokenizer.

Training batches come without end from a given step; evaluation batches are one pass over a split. Both are
webdataset pipelines whose source is the exact order instead of a shuffled stream.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import webdataset
from torch.utils.data import DataLoader, get_worker_info

from mmpretrain.core.batch import Batch
from mmpretrain.core.counter import name_to_int, seed_of
from mmpretrain.core.distributed import World
from mmpretrain.core.errors import DataError
from mmpretrain.core.memory import keep_freed_memory
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.mixture import Place
from mmpretrain.data.order import positions_of_micro_batch
from mmpretrain.data.samples import Limits, Reading, decode
from mmpretrain.data.stages import Beside, collated, errors_as_items, read_strictly, read_with_reserves
from mmpretrain.data.streaming import Streaming
from mmpretrain.data.tokenizer import Tokenizer
from mmpretrain.data.training import Data, TrainingData, check_batch
from mmpretrain.data.transforms import Centre, Nothing, OrBlank, Transform

KEPT_BYTES = 1 << 30
"""Of freed memory, by each loader process."""

_VIEW = name_to_int("view")


def training_loader(
    training: TrainingData,
    tokenizer: Tokenizer,
    size: int,
    world: World,
    micros: int,
    start: int,
    views: int = 0,
    beside: Beside | None = None,
    blind: bool = False,
) -> Iterator[list[Batch]]:
    """For each step from `start` on, without end, this rank's micro-batches of it.

    Args:
        size: side of the pictures; 0 reads texts alone.
        views: further views of each picture.
        beside: fields of rows that were computed before, by place.
        blind: pictures are decoded, so that damaged ones are replaced, and nobody looks at them.

    Raises:
        DataError: from next(), where no sample can be had for a position.
    """
    check_batch(training, world.size, micros)
    data = training.settings

    def positions() -> Iterator[int]:
        for number in _share_of_worker(itertools.count(start * micros)):
            step, micro = divmod(number, micros)
            yield from positions_of_micro_batch(step, micro, data.batch, world.rank, world.size, micros)

    augment = data.augmentation.build(max(size, 1), data.seed)
    reading = Reading(
        limits=data.limits,
        captions=data.captions,
        seed=data.seed,
        least_side=augment.least_side if data.decode == "scaled" else None,
        pictures=size > 0,
    )
    if data.order == "exact":
        read = functools.partial(read_with_reserves, plan=training.plan(), datasets=training.datasets, reading=reading)
        stages: list[Callable] = [positions, read]
    else:
        stages = _streaming(training, reading, world, start)
    rows = data.batch // (world.size * micros)
    following = any(dataset.card.next for dataset in training.datasets)
    batch = functools.partial(
        collated,
        rows=rows,
        transform=Nothing() if blind else OrBlank(augment, size),
        tokenizer=tokenizer,
        following=following,
        masked=size > 0 and any(dataset.card.mask for dataset in training.datasets),
        answered=any(dataset.card.answers for dataset in training.datasets),
        mixed=size > 0 and bool(training.without_pictures),
        views=[OrBlank(view, size) for view in _views(data, size, views)],
        beside=beside,
    )
    batches = _raising(_loader([*stages, batch, errors_as_items], data.workers))
    return iter(lambda: list(itertools.islice(batches, micros)), [])


def _views(data: Data, size: int, count: int) -> list[Transform]:
    """Each with draws of its own."""
    return [data.view_augmentation.build(size, seed_of(_VIEW, data.seed, number)) for number in range(count)]


def _streaming(training: TrainingData, reading: Reading, world: World, start: int) -> list[Callable]:
    data, dataset = training.settings, training.datasets[0]
    card = dataset.card
    return Streaming(
        shards={str(number): shard for number, shard in enumerate(dataset.paths)},
        folder=dataset.folder,
        decode=lambda members, key, position: decode(card, members, key, position, reading),
        suffixes=frozenset({*card.image, card.caption, "json", *([card.mask] if card.mask else [])}),
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
    chosen: Sequence[int] | None = None,
) -> Iterator[Batch]:
    """One pass over a split, equally many batches on each rank.

    A round hands `rows` samples to each rank. Where the split does not divide, the last rows repeat samples
    from the start and carry positions of at least the number of samples: whoever collects drops those.

    Args:
        chosen: samples to take, by their place in the split, which get the positions 0, 1, 2, ...; None: all.
    """
    flat = [Place(0, shard, row) for shard, row in dataset.places()]
    flat = flat if chosen is None else [flat[place] for place in chosen]
    rounds = -(-len(flat) // (rows * world.size))

    def places() -> Iterator[tuple[int, Place]]:
        for number in _share_of_worker(range(rounds)):
            for row in range(rows):
                position = (number * world.size + world.rank) * rows + row
                yield position, flat[position % len(flat)]

    reading = Reading(limits=limits or Limits(), pictures=size > 0)
    read = functools.partial(read_strictly, dataset=dataset, reading=reading)
    transform = OrBlank(Centre(max(size, 1)), size)
    batch = functools.partial(
        collated,
        rows=rows,
        transform=transform,
        tokenizer=tokenizer,
        following=bool(dataset.card.next),
        masked=size > 0 and bool(dataset.card.mask),
        answered=bool(dataset.card.answers),
    )
    return _raising(_loader([places, read, batch, errors_as_items], workers))


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
        worker_init_fn=_start_worker,
        # stages are closures over settings and open datasets, which no other way of starting could hand over
        multiprocessing_context="fork" if workers else None,
        # iter() of a DataLoader draws from the global generator unless it has one of its own
        generator=torch.Generator(),
    )


def _raising(items: Iterable[Batch | DataError]) -> Iterator[Batch]:
    for item in items:
        if isinstance(item, DataError):
            raise item
        yield item


def _start_worker(worker: int) -> None:
    torch.set_num_threads(1)
    keep_freed_memory(KEPT_BYTES)
