"""Sources made of sources: several tables of one folder, and a folder for each split."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmpretrain.data.convert.record import LeftOut, Record, Source

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What folders are called, and the split that they are."""


@dataclass(frozen=True)
class Joined:
    """Sources one after the other, each with the folder it came from."""

    parts: Sequence[tuple[str, Source]]
    """(folder in front of each origin, or nothing, and its source)."""
    in_splits: bool = False
    """The folders are splits."""

    @property
    def said(self) -> str:
        return "\n".join(source.said for _, source in self.parts)

    @property
    def kind(self) -> str:
        return self.parts[0][1].kind

    @property
    def joins(self) -> bool:
        return self.parts[0][1].joins

    @property
    def has_pictures(self) -> bool:
        return self.parts[0][1].has_pictures

    @property
    def label(self) -> str | None:
        return self.parts[0][1].label

    def __iter__(self) -> Iterator[Record | LeftOut]:
        for folder, source in self.parts:
            for item in source:
                origin = f"{folder}/{item.origin}" if folder else item.origin
                if isinstance(item, Record) and self.in_splits:
                    yield dataclasses.replace(item, origin=origin, split=SPLITS[folder.lower()])
                else:
                    yield dataclasses.replace(item, origin=origin)
