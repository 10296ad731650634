"""An index in a folder: vectors, what stands beside each, and the weights that they are of.

NAME/
  index.json     format, digest of the weights, step, source, number and width of the vectors, left out
  vectors.npy    fp32, of unit length
  items.jsonl    key, caption, and where the picture stands: split, shard and row, or a file
  starts.npy     byte at which each line of items.jsonl begins
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import TEMPORARY, folder_in_one_step, sync
from mmpretrain.searching.vector_file import VectorFile

FORMAT = "mmpretrain-search-1"
FOLDER = "search"
"""In the folder of a run or an export."""
FACTS, VECTORS, ITEMS, STARTS = "index.json", "vectors.npy", "items.jsonl", "starts.npy"


class ItemsFile:
    """Lines that can be read one by one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = (folder / ITEMS).open("wb")
        self._starts: list[int] = []

    def __enter__(self) -> "ItemsFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error is None:
            np.save(self._folder / STARTS, np.array(self._starts, dtype=np.int64))
            sync(self._folder / ITEMS)

    def add(self, item: Mapping[str, Any]) -> None:
        self._starts.append(self._file.tell())
        # names in foreign tars need not be text
        self._file.write(json.dumps(item, ensure_ascii=True).encode() + b"\n")


class NewIndex:
    """An index that is being written."""

    def __init__(self, folder: Path, vectors: VectorFile, items: ItemsFile) -> None:
        self._folder = folder
        self._vectors = vectors
        self._items = items

    def add(self, vectors_BE: np.ndarray, items: list[dict[str, Any]]) -> None:
        self._vectors.add(vectors_BE)
        for item in items:
            self._items.add(item)

    @property
    def count(self) -> int:
        return self._vectors.rows

    def end(self, facts: Mapping[str, Any]) -> None:
        told = {"format": FORMAT, "count": self.count, **facts}
        (self._folder / FACTS).write_text(json.dumps(told, indent=1), encoding="utf-8")


@contextmanager
def write_index(folder: Path) -> Iterator[NewIndex]:
    """Takes the place of what is there when the block ends well."""
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    with (
        folder_in_one_step(fresh) as temporary,
        VectorFile(temporary / VECTORS) as vectors,
        ItemsFile(temporary) as items,
    ):
        yield NewIndex(temporary, vectors, items)
    old = folder.with_name(f".{folder.name}.old{TEMPORARY}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


class IndexFiles:
    """An index that is there.

    Raises:
        ConfigError: it is not, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            if self.facts["format"] != FORMAT:
                raise ValueError(f"format {self.facts['format']!r}")
            self.count = int(self.facts["count"])
            self.vectors_NE: np.ndarray = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
            self._starts: np.ndarray = np.load(folder / STARTS, mmap_mode="r", allow_pickle=False)
            # stays readable when another index takes its place
            self._lines = np.memmap(folder / ITEMS, dtype=np.uint8, mode="r")
            if not len(self.vectors_NE) == len(self._starts) == self.count:
                raise ValueError("its files are of different lengths")
        except (OSError, ValueError, KeyError, TypeError) as error:
            said = " ".join(str(error).split())[:120]
            raise ConfigError(f"{folder}: no index of this version ({said}); make it again with search index") from None

    def item(self, place: int) -> dict[str, Any]:
        """What stands beside a vector."""
        end = int(self._starts[place + 1]) if place + 1 < self.count else len(self._lines)
        found: dict[str, Any] = json.loads(self._lines[int(self._starts[place]) : end].tobytes())
        return found


def index_folders(model: Path) -> list[Path]:
    """Of a run or an export, by name."""
    return sorted(
        facts.parent for facts in (model / FOLDER).glob(f"*/{FACTS}") if not facts.parent.name.startswith(".")
    )
