"""A folder in CLIP_benchmark's layout: a split a folder, with `nshards.txt` and tars called 0.tar, 1.tar, ..."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from mmpretrain.core.errors import DataError
from mmpretrain.data.captions import decode_caption
from mmpretrain.data.convert.record import LeftOut, Record
from mmpretrain.data.faults import BadSample
from mmpretrain.data.index import ShardIndex
from mmpretrain.data.samples import ShardReader
from mmpretrain.data.scan import scan

COUNT, CLASSES, TYPE = "nshards.txt", "classnames.txt", "dataset_type.txt"
DIGITS = 9
"""Of the number of a class; Python refuses to read thousands."""
PICTURES = ("webp", "png", "jpg", "jpeg")


def is_benchmark_set(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob(f"*/{COUNT}"))


@dataclass(frozen=True, slots=True)
class ShardPicture:
    """A picture in a tar."""

    path: str
    row: int
    suffix: str

    @property
    def name(self) -> str:
        return f"{Path(self.path).parent.name}/{Path(self.path).name}: {_index(self.path).keys[self.row]}"

    def read(self, max_bytes: int) -> bytes:
        size = next(member.size for member in _index(self.path).members(self.row) if member.suffix == self.suffix)
        if size > max_bytes:
            raise BadSample("large_file", f"{self.name}: {size:,} bytes are more than {max_bytes:,}")
        return _reader().read(_index(self.path), self.row, (self.suffix,))[self.suffix]


@lru_cache(maxsize=4)
def _index(path: str) -> ShardIndex:
    return scan(Path(path))


@lru_cache(maxsize=1)
def _reader() -> ShardReader:
    return ShardReader()


@dataclass(frozen=True)
class BenchmarkSet:
    """Pictures with a caption a line, or with the number of a class."""

    folder: Path
    kind: str = "CLIP_benchmark's layout"
    joins: bool = True
    has_pictures: bool = True

    @property
    def said(self) -> str:
        splits = ", ".join(path.parent.name for path in self._counts)
        what = f"{len(self._classes):,} classes" if self._classes else "a caption a line"
        return f"{self.folder}: CLIP_benchmark's layout, {what}; splits {splits}"

    @property
    def label(self) -> str | None:
        return "label" if self._classes else None

    @cached_property
    def _counts(self) -> list[Path]:
        return sorted(self.folder.glob(f"*/{COUNT}"))

    @cached_property
    def _classes(self) -> list[str]:
        """Empty in a retrieval set."""
        kind = self.folder / TYPE
        if kind.is_file() and kind.read_text(encoding="utf-8").strip().lower() == "retrieval":
            return []
        file = self.folder / CLASSES
        if not file.is_file():
            raise DataError(f"{file}: is missing, and {kind} does not say retrieval: what are the classes called?")
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]

    def __iter__(self) -> Iterator[Record | LeftOut]:
        for count in self._counts:
            for number in range(_number_in(count)):
                yield from self._shard(count.parent / f"{number}.tar")

    def _shard(self, path: Path) -> Iterator[Record | LeftOut]:
        split = path.parent.name
        try:
            index = _index(str(path))
        except DataError as error:
            yield LeftOut(f"{split}/{path.name}", "damaged_shard", str(error))
            return
        for row, key in enumerate(index.keys):
            origin = f"{split}/{path.name}: {key}"
            try:
                yield self._record(origin, index, str(path), row, split)
            except BadSample as error:
                yield LeftOut(origin, error.reason, error.detail)

    def _record(self, origin: str, index: ShardIndex, path: str, row: int, split: str) -> Record:
        suffix = next((member.suffix for member in index.members(row) if member.suffix in PICTURES), None)
        if suffix is None:
            raise BadSample("missing_image", f"no .{' nor .'.join(PICTURES)}")
        beside = "cls" if self._classes else "txt"
        content = _reader().read(index, row, (beside,)).get(beside)
        if content is None:
            raise BadSample("missing_member", f"no .{beside}")
        picture = ShardPicture(path, row, suffix)
        if not self._classes:
            return Record(origin, picture, decode_caption(content).splitlines(), split=split)
        name = self._class_of(content)
        return Record(origin, picture, [name], {"label": name}, split)

    def _class_of(self, content: bytes) -> str:
        number = content.strip()
        if not number.isdigit() or len(number) > DIGITS or int(number) >= len(self._classes):
            raise BadSample("label", f".cls holds {content[:20]!r}, no number of a line of {CLASSES}")
        return self._classes[int(number)]


def _number_in(file: Path) -> int:
    try:
        return int(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file}: holds no number of shards") from error
