"""Texts without pictures: .txt and .md files, or JSON Lines with a text field; one sample a document."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.settings import did_you_mean
from mmpretrain.data.captions import CaptionLimits, decode_caption
from mmpretrain.data.convert.columns import CAPTION_NAMES, Wanted, texts
from mmpretrain.data.convert.encoding import check_encoding, sniff_encoding
from mmpretrain.data.convert.json_objects import SUFFIXES as JSON_SUFFIXES
from mmpretrain.data.convert.json_objects import read_objects, sample_objects
from mmpretrain.data.convert.picture import files_below, read_below, suffix_of
from mmpretrain.data.convert.record import LeftOut, Record
from mmpretrain.data.faults import BadSample

SUFFIXES = frozenset({".txt", ".md"})
MAX_BYTES = 64_000_000
"""Largest file of one document."""


@dataclass(frozen=True)
class Documents:
    """Every .txt, .md and .jsonl below a folder."""

    folder: Path
    files: tuple[str, ...]
    encoding: str = "utf-8"
    """Tried where UTF-8 fails."""
    column: str | None = None
    """Field of the JSON objects with the text; None: the first known name."""
    follow_links: bool = False
    kind: str = "text documents"
    joins: bool = False
    has_pictures: bool = False
    label: str | None = None

    @property
    def said(self) -> str:
        return f"{self.folder}: {len(self.files):,} files of text, no pictures"

    def __iter__(self) -> Iterator[Record | LeftOut]:
        for path in self.files:
            yield from self._lines(path) if suffix_of(path) in JSON_SUFFIXES else [self._whole(path)]

    def _whole(self, path: str) -> Record | LeftOut:
        try:
            content = read_below(self.folder, path, MAX_BYTES, self.follow_links)
            return Record(
                path, None, [decode_caption(content, CaptionLimits(max_bytes=MAX_BYTES, encoding=self.encoding))]
            )
        except BadSample as error:
            return LeftOut(path, error.reason, error.detail)

    def _lines(self, path: str) -> Iterator[Record | LeftOut]:
        file = self.folder / path
        encoding = sniff_encoding(file)
        column = self.column or text_column(sample_objects(file, encoding)[0], path)
        for origin, row in read_objects(file, encoding):
            if isinstance(row, str):
                yield LeftOut(origin, "damaged_row", row)
            else:
                facts = {name: value for name, value in row.items() if name != column}
                yield Record(origin, None, texts(row.get(column)), facts)


def text_column(row: dict, table: str) -> str:
    """The field with the text, by its name.

    Raises:
        ConfigError: none has a known one.
    """
    found = next((name for name in ("text", *CAPTION_NAMES) if name in row), None)
    if found is None:
        raise ConfigError(f"{table}: no field called text; choose with --caption-column{did_you_mean('text', row)}")
    return found


def open_documents(source: Path, wanted: Wanted) -> Documents:
    """The documents of a folder, or of one file.

    Raises:
        DataError: there are none.
    """
    folder = source if source.is_dir() else source.parent
    files = files_below(folder, wanted.follow_links) if source.is_dir() else [source.name]
    files = [path for path in files if suffix_of(path) in SUFFIXES | JSON_SUFFIXES]
    if not files:
        raise DataError(f"{source}: no .txt, .md or .jsonl in it")
    encoding = check_encoding(wanted.encoding) if wanted.encoding else "utf-8"
    column = wanted.caption_columns[0] if wanted.caption_columns else None
    return Documents(folder, tuple(files), encoding, column, wanted.follow_links)
