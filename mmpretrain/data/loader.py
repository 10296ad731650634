"""From a dataset's name to batches: assembles card, index, order, samples, transforms and tokenizer.

Training batches come without end from a given step; evaluation batches are one pass over a split. Both are
webdataset pipelines whose source is the exact order instead of a shuffled stream.
"""

import contextlib
import ctypes
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
from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.settings import settings
from mmpretrain.data.captions import CaptionChoice
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.index import OnDamage
from mmpretrain.data.ledger import Breaker
from mmpretrain.data.mixture import Mixture, Place, weight_at
from mmpretrain.data.order import positions_of_micro_batch
from mmpretrain.data.samples import Limits, Reading, decode
from mmpretrain.data.stages import collated, errors_as_items, read_strictly, read_with_reserves
from mmpretrain.data.storage import Storage
from mmpretrain.data.streaming import Streaming
from mmpretrain.data.tokenizer import ClipTokenizer, Tokenizer, WordPieceTokenizer
from mmpretrain.data.transforms import Augmentation, evaluation_transform

Weight = Annotated[float, Field(ge=0)]
Step = Annotated[int, Field(ge=0)]
TokenizerSettings = Annotated[ClipTokenizer | WordPieceTokenizer, Field(discriminator="kind")]


@settings
class Source:
    """One dataset of a mixture."""

    name: str
    """A folder with a dataset.yaml, or the name of one under data_shards."""
    split: str = "train"
    """The split to train on."""
    weight: Weight | list[tuple[Step, Weight]] = 1.0
    """Share of the batch relative to the other sources, or [step, weight] pairs: each holds from its step on."""

    def stages(self) -> list[tuple[int, float]]:
        """(step, weight) pairs in rising order of step, from step 0 on."""
        if not isinstance(self.weight, list):
            return [(0, self.weight)]
        found = sorted(self.weight)
        return found if found and found[0][0] == 0 else [(0, 0.0), *found]


@settings
class Data:
    """Where pairs come from and how they become batches."""

    name: str | None = None
    """A folder with a dataset.yaml, or the name of one under data_shards; or sources below."""
    split: str = "train"
    """The split to train on."""
    sources: list[Source] = field(default_factory=list)
    """Several datasets mixed by weight, instead of one by name."""
    batch: Annotated[int, Field(gt=0)]
    """Pairs in one optimizer step, over all ranks and micro-batches."""
    tokenizer: TokenizerSettings = field(default_factory=ClipTokenizer)
    augmentation: Augmentation = field(default_factory=Augmentation)
    captions: CaptionChoice = field(default_factory=CaptionChoice)
    """Which caption a step reads of pictures that have several."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Processes that decode for each rank; 0 decodes in the training process."""
    seed: int = 0
    """Another seed is another order and another set of random crops."""
    decode: Literal["full", "scaled"] = "full"
    """scaled: JPEGs much larger than the crop are decoded 2, 4 or 8 times smaller; faster, and pixels differ a little
    (`mmpretrain bench data` says how much)."""
    limits: Limits = field(default_factory=Limits)
    breaker: Breaker = field(default_factory=Breaker)
    """When bad samples are too many to go on."""
    on_damage: OnDamage = "refuse"
    """Of a shard that differs from its index: refuse it before the first step, or salvage what is intact; what is
    not is replaced and stands in the ledger."""
    order: Literal["exact", "streaming"] = "exact"
    """exact: every sample once an epoch, the same for any number of ranks and workers, resumed where it stopped.
    streaming: shards are drawn at random and read once from front to back; for networks where seeks are dear."""
    verify: bool = False
    """Hash every shard before the first step; sizes are always compared, members checked as they are read."""
    storage: Storage = field(default_factory=Storage)

    def __post_init__(self) -> None:
        if (self.name is None) == (not self.sources):
            raise ValueError("needs either a name or sources")
        if self.sources and self.order == "streaming":
            raise ValueError("order: streaming reads one dataset by name; a mixture needs the exact order")
        steps = {step for source in self.sources for step, _ in source.stages()}
        for step in steps:
            if not any(weight_at(source.stages(), step) for source in self.sources):
                raise ValueError(f"sources: from step {step} on every weight is 0; give one of them some")

    @property
    def parts(self) -> list[Source]:
        """The sources, one or several."""
        return self.sources or [Source(name=str(self.name), split=self.split)]


class TrainingData:
    """The datasets of a run and the one order over them."""

    def __init__(self, data: Data) -> None:
        self.settings = data
        self.datasets = [
            Dataset(part.name, part.split, data.verify, data.on_damage, data.storage, data.order == "exact")
            for part in data.parts
        ]
        for dataset in self.datasets:
            if not dataset.card.image:
                raise ConfigError(
                    f"data: {dataset.folder} holds texts alone (image: null in its card); no objective "
                    "here learns without pictures"
                )

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.datasets)

    @property
    def label(self) -> str:
        """What the run is trained on, for tables."""
        return " + ".join(f"{dataset.folder.name}:{dataset.split}" for dataset in self.datasets)

    @property
    def notes(self) -> int:
        """Files of the shards that stand in no sample."""
        return sum(facts.notes for dataset in self.datasets for facts in dataset.facts)

    def digests(self) -> dict[str, str]:
        """What identifies each source's shards."""
        names = (f"{part.name}:{part.split}" for part in self.settings.parts)
        return {name: dataset.digest for name, dataset in zip(names, self.datasets, strict=True)}

    def plan(self) -> Mixture:
        """What stands at each position."""
        data = self.settings
        orders = [dataset.order(data.seed) for dataset in self.datasets]
        return Mixture(orders, [part.stages() for part in data.parts], data.batch, data.seed)

    def captions(self) -> Iterator[str]:
        """Every caption of every source, for tokenizers that learn from them."""
        return (caption for dataset in self.datasets for caption in dataset.captions(self.settings.limits))


# -- loaders ----------------------------------------------------------------------------------------------


def check_batch(training: TrainingData, ranks: int, micros: int) -> None:
    """Refuse batches that cannot be cut or filled.

    Raises:
        ConfigError: the global batch is larger than the split, or does not divide by ranks x micro-batches.
    """
    batch = training.settings.batch
    if batch > len(training):
        raise ConfigError(
            f"data.batch: {batch} is more than the {len(training)} samples of {training.label}; "
            f"use at most {len(training)}"
        )
    if batch % (ranks * micros):
        near = max(ranks * micros, batch // (ranks * micros) * ranks * micros)
        raise ConfigError(f"data.batch: {batch} does not divide by {ranks} ranks x {micros} micro-batches; use {near}")


def training_loader(
    training: TrainingData, tokenizer: Tokenizer, size: int, world: World, micros: int, start: int
) -> Iterator[list[Batch]]:
    """For each step from `start` on, without end, this rank's micro-batches of it.

    Raises:
        DataError: from next(), where no sample can be had for a position.
    """
    check_batch(training, world.size, micros)
    data = training.settings

    def positions() -> Iterator[int]:
        for number in _share_of_worker(itertools.count(start * micros)):
            step, micro = divmod(number, micros)
            yield from positions_of_micro_batch(step, micro, data.batch, world.rank, world.size, micros)

    augment = data.augmentation.build(size, data.seed)
    reading = Reading(
        limits=data.limits,
        captions=data.captions,
        seed=data.seed,
        least_side=augment.least_side if data.decode == "scaled" else None,
    )
    if data.order == "exact":
        read = functools.partial(read_with_reserves, plan=training.plan(), datasets=training.datasets, reading=reading)
        stages: list[Callable] = [positions, read]
    else:
        stages = _streaming(training, reading, world, start)
    rows = data.batch // (world.size * micros)
    batch = functools.partial(collated, rows=rows, transform=augment, tokenizer=tokenizer)
    batches = _raising(_loader([*stages, batch, errors_as_items], data.workers))
    return iter(lambda: list(itertools.islice(batches, micros)), [])


def _streaming(training: TrainingData, reading: Reading, world: World, start: int) -> list[Callable]:
    data, dataset = training.settings, training.datasets[0]
    card = dataset.card
    return Streaming(
        shards={str(number): shard for number, shard in enumerate(dataset.paths)},
        dataset=dataset.folder.name,
        decode=lambda members, key, position: decode(card, members, key, position, reading),
        suffixes=frozenset({*card.image, card.caption, "json"}),
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
    flat = [Place(0, shard, row) for shard, facts in enumerate(dataset.facts) for row in range(facts.samples)]

    def places() -> Iterator[tuple[int, Place]]:
        for number in _share_of_worker(range(rounds)):
            for row in range(rows):
                position = (number * world.size + world.rank) * rows + row
                yield position, flat[position % len(flat)]

    read = functools.partial(read_strictly, dataset=dataset, reading=Reading(limits=limits or Limits()))
    batch = functools.partial(collated, rows=rows, transform=evaluation_transform(size), tokenizer=tokenizer)
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
    keep_freed_memory()


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Let glibc keep the blocks of a decoded picture for the next one.

    By default it gives blocks of some megabytes back to the system at once, and the page faults of asking for them
    again took a fifth of the loader's time (`mmpretrain bench data`). Other C libraries go without.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
