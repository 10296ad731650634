"""Stages of the loader, each from stream to stream: places, samples, batches."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import default_collate

from mmpretrain.core.batch import Batch, Fault
from mmpretrain.core.counter import counter_hash, name_to_int
from mmpretrain.core.errors import DataError
from mmpretrain.data.card import IGNORED, shard_name
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample, UnusableSample
from mmpretrain.data.mixture import Place
from mmpretrain.data.samples import Reading, Sample, ShardReader
from mmpretrain.data.tokenizer import Tokenizer
from mmpretrain.data.transforms import Transform

_ANSWER = name_to_int("answer")
MAX_ATTEMPTS = 100
"""Reserves tried for one position before the data is called unreadable."""

NOTHING = torch.empty(0, dtype=torch.uint8)

Read = tuple[Place, Sample, list[Fault]]
"""A sample, where it was found, and what could not be used on the way to it."""


Beside = Callable[[Place], dict[str, Tensor]]
"""Where a sample stands -> fields of its row that were computed before: what a teacher or a frozen tower says of it."""


class Plan(Protocol):
    """What stands at a position, and what stands in for it."""

    def __getitem__(self, position: int) -> Place: ...
    def reserve(self, position: int, attempt: int) -> Place: ...


def read_with_reserves(
    positions: Iterable[int], plan: Plan, datasets: Sequence[Dataset], reading: Reading
) -> Iterator[Read]:
    """For each position its sample, or the first of its reserves that can be used.

    Raises:
        DataError: a position and all its reserves are bad.
    """
    reader = ShardReader()
    for position in positions:
        faults: list[Fault] = []
        for attempt in range(MAX_ATTEMPTS):
            place = plan.reserve(position, attempt) if attempt else plan[position]
            dataset = datasets[place.source]
            try:
                sample = dataset.sample(reader, place.shard, place.sample, position, reading)
            except BadSample as bad:
                faults.append(fault(dataset, place, position, attempt, bad))
            else:
                yield place, sample, faults
                break
        else:
            error = DataError(
                f"{dataset.folder}: {MAX_ATTEMPTS} samples in a row cannot be used, the last one "
                f"{dataset.complaint(place.shard, place.sample, BadSample(faults[-1].reason, faults[-1].detail))}"
            )
            error.faults = tuple(faults)
            raise error


def read_strictly(places: Iterable[tuple[int, Place]], dataset: Dataset, reading: Reading) -> Iterator[Read]:
    """The sample at each (position, place).

    Raises:
        UnusableSample: an evaluation that leaves some out is another evaluation, and has to say so.
    """
    reader = ShardReader()
    for position, place in places:
        try:
            yield place, dataset.sample(reader, place.shard, place.sample, position, reading), []
        except BadSample as error:
            raise UnusableSample(dataset.complaint(place.shard, place.sample, error), dataset.identity) from error


def fault(dataset: Dataset, place: Place, position: int, attempt: int, error: BadSample) -> Fault:
    """The account of a sample that could not be used."""
    shard = dataset.shards[place.shard]
    return Fault(
        position=position,
        attempt=attempt,
        dataset=dataset.folder.name,
        shard=shard_name(dataset.folder, shard.path),
        key=shard.keys[place.sample],
        offset=next(shard.members(place.sample)).offset,
        reason=error.reason,
        detail=error.detail,
    )


def collated(
    stream: Iterable[Read],
    rows: int,
    transform: Transform,
    tokenizer: Tokenizer,
    following: bool = False,
    mixed: bool = False,
    masked: bool = False,
    answered: bool = False,
    views: Sequence[Transform] = (),
    beside: Beside | None = None,
) -> Iterator[Batch]:
    """Batches of `rows` neighbours of the stream.

    Args:
        following: some card names the passages that follow.
        mixed: some rows have pictures and others have none.
        masked: some card names masks.
        answered: some card names answers.
        views: further views to make of each picture.
        beside: further fields of the rows, by place.
    """
    # cut as they come: a decoded picture is still in the processor's cache, and its memory serves the next one
    ready = ((place, *cut(sample, transform, masked, views), faults) for place, sample, faults in stream)
    while read := list(itertools.islice(ready, rows)):
        places, samples = [place for place, *_ in read], [sample for _, sample, *_ in read]
        pixels = [each for _, _, each, _ in read]
        tokens_BL, mask_BL = tokenizer([sample.caption for sample in samples])
        next_tokens_BL, next_mask_BL = tokenizer([each.following for each in samples]) if following else (None, None)
        answers = [answer_of(sample) for sample in samples] if answered else []
        answer_tokens_BL, answer_mask_BL = tokenizer(answers) if answered else (None, None)
        known = [beside(place) for place in places] if beside else [{}]
        yield Batch(
            images_BCHW=stack([each.image_CHW for each in pixels]),
            masks_BHW=torch.stack([each.mask_HW for each in pixels]) if masked else None,
            views_BVCHW=torch.stack([stack(view) for view in zip(*(each.views for each in pixels), strict=True)], dim=1)
            if views
            else None,
            pictured_B=torch.tensor([each.pictured for each in pixels]) if mixed else None,
            tokens_BL=tokens_BL,
            mask_BL=mask_BL,
            positions_B=torch.tensor([sample.position for sample in samples]),
            image_group_B=torch.tensor([sample.image_group for sample in samples]),
            text_group_B=torch.tensor([sample.text_group for sample in samples]),
            labels_B=torch.tensor([sample.label for sample in samples]),
            next_tokens_BL=next_tokens_BL,
            next_mask_BL=next_mask_BL,
            answer_tokens_BL=answer_tokens_BL,
            answer_mask_BL=answer_mask_BL,
            source_B=torch.tensor([place.source for place in places]),
            keys=tuple(sample.key for sample in samples),
            galleries=tuple(sample.gallery for sample in samples),
            label_sets=tuple(sample.labels for sample in samples),
            answers=tuple(sample.answers for sample in samples),
            question_types=tuple(sample.question_type for sample in samples),
            faults=tuple(fault for *_, faults in read for fault in faults),
            **{name: torch.stack([row[name] for row in known]) for name in known[0]},
        )


def answer_of(sample: Sample) -> str:
    """One of the answers, drawn by position, so that frequent ones come often; empty where there is none."""
    if not sample.answers:
        return ""
    return sample.answers[int(counter_hash(_ANSWER, sample.position)) % len(sample.answers)]


class Pixels(NamedTuple):
    """What a batch has of a sample's picture."""

    image_CHW: Tensor
    mask_HW: Tensor
    """Of a sample without a mask nothing counts; empty where none are wanted."""
    views: tuple[Tensor, ...]
    pictured: bool


def cut(sample: Sample, transform: Transform, masked: bool, views: Sequence[Transform]) -> tuple[Sample, Pixels]:
    """The sample without its decoded picture, and what the transforms make of that."""
    image, mask_HW = sample.image, NOTHING
    if masked:
        mask_HW = image.new_full(image.shape[1:], IGNORED) if sample.mask is None else sample.mask
        cropped, mask_HW = transform.with_mask(image, mask_HW, sample.position)
    else:
        cropped = transform(image, sample.position)
    more = tuple(view(image, sample.position) for view in views)
    bare = replace(sample, image=NOTHING, mask=None)
    return bare, Pixels(cropped, mask_HW, more, image.numel() > 0)


def stack(images: Sequence[Tensor]) -> Tensor:
    """images_BCHW with its colours side by side in memory, as decoders leave them and convolutions like them."""
    # torch's own collation: in a loader process it stacks straight into the memory that it shares with the trainer
    batch_BHWC: Tensor = default_collate([image.permute(1, 2, 0) for image in images])
    return batch_BHWC.permute(0, 3, 1, 2)


def errors_as_items(stream: Iterable[Batch]) -> Iterator[Batch | DataError]:
    """The stream, and in place of an error that ends it the error itself.

    torch's DataLoader would wrap what a worker raises in the worker's stack trace; as an item it arrives in one line.
    """
    try:
        yield from stream
    except DataError as error:
        yield error
