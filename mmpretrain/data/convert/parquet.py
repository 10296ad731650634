"""Parquet tables: paths of pictures with captions, or pictures inside the table as the Hugging Face hub has them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.data.convert.columns import TableFile, Wanted, choose_columns, record_of, said_of
from mmpretrain.data.convert.record import LeftOut, Record
from mmpretrain.data.faults import BadSample

ROWS = 1024


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture in a cell of a Parquet table: bytes, or `{"bytes": ..., "path": ...}`."""

    path: str
    group: int
    row: int
    column: str

    @property
    def name(self) -> str:
        return f"{Path(self.path).name}: row {self.row} of group {self.group}"

    def read(self, max_bytes: int) -> bytes:
        cell = _cells(self.path, self.group, self.column)[self.row].as_py()
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if content is None:
            raise BadSample("missing_image", f"{self.name} is empty")
        if len(content) > max_bytes:
            raise BadSample("large_file", f"{self.name}: {len(content):,} bytes are more than {max_bytes:,}")
        return bytes(content)


@lru_cache(maxsize=1)
def _cells(path: str, group: int, column: str) -> Any:
    """One column of one row group; the last one is kept, because rows are asked for in order."""
    return open_file(Path(path)).read_row_group(group, columns=[column]).column(0)


@dataclass(frozen=True, kw_only=True)
class Parquet(TableFile):
    """A table of pictures and captions in a Parquet file."""

    stored: bool
    """The pictures are in the table."""
    kind: str = "Parquet"

    @property
    def said(self) -> str:
        where = "pictures inside, " if self.stored else ""
        return f"{self.path.name}: Parquet, {where}{self.columns.said}"

    def __iter__(self) -> Iterator[Record | LeftOut]:
        file = open_file(self.path)
        skipped = {self.columns.image} if self.stored else set()
        names = [name for name in file.schema_arrow.names if name not in skipped]
        number = 0
        for group in range(file.num_row_groups):
            for row, cells in enumerate(file.read_row_group(group, columns=names).to_pylist()):
                number += 1
                yield self._record(cells, group, row, f"{self.path.name}: row {number}")

    def _record(self, cells: dict[str, Any], group: int, row: int, origin: str) -> Record | LeftOut:
        if not self.stored:
            return record_of(cells, self.columns, self.folder, origin, self.follow_links)
        picture = StoredPicture(str(self.path), group, row, self.columns.image)
        return said_of(cells, self.columns, origin, picture)


def open_parquet(path: Path, folder: Path, wanted: Wanted) -> Parquet:
    """A table with its columns decided.

    Raises:
        ConfigError: pyarrow is not installed, or a column does not fit.
        DataError: the file is damaged or empty.
    """
    file = open_file(path)
    first = next(file.iter_batches(batch_size=ROWS), None)
    if first is None or not len(first):
        raise DataError(f"{path}: no rows")
    rows = first.slice(0, 16).to_pylist()
    columns = choose_columns(file.schema_arrow.names, rows, wanted, path.name)
    stored = any(isinstance(row[columns.image], dict | bytes) for row in rows)
    return Parquet(path=path, folder=folder, columns=columns, stored=stored, follow_links=wanted.follow_links)


@cache
def open_file(path: Path) -> Any:
    """The file, opened once in each process.

    Raises:
        ConfigError: pyarrow is not installed.
        DataError: no Parquet.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(f"{path}: Parquet needs pyarrow: pip install -e '.[pack]'") from error
    try:
        return parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from error
