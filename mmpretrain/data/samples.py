"""From members of a tar to a sample as its card reads it."""

import json
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from mmpretrain.core.counter import name_to_int
from mmpretrain.core.settings import settings
from mmpretrain.data.captions import CaptionChoice, CaptionLimits, clean_caption, decode_caption
from mmpretrain.data.card import Card
from mmpretrain.data.faults import BadSample
from mmpretrain.data.images import ImageLimits, decode_image
from mmpretrain.data.index import Member, ShardIndex
from mmpretrain.data.masks import decode_mask
from mmpretrain.data.shard_bytes import RandomAccess, Shard, open_bytes

OPEN_FILES = 160
"""More than the shards of the windows that the order reads at a time."""
NO_PICTURE = torch.empty(3, 0, 0, dtype=torch.uint8)


@settings
class Limits:
    """What a sample may be; the rest is replaced and accounted for."""

    image: ImageLimits = field(default_factory=ImageLimits)
    caption: CaptionLimits = field(default_factory=CaptionLimits)
    json_bytes: Annotated[int, Field(gt=0)] = 1_000_000
    """Largest JSON member."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How samples are decoded."""

    limits: Limits = field(default_factory=Limits)
    captions: CaptionChoice = field(default_factory=CaptionChoice)
    seed: int = 0
    """Of the choice between captions."""
    least_side: int | None = None
    """As for `decode_image`."""
    pictures: bool = True
    """False: texts alone are wanted, and no picture is decoded."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One pair, decoded but not yet transformed."""

    key: str
    position: int
    image: Tensor
    """uint8 RGB, 3 x height x width; 3 x 0 x 0 in a set of texts without pictures."""
    caption: str
    image_group: int
    text_group: int
    label: int
    gallery: str
    following: str
    """The passage that follows the text, where the card names one."""
    labels: tuple[int, ...]
    """Places in the card's classes, where a picture may have several."""
    answers: tuple[str, ...]
    """What was answered to the caption, by one or by several; empty where the card names no answers."""
    question_type: str
    facts: dict[str, Any]
    """The JSON member."""
    mask: Tensor | None = None
    """uint8, height x width of the picture, the class of each pixel; None where the card names no masks."""


class ShardReader:
    """Members by offset, each checked against its CRC-32; keeps a bounded number of files open."""

    def __init__(self) -> None:
        self._files: OrderedDict[Shard, RandomAccess] = OrderedDict()

    def read(self, index: ShardIndex, sample: int, only: Sequence[str] | None = None) -> dict[str, bytes]:
        """The members of a sample by suffix.

        Args:
            only: suffixes to read; None reads all.

        Raises:
            BadSample: the bytes are not those that were indexed.
            DataError: the shard cannot be opened, or a remote one not be read after all tries.
        """
        file = self._open(index.path)
        members = {}
        for member in index.members(sample):
            if only is not None and member.suffix not in only:
                continue
            content = file.read(member.offset, member.size)
            if zlib.crc32(content) != member.crc32:
                content = _read_again(file, member)
            members[member.suffix] = content
        return members

    def _open(self, shard: Shard) -> RandomAccess:
        if shard not in self._files:
            while len(self._files) >= OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            self._files[shard] = open_bytes(shard)
        self._files.move_to_end(shard)
        return self._files[shard]


def _read_again(file: RandomAccess, member: Member) -> bytes:
    """A second look, past caches: bytes may have changed on the way and be right at the source."""
    content = file.read_again(member.offset, member.size)
    if zlib.crc32(content) != member.crc32:
        raise BadSample("checksum", f".{member.suffix} at byte {member.offset} differs from the index")
    return content


class Texts(NamedTuple):
    """What a sample says beside its picture."""

    caption: str
    text_group: int
    label: int
    """Place in the card's classes, -1 without one."""
    gallery: str
    following: str
    labels: tuple[int, ...]
    """Places in the card's classes."""
    answers: tuple[str, ...]
    question_type: str
    facts: dict[str, Any]


def decode(
    card: Card,
    members: dict[str, bytes],
    key: str,
    position: int,
    reading: Reading,
    image_group: int | None = None,
) -> Sample:
    """The picture, caption and groups of a sample as its card reads them.

    Args:
        image_group: what the index knows; None: computed from the picture's bytes.

    Raises:
        BadSample: a member is missing or cannot be decoded.
    """
    texts = decode_texts(card, members, reading, position)
    picture = find_picture(members, card) if reading.pictures else None
    mask = None
    if picture is None:
        image, image_group = NO_PICTURE, texts.text_group
    else:
        image = decode_image(picture, reading.limits.image, None if card.mask else reading.least_side)
        image_group = name_to_int(picture) if image_group is None else image_group
        if card.mask:
            mask = decode_mask(member(members, card.mask), image, len(card.mask_classes), reading.limits.image)
    return Sample(key=key, position=position, image=image, image_group=image_group, mask=mask, **texts._asdict())


def decode_texts(card: Card, members: dict[str, bytes], reading: Reading, position: int = 0) -> Texts:
    """Caption, groups and class of a sample, without a look at its picture.

    Raises:
        BadSample: a member is missing or cannot be decoded.
    """
    facts = decode_facts(members.get("json", b"{}"), reading.limits.json_bytes)
    caption = decode_caption(member(members, card.caption), reading.limits.caption)
    if card.captions:
        several = facts.get(card.captions, [])
        caption = clean_caption(reading.captions.choose(several, caption, reading.seed, position))
    meaning = str(_fact(facts, card.text_group)) if card.text_group else caption
    label = _fact(facts, card.label) if card.label and card.classes else None
    place = card.classes.index(str(label)) if label in card.classes else -1
    if label is not None and place < 0 and not card.answers:
        raise BadSample("unknown_class", f"{card.label} is {label!r}, which the card does not list")
    return Texts(
        caption=caption,
        text_group=name_to_int(meaning),
        label=place,
        gallery=str(_fact(facts, card.gallery)) if card.gallery else "",
        following=clean_caption(str(_fact(facts, card.next))) if card.next else "",
        labels=_labels(card, _fact(facts, card.labels)) if card.labels else (),
        answers=_answers(_fact(facts, card.answers)) if card.answers else (),
        question_type=str(_fact(facts, card.question_type)) if card.question_type else "",
        facts=facts,
    )


def decode_answers(card: Card, members: dict[str, bytes], limits: Limits | None = None) -> tuple[str, ...]:
    """What was answered to the caption; nothing where the card names no answers.

    Raises:
        BadSample: there is no answer, or one that is no text.
    """
    facts = decode_facts(members.get("json", b"{}"), (limits or Limits()).json_bytes)
    return _answers(_fact(facts, card.answers)) if card.answers else ()


def decode_facts(content: bytes, limit: int) -> dict[str, Any]:
    """The JSON member.

    Raises:
        BadSample: too large, not JSON, or no object.
    """
    if len(content) > limit:
        raise BadSample("large_json", f"{len(content):,} bytes are more than {limit:,}")
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadSample("damaged_json", str(error)) from error
    if not isinstance(facts, dict):
        raise BadSample("damaged_json", f"an object was expected, found {type(facts).__name__}")
    return facts


def find_picture(members: dict[str, bytes], card: Card) -> bytes | None:
    """The first picture that the card's suffixes find; None where the set has none.

    Raises:
        BadSample: the card asks for one, and there is none.
    """
    if not card.image:
        return None
    found = next((suffix for suffix in card.image if suffix in members), None)
    if found is None:
        raise BadSample("missing_member", f"no .{' nor .'.join(card.image)}; the card asks for it")
    return members[found]


def member(members: dict[str, bytes], suffix: str) -> bytes:
    """The bytes of one member.

    Raises:
        BadSample: there is none.
    """
    if suffix not in members:
        raise BadSample("missing_member", f"no .{suffix}; the card asks for it")
    return members[suffix]


def _labels(card: Card, said: Any) -> tuple[int, ...]:
    """Places of the classes.

    Raises:
        BadSample: this is no list, or names a class that the card does not.
    """
    if not isinstance(said, list):
        raise BadSample("damaged_labels", f"a list of classes was expected, found {str(said)[:50]!r}")
    unknown = [label for label in said if label not in card.classes]
    if unknown:
        raise BadSample("unknown_class", f"{card.labels} holds {unknown[0]!r}, which the card does not list")
    return tuple(card.classes.index(label) for label in said)


def _answers(said: Any) -> tuple[str, ...]:
    """One answer or several.

    Raises:
        BadSample: none, or one that is no text.
    """
    several = said if isinstance(said, list) else [said]
    if not several or not all(isinstance(answer, str) and answer.strip() for answer in several):
        raise BadSample("damaged_answer", f"a text or a list of texts was expected, found {str(said)[:50]!r}")
    return tuple(clean_caption(answer) for answer in several)


def _fact(facts: dict[str, Any], name: str) -> Any:
    if name not in facts:
        raise BadSample("missing_fact", f"the JSON member has no {name!r}; the card asks for it")
    return facts[name]
