"""A split as CLIP_benchmark reads it: tars called 0.tar, 1.tar, ..., and small text files beside them.

`FOLDER/SPLIT/{nshards.txt,0.tar,...}` with pictures as they are, in `FOLDER/dataset_type.txt` what is asked of them: in
a retrieval set `.txt` has a caption a line, in a classification set `.cls` has the number of a line in `classnames.txt`
and `zeroshot_classification_templates.txt` has the sentences. See its `datasets/builder.py::build_wds_dataset`.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import webdataset

from mmpretrain.core.errors import DataError
from mmpretrain.data.card import Card
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.samples import Reading, ShardReader, find_picture
from mmpretrain.data.told import Told, read_told

Asked = Literal["retrieval", "classification"]
WORKERS = 4
"""Processes that it reads with by default, each of which wants a shard."""
SHARD = 2_000
"""Most pictures of one."""
PROMPTS, FALLBACK = "prompts.json", "imagenet1k"
"""Sentences of each class, for its --custom_template_file; and whose it takes for a set that the file does not name."""
Row = tuple[str, str, bytes, bytes]
"""Key, suffix of the picture, its bytes, and what stands beside it."""


def write_benchmark(dataset: Dataset, asked: Asked, folder: Path) -> int:
    """Write a split; returns the number of pictures.

    Raises:
        DataError: a picture has no class, or several.
        UnusableSample: names shard and key of a sample that cannot be read.
    """
    told = list(read_told(dataset, Reading()))
    beside = captions(told) if asked == "retrieval" else classes(dataset, told)
    shards = min(len(beside), max(WORKERS, math.ceil(len(beside) / SHARD)))
    place = folder / dataset.split
    place.mkdir(parents=True)
    (folder / "dataset_type.txt").write_text(f"{asked}\n", encoding="utf-8")
    (place / "nshards.txt").write_text(f"{shards}\n", encoding="utf-8")
    if asked == "classification":
        write_classes(dataset.card, folder)
    numbers = sorted(beside)
    for shard in range(shards):
        part = numbers[shard * len(numbers) // shards : (shard + 1) * len(numbers) // shards]
        with (place / f"{shard}.tar").open("wb") as file:
            write_tar(file, "txt" if asked == "retrieval" else "cls", rows(dataset, part, beside))
    return len(beside)


def captions(told: Sequence[Told]) -> dict[int, bytes]:
    """By the first sample of each picture all captions of it; equal pictures are one, as `evaluate` has them."""
    first: dict[int, int] = {}
    found: dict[int, dict[str, None]] = {}
    for number, each in enumerate(told):
        row = first.setdefault(each.image_group, number)
        found.setdefault(row, {}).update(dict.fromkeys(" ".join(text.split()) for text in each.captions))
    return {row: "\n".join(texts).encode() for row, texts in found.items()}


def classes(dataset: Dataset, told: Sequence[Told]) -> dict[int, bytes]:
    """The class of every sample."""
    for each in told:
        if each.label < 0:
            raise DataError(f"{dataset.folder}:{dataset.split}: {each.key} has no class, or several; export retrieval")
    return {number: str(each.label).encode() for number, each in enumerate(told)}


def rows(dataset: Dataset, numbers: Sequence[int], beside: dict[int, bytes]) -> Iterator[Row]:
    """Pictures byte for byte."""
    reader, places, card = ShardReader(), dataset.places(), dataset.card
    for number in numbers:
        shard, row = places[number]
        members = reader.read(dataset.shards[shard], row, card.image)
        suffix = next(suffix for suffix in card.image if suffix in members)
        yield f"{number:08d}", suffix, find_picture(members, card) or b"", beside[number]


def write_tar(file: BinaryIO, suffix: str, found: Iterable[Row]) -> None:
    """Args: suffix: of what stands beside the pictures."""
    # a file, not a name: webdataset would take a name such as pipe:... for a command
    with webdataset.TarWriter(file, mtime=0, user="", group="", encoder=False, compress=False) as tar:
        for key, kind, picture, text in found:
            tar.write({"__key__": key, kind: picture, suffix: text})


def write_classes(card: Card, folder: Path) -> None:
    """Names and sentences of classes: templates for any class, and in PROMPTS each class's own."""
    write_lines(folder / "classnames.txt", card.classes)
    write_lines(folder / "zeroshot_classification_templates.txt", card.templates)
    own = dict(zip(card.classes, card.sentences(), strict=True))
    (folder / PROMPTS).write_text(json.dumps({FALLBACK: own}, indent=1, ensure_ascii=False), encoding="utf-8")


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
