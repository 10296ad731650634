"""JSON Lines, and a JSON array of objects: one object a row.

The schema that serves everything else:

    {"image": "a/b.jpg", "caption": "a dog"}                          one caption
    {"image": "a/b.jpg", "captions": ["a dog", "a dog on a lawn"]}    several; the first one trains
    {"image": "a/b.jpg", "caption": {"en": "a dog", "de": ["ein Hund", "ein Hund im Gras"]}}

Paths are relative to the folder of the pictures. Any other field goes into the JSON member of the sample.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmpretrain.data.convert.columns import TableFile, Wanted, choose_columns, record_of
from mmpretrain.data.convert.encoding import check_encoding, sniff_encoding
from mmpretrain.data.convert.json_objects import read_objects, sample_objects
from mmpretrain.data.convert.record import LeftOut, Record


@dataclass(frozen=True, kw_only=True)
class JsonTable(TableFile):
    """A table of pictures and captions whose rows are JSON objects."""

    encoding: str
    kind: str = "JSON Lines"

    @property
    def said(self) -> str:
        return f"{self.path.name}: JSON objects, {self.encoding}, {self.columns.said}"

    def __iter__(self) -> Iterator[Record | LeftOut]:
        for origin, row in read_objects(self.path, self.encoding):
            if isinstance(row, str):
                yield LeftOut(origin, "damaged_row", row)
            else:
                yield record_of(row, self.columns, self.folder, origin, self.follow_links)


def open_json_table(path: Path, folder: Path, wanted: Wanted) -> JsonTable:
    """A table with its columns decided.

    Raises:
        ConfigError: a wanted column does not fit, or none looks like pictures or captions.
        DataError: nothing in it.
    """
    encoding = check_encoding(wanted.encoding) if wanted.encoding else sniff_encoding(path)
    rows = sample_objects(path, encoding)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = choose_columns(names, rows, wanted, path.name)
    return JsonTable(path=path, folder=folder, encoding=encoding, columns=columns, follow_links=wanted.follow_links)
