"""A folder of pictures, each with a text file of the same stem beside it; a JSON of that stem adds facts."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmpretrain.data.captions import CaptionLimits, decode_caption
from mmpretrain.data.convert.picture import (
    FOREIGN_SUFFIXES,
    IMAGE_SUFFIXES,
    FilePicture,
    files_below,
    read_below,
    suffix_of,
)
from mmpretrain.data.convert.record import LeftOut, Record
from mmpretrain.data.faults import BadSample

MAX_BYTES = 1_000_000
"""Largest caption or JSON file."""


@dataclass(frozen=True)
class CaptionFiles:
    """`a/b.jpg` with `a/b.txt`; several lines are several captions of one picture."""

    folder: Path
    encoding: str = "utf-8"
    """Tried where UTF-8 fails."""
    follow_links: bool = False
    kind: str = "pictures with text files"
    joins: bool = True
    has_pictures: bool = True
    label: str | None = None

    @property
    def said(self) -> str:
        return f"{self.folder}: {len(self._pictures):,} pictures, captions in .txt of the same name, a line each"

    @cached_property
    def _files(self) -> list[str]:
        return files_below(self.folder, self.follow_links)

    @cached_property
    def _pictures(self) -> list[str]:
        return [path for path in self._files if suffix_of(path) in IMAGE_SUFFIXES | FOREIGN_SUFFIXES]

    def __iter__(self) -> Iterator[Record | LeftOut]:
        beside = set(self._files)
        stems = {os.path.splitext(path)[0] for path in self._pictures}
        for path in self._pictures:
            stem = os.path.splitext(path)[0]
            try:
                captions = self._captions(f"{stem}.txt")
                facts = self._facts(f"{stem}.json") if f"{stem}.json" in beside else {}
            except BadSample as error:
                yield LeftOut(path, error.reason, error.detail)
            else:
                yield Record(path, FilePicture(str(self.folder), path, self.follow_links), captions, facts)
        for path in self._files:
            if suffix_of(path) == ".txt" and os.path.splitext(path)[0] not in stems:
                yield LeftOut(path, "missing_image", "no picture of this name stands beside it")

    def _captions(self, path: str) -> list[str]:
        try:
            content = read_below(self.folder, path, MAX_BYTES, self.follow_links)
        except FileNotFoundError as error:
            raise BadSample("missing_caption", f"no {path}") from error
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            content = content.decode("utf-16", "replace").encode()
        if not content.strip():
            raise BadSample("empty_caption", f"{path} is empty")
        try:
            return decode_caption(content, CaptionLimits(max_bytes=MAX_BYTES, encoding=self.encoding)).splitlines()
        except BadSample as error:
            remedy = "; name its encoding with --encoding" if error.reason == "caption_encoding" else ""
            raise BadSample(error.reason, f"{path}: {error.detail}{remedy}") from error

    def _facts(self, path: str) -> dict[str, Any]:
        try:
            facts = json.loads(read_below(self.folder, path, MAX_BYTES, self.follow_links))
        except (ValueError, RecursionError, FileNotFoundError) as error:
            raise BadSample("damaged_json", f"{path}: {error}") from error
        if not isinstance(facts, dict):
            raise BadSample("damaged_json", f"{path}: an object was expected, found {type(facts).__name__}")
        return facts
