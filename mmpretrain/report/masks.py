"""Pictures with the masks that the run finds in them, beside the true ones."""

from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record


@dataclass(frozen=True, kw_only=True)
class MaskedPicture:
    """One sample; pictures are PNGs in base64."""

    caption: str
    picture: str
    truth: str
    found: str
    overlap: str
    """How far the masks overlap, in percent."""


@dataclass(frozen=True, kw_only=True)
class MaskedSplit:
    """The pictures of one split, the best first."""

    label: str
    purpose: str
    classes: list[dict[str, str]]
    """`name` and `colour`, as CSS has it."""
    pictures: list[MaskedPicture]


def build_masks(record: Record) -> list[MaskedSplit] | None:
    """Every split with masks, None without any."""
    return [build_split(record, split) for split in record.shown("segmentation", "pictures")] or None


def build_split(record: Record, found: dict[str, Any]) -> MaskedSplit:
    dataset = found.get("dataset", "")
    return MaskedSplit(
        label=record.label(dataset, found["split"]),
        purpose=record.purpose(dataset, found["split"]),
        classes=[{"name": each["name"], "colour": css(each["colour"])} for each in found["classes"]],
        pictures=[
            MaskedPicture(
                caption=picture.get("caption", ""),
                picture=picture["picture"],
                truth=picture["truth"],
                found=picture["found"],
                overlap=wording.percent(picture["foreground_IoU"], 0),
            )
            for picture in found["pictures"]
        ],
    )


def css(colour: list[int]) -> str:
    red, green, blue = (int(value) for value in colour)
    return f"rgb({red} {green} {blue})"
