"""A folder for each class, as torchvision's ImageFolder reads them: the class in words is caption and label."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mmpretrain.data.convert.picture import FOREIGN_SUFFIXES, IMAGE_SUFFIXES, FilePicture, files_below, suffix_of
from mmpretrain.data.convert.record import LeftOut, Record

_NUMBER = re.compile(r"^(?:n\d{8}|\d+)[-_. ]+(?=\D)")


@dataclass(frozen=True)
class ClassFolders:
    """`golden_retriever/1.jpg` is a picture of a "golden retriever"."""

    folder: Path
    follow_links: bool = False
    kind: str = "class folders"
    joins: bool = True
    has_pictures: bool = True
    label: str | None = "label"

    @property
    def said(self) -> str:
        names = sorted(set(self._names.values()))
        shown = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
        return f"{self.folder}: {len(names):,} classes by folder: {shown}"

    @cached_property
    def _pictures(self) -> list[str]:
        files = files_below(self.folder, self.follow_links)
        return [path for path in files if suffix_of(path) in IMAGE_SUFFIXES | FOREIGN_SUFFIXES]

    @cached_property
    def _names(self) -> dict[str, str]:
        return class_names(sorted({path.split("/")[0] for path in self._pictures if "/" in path}))

    def __iter__(self) -> Iterator[Record | LeftOut]:
        for path in self._pictures:
            folder, inside, _ = path.partition("/")
            if not inside:
                yield LeftOut(path, "no_class", "stands in no class folder")
                continue
            name = self._names[folder]
            yield Record(path, FilePicture(str(self.folder), path, self.follow_links), [name], {"label": name})


def class_names(folders: list[str]) -> dict[str, str]:
    """Each folder's class in words; numbers in front, as in `001.Sooty_Albatross` or `n02099601-golden_retriever`, go
    where every folder has one and the names stay different.
    """
    bare = [_NUMBER.sub("", folder) for folder in folders]
    if any(short == folder for short, folder in zip(bare, folders, strict=True)):
        bare = folders
    words = [" ".join(re.split(r"[\s_-]+", name)).strip() or name for name in bare]
    if len(set(words)) < len(words):
        words = folders
    return dict(zip(folders, words, strict=True))
