"""The card of a dataset: what its shards hold, how they split, who made them. `data_shards/NAME/dataset.yaml`."""

import math
import re
from collections.abc import Sequence
from dataclasses import field
from os.path import isfile  # Path.is_file raises for a name that is too long
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.settings import build, did_you_mean, read_yaml, settings
from mmpretrain.data.shard_bytes import Shard, locate
from mmpretrain.data.storage import Storage

ROOT = Path("data_shards")
CARD = "dataset.yaml"
ImageSuffix = Literal["png", "jpg", "jpeg", "webp"]
MAX_SHARDS = 1_000_000
"""A range such as {0..99999999999} is a slip, and would fill the memory with names."""
IGNORED = 255
"""Value of a mask's pixels that count nowhere, as in Pascal VOC and ADE20K."""
_RANGE = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}")
_SPLIT_NAME = re.compile(r"\w[\w.-]*")
_LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)


@settings
class Source:
    """Who made a part of the data, and under which terms it may be used."""

    name: str
    """The maker or collection."""
    licence: str
    """SPDX identifier."""
    attribution: str
    """The line that a copy has to carry."""
    url: str
    """Where it comes from."""


@settings
class Split:
    """One named part of the dataset."""

    shards: list[str]
    """Tar names beside the card, or URLs (https://, s3://); `{00000..00007}` stands for a range."""
    samples: Annotated[int, Field(gt=0)] | None = None
    """How many samples the shards hold together; a card that contradicts them is refused. None: as many as there
    are."""
    purpose: str = ""
    """What the split is for, in one sentence."""


def _listed(value: Any) -> Any:
    """One suffix as a list of one, null as none."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


@settings
class Datasheet:
    """What a user should know and only the makers can say: Gebru et al. 2021, "Datasheets for Datasets".

    Each in a few sentences; empty ones are shown as not answered.
    """

    motivation: str = ""
    """Why was it made, by whom, and who paid?"""
    composition: str = ""
    """What is a sample, what is missing, are there people, confidential or offensive content, known errors?"""
    collection: str = ""
    """How, when and by whom was it acquired; did the people concerned know and agree?"""
    preprocessing: str = ""
    """What was cleaned, filtered or labelled, and is the raw data kept?"""
    uses: str = ""
    """What has it been used for, what should it not be used for?"""
    distribution: str = ""
    """How is it given away, under which terms?"""
    maintenance: str = ""
    """Who keeps it, how are errors reported, will it change?"""


@settings
class Card:
    """A dataset in one page: read by people and checked against the shards."""

    title: str
    """One line: what the pictures and texts are."""
    description: str = ""
    """What a reader should know before using it."""
    sources: list[Source] = field(default_factory=list)
    """Licences and attributions."""
    image: Annotated[list[ImageSuffix], BeforeValidator(_listed)] = field(default_factory=lambda: ["jpg"])
    """Suffix of the picture in the tars; several, as in [jpg, png], are tried in this order. null: a set of texts
    without pictures."""
    caption: str = "txt"
    """Suffix of the member with the caption."""
    captions: str | None = None
    """Field of the JSON member with all captions of a picture: a list, or one text or list for each language. None:
    there is only the one above."""
    text_group: str | None = None
    """Field of the JSON member that names what a text means: rows with the same value are positives of each
    other. None: equal captions are."""
    next: str | None = None
    """Field of the JSON member with the passage that follows the text in its document."""
    label: str | None = None
    """Field of the JSON member with the class of a sample."""
    classes: list[str] = field(default_factory=list)
    """Class names, as the label field spells them."""
    labels: str | None = None
    """Field of the JSON member with a list of classes, where a picture may have several, or none; instead of label."""
    answers: str | None = None
    """Field of the JSON member with what was answered to the caption, which then is a question: one text, or a list
    with what each of several people said. The classes, where there are any, are the answers to choose from, and others
    may occur."""
    question_type: str | None = None
    """Field of the JSON member with the kind of a question, by which figures are told apart."""
    mask: str | None = None
    """Suffix of a PNG member with the class of each pixel of the picture, such as mask.png; 255 is a pixel that counts
    nowhere."""
    mask_classes: list[str] = field(default_factory=list)
    """What the values 0, 1, 2, ... of a mask are called."""
    descriptions: dict[str, list[str]] = field(default_factory=dict)
    """What zero-shot templates call a class whose name is not how captions speak; a class without any is called
    by its name."""
    templates: list[str] = field(default_factory=lambda: ["{c}"])
    """Sentences for zero-shot classification; {c} stands for the class."""
    gallery: str | None = None
    """Field of the JSON member by which retrieval galleries are kept apart."""
    language: str | None = None
    """Field of the JSON member with the language of the caption, such as en. None: statistics show scripts instead."""
    languages: list[str] = field(default_factory=list)
    """Languages of the captions as BCP 47 has them, such as [en]; tables of models show them. Empty: not said."""
    datasheet: Datasheet = field(default_factory=Datasheet)
    splits: dict[str, Split]
    """Parts by name."""

    def __post_init__(self) -> None:
        for name in self.splits:
            if not _SPLIT_NAME.fullmatch(name):
                raise ValueError(f"splits: {name!r} is no name; use letters, digits, -, _ and .")
        if self.label and self.labels:
            raise ValueError("labels: a picture has one class (label) or several (labels); leave one out")
        if self.labels and not self.classes:
            raise ValueError("labels: needs classes, the names to choose from")
        if self.question_type and not self.answers:
            raise ValueError("question_type: is of questions, and answers names none; name the field of the answers")
        if bool(self.mask) != bool(self.mask_classes):
            raise ValueError("mask: needs mask_classes, the names of its values, and they need it; give both or none")
        if self.mask and not (self.mask.endswith(".png") and self.image):
            raise ValueError(f"mask: {self.mask!r} is no name of a PNG beside a picture; call it mask.png")
        if len(self.mask_classes) > IGNORED:
            raise ValueError(f"mask_classes: a PNG of 8 bits tells {IGNORED} apart, these are {len(self.mask_classes)}")
        for name in self.descriptions:
            if name not in self.classes:
                raise ValueError(f"descriptions: {name!r} is no class{did_you_mean(name, self.classes)}")

    def sentences(self) -> list[list[str]]:
        """For each class every template with every description."""
        return [[each.replace("{c}", text) for text in spoken for each in self.templates] for spoken in self.spoken()]

    def spoken(self) -> list[list[str]]:
        """What templates call each class."""
        return [self.descriptions.get(name, [name]) for name in self.classes]


def find_dataset(name: str) -> Path:
    """The folder of a dataset: a path, a name under data_shards here, or one in the project's checkout.

    Raises:
        ConfigError: no such folder with a card.
    """
    for folder in _places(name):
        if isfile(folder / CARD):
            return folder
    known = sorted({card.parent.name for root in _roots() for card in root.glob(f"*/{CARD}")})
    hint = did_you_mean(name, known) if known else ""
    raise ConfigError(f"data.name: no {CARD} in {name[:200]} nor in {str(ROOT / name)[:200]}{hint}")


def _roots() -> list[Path]:
    return [ROOT, Path(__file__).parents[2] / ROOT]


def _places(name: str) -> list[Path]:
    """Where a dataset of that name may be, the first one first."""
    return [Path(name), *(root / name for root in _roots())]


def parse_name(text: str) -> tuple[str, str | None]:
    """`NAME:SPLIT` as both, a plain `NAME` with None; `:SPLIT` names no dataset.

    A folder with a card whose own path holds a colon is a plain name.
    """
    name, colon, split = text.rpartition(":")
    if not colon or "/" in split or any(isfile(folder / CARD) for folder in _places(text)):
        return text, None
    return name, split


def load_card(folder: Path) -> Card:
    """The card of a folder, checked."""
    try:
        return build(Card, read_yaml(folder / CARD), str(folder / CARD))
    except ConfigError as error:
        raise DataError("\n".join(f"{folder / CARD}: {line}" for line in str(error).splitlines())) from error


def shard_paths(folder: Path, card: Card, split: str, storage: Storage | None = None) -> list[Shard]:
    """The tars of a split, in the order that the card gives.

    Args:
        storage: how those behind URLs are read; None: the defaults.

    Raises:
        ConfigError: the card has no such split, or names a URL that the config does not allow.
        DataError: the split names no shards, or a shard is missing.
    """
    if split not in card.splits:
        known = did_you_mean(split, card.splits)
        raise ConfigError(f"data: {folder.name} has no split {split!r}{known}; `mmpretrain data split` makes some")
    paths = locate_shards(folder, card, split, storage)
    if not paths:
        raise DataError(f"{folder / CARD}: splits.{split}.shards is empty; name the tars of the split")
    missing = [shard_name(folder, path) for path in paths if isinstance(path, Path) and not isfile(path)]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(paths)} shards of {split!r} are missing, first {missing[0]}; "
            f"restore them or take them out of {CARD}"
        )
    return paths


def locate_shards(folder: Path, card: Card, split: str, storage: Storage | None = None) -> list[Shard]:
    """The tars that a split names, whether they are there or not.

    Raises:
        ConfigError: the card names a URL that the config does not allow.
    """
    names = [name for pattern in card.splits[split].shards for name in expand_range(pattern)]
    return [locate(name, folder, storage or Storage()) for name in names]


def shard_name(folder: Path, shard: Shard) -> str:
    """How a dataset calls a shard: its path below the folder of the card, or its URL without secrets."""
    if isinstance(shard, Path):
        return shard.relative_to(folder).as_posix() if shard.is_relative_to(folder) else str(shard)
    # what stands behind the question mark tells shards apart, and may be a signature
    return f"{shard}#{shard.mark}" if "?" in shard.url else str(shard)


def expand_range(pattern: str) -> list[str]:
    """`a-{000..002}.tar` as its three names; a name without a range as itself.

    Raises:
        DataError: it stands for more names than a dataset has shards.
    """
    ranges = [(int(first), int(last) + 1) for first, last in _RANGE.findall(pattern)]
    count = math.prod(max(0, end - start) for start, end in ranges)
    if count > MAX_SHARDS:
        raise DataError(
            f"{pattern}: stands for {count:,} shards, more than {MAX_SHARDS:,}; correct the range in {CARD}"
        )
    return _expand(pattern)


def _expand(pattern: str) -> list[str]:
    match = _RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last = match.groups()
    numbers = (f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
    return [name for n in numbers for name in _expand(f"{pattern[: match.start()]}{n}{pattern[match.end() :]}")]


def as_ranges(names: Sequence[str]) -> list[str]:
    """Names in their order, runs that count up by one as ranges: the inverse of `expand_range`."""
    parts = [_LAST_NUMBER.fullmatch(name) for name in names]
    runs: list[list[int]] = []
    for place, part in enumerate(parts):
        before = parts[runs[-1][-1]] if runs else None
        if part and before and (part[1], part[3]) == (before[1], before[3]) and _counts_up(before[2], part[2]):
            runs[-1].append(place)
        else:
            runs.append([place])
    return [_as_range(parts[run[0]], parts[run[-1]]) if len(run) > 1 else names[run[0]] for run in runs]


def _counts_up(number: str, following: str) -> bool:
    return following == f"{int(number) + 1:0{len(number)}d}"


def _as_range(first: re.Match[str] | None, last: re.Match[str] | None) -> str:
    return f"{first[1]}{{{first[2]}..{last[2]}}}{first[3]}" if first and last else ""
