"""Pictures that a person names: files, and folders that are walked."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mmpretrain.core.errors import DataError
from mmpretrain.data.convert.picture import FOREIGN_SUFFIXES, IMAGE_SUFFIXES, FilePicture, files_below, suffix_of
from mmpretrain.data.faults import BadSample
from mmpretrain.data.images import ImageLimits

# COCO_val2014_000000391895.jpg, 000000391895.jpg
_COCO = re.compile(r"^(?:COCO_\w+?_)?0*(\d+)$")


LEAST_SIDE = 2
"""Pixels."""


class Given(NamedTuple):
    """A picture to look at, or why there is none."""

    name: str
    """The path as it was given, or below the folder that was."""
    picture: FilePicture | BadSample


def shown(limits: ImageLimits) -> ImageLimits:
    """Limits of pictures that a person asks about: a single pixel shows nothing."""
    return replace(limits, min_side=max(LEAST_SIDE, limits.min_side))


def given_pictures(paths: Sequence[Path]) -> list[Given]:
    """Every picture of the paths once, in their order, a folder's by name; what is no picture by its name is left out.

    A folder without pictures, or one that cannot be read, stands there with what is wrong.
    """
    found: dict[str, Given] = {}
    for path in paths:
        for given in (
            _below(path) if path.is_dir() else [Given(str(path), FilePicture(str(path.parent), path.name, True))]
        ):
            found.setdefault(given.name, given)
    return list(found.values())


def _below(folder: Path) -> list[Given]:
    try:
        names = [name for name in files_below(folder) if suffix_of(name) in IMAGE_SUFFIXES | FOREIGN_SUFFIXES]
    except DataError as error:
        return [Given(str(folder), BadSample("unreadable", str(error)))]
    if not names:
        return [Given(str(folder), BadSample("empty_folder", f"{folder} holds no picture"))]
    return [Given(str(folder / name), FilePicture(str(folder), name, True)) for name in names]


def image_ids(names: Sequence[str]) -> list[int | str]:
    """What COCO's results call pictures: the numbers of files that COCO named, if all are such; else the paths."""
    matches = [_COCO.match(Path(name).stem) for name in names]
    numbers = [int(match[1]) for match in matches if match]
    return list(numbers) if len(set(numbers)) == len(names) else list(names)
