"""CSV, TSV and their kin: separator, quoting, encoding, header and columns are found out, and said."""

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.data.convert.columns import (
    ANSWER_NAMES,
    CAPTION_NAMES,
    IMAGE_NAMES,
    LABEL_NAMES,
    QUESTION_NAMES,
    TableFile,
    Wanted,
    choose_columns,
    record_of,
)
from mmpretrain.data.convert.encoding import ESCAPED, check_encoding, sniff_encoding
from mmpretrain.data.convert.picture import names_picture
from mmpretrain.data.convert.record import LeftOut, Record

SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".psv", ".txt", ".token"})
SEPARATORS = (",", ";", "\t", "|")
SPOKEN = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
SAMPLE_LINES = 200
KNOWN = {*IMAGE_NAMES, *CAPTION_NAMES, *LABEL_NAMES, *ANSWER_NAMES, *QUESTION_NAMES}
MAX_CELL = 10_000_000


@dataclass(frozen=True)
class Dialect:
    """How the lines of a file become cells."""

    encoding: str
    separator: str
    quoted: bool
    """False: quotation marks are plain characters, as in tables that were written without a CSV library."""
    skipped: int = 0
    """Lines before the header: spreadsheets write `sep=;` there."""

    @property
    def said(self) -> str:
        name = "tab" if self.separator == "\t" else repr(self.separator)
        return f"{name} separated, {self.encoding}{'' if self.quoted else ', quotation marks are text'}"


@dataclass(frozen=True, kw_only=True)
class Delimited(TableFile):
    """A table of pictures and captions in a text file."""

    dialect: Dialect
    names: tuple[str, ...]
    """Of the columns; 1, 2, ... in a table without a header."""
    has_header: bool
    kind: str = "CSV"

    @property
    def said(self) -> str:
        return f"{self.path.name}: {self.dialect.said}, {self.columns.said}"

    def __iter__(self) -> Iterator[Record | LeftOut]:
        rows = read_rows(self.path, self.dialect)
        for line, cells in itertools.islice(rows, int(self.has_header), None):
            origin = f"{self.path.name}:{line}"
            if isinstance(cells, str):
                yield LeftOut(origin, "damaged_row", cells)
            elif len(cells) != len(self.names):
                detail = f"{len(cells)} cells instead of {len(self.names)}; quote captions that hold the separator"
                yield LeftOut(origin, "damaged_row", detail)
            else:
                row = dict(zip(self.names, (cell.strip() for cell in cells), strict=True))
                yield record_of(row, self.columns, self.folder, origin, self.follow_links)


def open_delimited(path: Path, folder: Path, wanted: Wanted) -> Delimited:
    """A table with everything about it decided.

    Raises:
        ConfigError: a wanted encoding, separator or column does not fit.
        DataError: nothing in it.
    """
    dialect = sniff_dialect(path, wanted)
    rows_read = itertools.islice(read_rows(path, dialect), SAMPLE_LINES)
    sample = [cells for _, cells in rows_read if not isinstance(cells, str)]
    if not sample:
        raise DataError(f"{path}: no rows")
    first = tuple(cell.strip("\ufeff \t") or f"column {number}" for number, cell in enumerate(sample[0], 1))
    has_header = _is_header(first) or _names_wanted(first, wanted)
    names = first if has_header else tuple(str(number + 1) for number in range(len(first)))
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{path}: two columns are called {twice!r}; rename one")
    rows = [dict(zip(names, cells, strict=False)) for cells in sample[int(has_header) :]]
    columns = choose_columns(names, rows, wanted, path.name)
    return Delimited(
        path=path,
        folder=folder,
        dialect=dialect,
        names=names,
        has_header=has_header,
        columns=columns,
        follow_links=wanted.follow_links,
    )


def sniff_dialect(path: Path, wanted: Wanted) -> Dialect:
    """The separator and quoting under which the first lines have one width, by the encoding of the bytes."""
    encoding = check_encoding(wanted.encoding) if wanted.encoding else sniff_encoding(path)
    lines = _first_lines(path, encoding)
    named = lines[0].strip().lower().removeprefix("sep=") if lines and lines[0].lower().startswith("sep=") else None
    separator = SPOKEN.get(wanted.separator or "", wanted.separator) or named
    if separator is not None and len(separator) != 1:
        raise ConfigError(f"--separator: {separator!r} is not one character; use ',' ';' '|' or tab")
    skipped = 0 if named is None else 1
    candidates = [(s, q) for q in (True, False) for s in ([separator] if separator else SEPARATORS)]
    best = max(candidates, key=lambda way: _fitness(lines[skipped:], *way))
    return Dialect(encoding, best[0], best[1], skipped)


def _first_lines(path: Path, encoding: str) -> list[str]:
    try:
        with path.open(encoding=encoding, errors="surrogateescape", newline="") as file:
            return list(itertools.islice(file, SAMPLE_LINES))
    except UnicodeError as error:  # utf-16 without its mark
        raise ConfigError(f"{path}: is not {encoding}: {error}; choose another --encoding, or leave it out") from error


def _fitness(lines: Sequence[str], separator: str, quoted: bool) -> float:
    """How well lines split: the share in rows of the most common width, the share of those rows that name a picture,
    and whether the first row is a known header; 0 where there is one column only.
    """
    spans: Counter[int] = Counter()
    pictures: Counter[int] = Counter()
    first: list[str] = []
    reader = _reader(lines, separator, quoted)
    before = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error:  # a damaged row, or the sample ends inside a cell: lines that do not fit
            before = reader.line_num
            continue
        first = first or cells
        spans[len(cells)] += reader.line_num - before
        pictures[len(cells)] += any(names_picture(cell) for cell in cells)
        before = reader.line_num
    width, span = max(spans.items(), key=lambda item: item[1], default=(0, 0))
    if width < 2:
        return 0.0
    return span / len(lines) + pictures[width] / len(lines) + bool(_known(first))


def _known(cells: Sequence[str]) -> set[str]:
    return {cell.strip("\ufeff ").lower().replace(" ", "_") for cell in cells} & {
        *IMAGE_NAMES,
        *CAPTION_NAMES,
        *LABEL_NAMES,
        *ANSWER_NAMES,
        *QUESTION_NAMES,
    }


def _is_header(cells: Sequence[str]) -> bool:
    """A known name, or nothing that looks like a picture or a sentence."""
    return bool(_known(cells)) or not any(names_picture(cell) or cell.count(" ") > 2 for cell in cells)


def _names_wanted(cells: Sequence[str], wanted: Wanted) -> bool:
    asked = (wanted.image_column, wanted.label_column, wanted.answer_column)
    named = {*asked, *(name.rpartition("=")[2] for name in wanted.caption_columns)} - {None}
    return bool(named & set(cells))


def read_rows(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str] | str]]:
    """(line of its start, cells) for each row that is not empty; a message instead of cells where one is damaged."""
    csv.field_size_limit(MAX_CELL)
    with path.open(encoding=dialect.encoding, errors="surrogateescape", newline="") as file:
        for _ in range(dialect.skipped):
            next(file)
        reader = _reader(file, dialect.separator, dialect.quoted)
        while True:
            start = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield start + dialect.skipped, f"{error}, up to line {reader.line_num + dialect.skipped}"
                continue
            if cells:
                yield start + dialect.skipped, _checked(cells, dialect.encoding)


def _checked(cells: list[str], encoding: str) -> list[str] | str:
    wrong = next((match for cell in cells if (match := ESCAPED.search(cell))), None)
    return cells if wrong is None else f"byte 0x{ord(wrong[0]) - 0xDC00:02x} is not {encoding}"


def _reader(lines: Iterable[str], separator: str, quoted: bool) -> Any:
    quoting: Any = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    return csv.reader(lines, delimiter=separator, quoting=quoting, strict=quoted)
