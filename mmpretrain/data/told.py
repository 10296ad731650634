"""What stands beside the pictures of a split: texts, answers and classes, read without a look at the pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmpretrain.core.counter import name_to_int
from mmpretrain.data.captions import all_captions, clean_caption
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample, UnusableSample
from mmpretrain.data.samples import Reading, ShardReader, decode_texts, find_picture


@dataclass(frozen=True, kw_only=True)
class Told:
    """One sample without its picture."""

    key: str
    caption: str
    captions: tuple[str, ...]
    """All that describe the picture, `caption` first, each once."""
    text_groups: tuple[int, ...]
    """Of each caption, equal for texts that mean the same."""
    gallery: str
    image_group: int
    """Equal for equal pictures."""
    label: int
    """Place in the card's classes, -1 without one."""
    labels: tuple[int, ...]
    answers: tuple[str, ...]
    question_type: str


def read_told(dataset: Dataset, reading: Reading) -> Iterator[Told]:
    """Every sample that is not left out once, in the order of the shards.

    Raises:
        UnusableSample: names shard and key.
    """
    reader = ShardReader()
    for number, row in dataset.places():
        try:
            yield told_at(dataset, reader, number, row, reading)
        except BadSample as error:
            raise UnusableSample(dataset.complaint(number, row, error), dataset.identity) from error


def told_at(dataset: Dataset, reader: ShardReader, number: int, row: int, reading: Reading) -> Told:
    """What stands beside one picture, by its shard and its place there.

    Raises:
        BadSample: it cannot be used.
    """
    card, shard = dataset.card, dataset.shards[number]
    group = shard.image_group(row, card.image)
    known = group is not None or not card.image
    members = reader.read(shard, row, (card.caption, "json") if known else None)
    texts = decode_texts(card, members, reading)
    if group is None:
        picture = find_picture(members, card)
        group = texts.text_group if picture is None else name_to_int(picture)
    captions = references(texts.caption, texts.facts.get(card.captions or "", []), reading.captions.languages)
    # where the card says what a text means, it says so of all texts of a picture
    others = [texts.text_group if card.text_group else name_to_int(caption) for caption in captions[1:]]
    return Told(
        key=shard.keys[row],
        caption=texts.caption,
        captions=captions,
        text_groups=(texts.text_group, *others),
        gallery=texts.gallery,
        image_group=group,
        label=texts.label,
        labels=texts.labels,
        answers=texts.answers,
        question_type=texts.question_type,
    )


def references(caption: str, several: Any, languages: list[str]) -> tuple[str, ...]:
    """The caption, and with it all of a list; of captions by language those of the languages that a run reads.

    Raises:
        BadSample: what should hold captions holds something else.
    """
    found = all_captions(several, languages) if languages or not isinstance(several, dict) else []
    return tuple(dict.fromkeys([caption, *(clean_caption(each) for each in found)]))
