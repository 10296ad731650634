"""Captions beside those of people, from the best to the worst."""

from dataclasses import dataclass
from typing import Any

from mmpretrain.report.folder import Record


@dataclass(frozen=True, kw_only=True)
class Captioned:
    """One picture."""

    image: str
    written: str
    references: list[str]
    nearest: str
    """The caption of the most similar training picture; empty where there is none."""
    score: str
    right: bool
    """Whether the caption is one of the references."""


@dataclass(frozen=True, kw_only=True)
class CaptionedSplit:
    """One split."""

    label: str
    purpose: str
    pictures: list[Captioned]


def build_captioned(record: Record) -> list[CaptionedSplit] | None:
    """Every split with captions, None without any."""
    return [build_split(record, split) for split in record.shown("captioning", "examples")] or None


def build_split(record: Record, found: dict[str, Any]) -> CaptionedSplit:
    dataset = found.get("dataset", "")
    return CaptionedSplit(
        label=record.label_of("captioning", found),
        purpose=record.purpose(dataset, found["split"]),
        pictures=[build_picture(each) for each in found["examples"]],
    )


def build_picture(found: dict[str, Any]) -> Captioned:
    references = {each.casefold() for each in found["references"]}
    return Captioned(
        image=found["image"],
        written=found["written"],
        references=found["references"],
        nearest=found.get("nearest_neighbour", ""),
        score=f"{found['CIDEr']:.2f}",
        right=found["written"].casefold() in references,
    )
