"""Where every member of a tar stands, with checksums: random access, exact counts, no silent damage.

One file beside each shard, `NAME.tar.index`: safetensors with one row a member.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mmpretrain.core.errors import DataError
from mmpretrain.core.files import write_atomic
from mmpretrain.data.shard_bytes import Shard

FORMAT = "mmpretrain-index-2"
SUFFIX = ".index"
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")


@dataclass(frozen=True)
class Member:
    """Bytes of one file in a tar."""

    suffix: str
    offset: int
    size: int
    crc32: int


class Keys(Sequence[str]):
    """The keys of a shard's samples, decoded one by one: an index is opened for a few of them.

    Args:
        lines: the keys as UTF-8, a line end between each two.
    """

    def __init__(self, lines: np.ndarray) -> None:
        self.lines = lines
        self._ends = np.append(np.flatnonzero(lines == ord("\n")), len(lines))

    @staticmethod
    def of(names: Sequence[str]) -> "Keys":
        """From a list."""
        return Keys(np.frombuffer("\n".join(names).encode(errors="surrogateescape"), dtype=np.uint8))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, sample: Any) -> Any:
        if isinstance(sample, slice):
            return list(self)[sample]
        sample = range(len(self))[sample]  # from the end too, and IndexError beyond it
        start = int(self._ends[sample - 1]) + 1 if sample else 0
        return self.lines[start : self._ends[sample]].tobytes().decode(errors="surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines.tobytes().decode(errors="surrogateescape").split("\n"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class ShardIndex:
    """The samples of one shard, in the order of their first member."""

    path: Shard
    keys: Keys
    suffixes: tuple[str, ...]
    starts: np.ndarray
    """Row of each sample's first member, and the number of rows at the end; int64, len(keys) + 1."""
    suffix_ids: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    crc32s: np.ndarray
    image_groups: np.ndarray
    """int64 a sample: equal for pictures of equal bytes, -1 without a picture."""
    text_groups: np.ndarray
    """int64 a sample: equal for captions (.txt) of equal bytes, -1 without one."""
    digest: str
    """SHA-256 of the tar."""
    bytes: int
    """Size of the tar."""
    notes: tuple[str, ...] = ()
    """Files of the tar that stand in no sample, a line each."""
    intact: bool = True
    """False for what was left of a damaged shard that had no index."""

    def __len__(self) -> int:
        return len(self.keys)

    def members(self, sample: int) -> Iterator[Member]:
        for row in range(int(self.starts[sample]), int(self.starts[sample + 1])):
            yield Member(
                self.suffixes[self.suffix_ids[row]],
                int(self.offsets[row]),
                int(self.sizes[row]),
                int(self.crc32s[row]),
            )

    def image_group(self, sample: int, suffixes: Sequence[str]) -> int | None:
        """The group of a sample's picture; None where there is none, or more than one member could be meant."""
        pictures = [member.suffix for member in self.members(sample) if member.suffix in IMAGE_SUFFIXES]
        return int(self.image_groups[sample]) if len(pictures) == 1 and pictures[0] in suffixes else None


def write_index(index: ShardIndex, file: Path) -> None:
    """Keep an index on disk: whole or not at all."""
    columns = {
        "keys": index.keys.lines,
        "members": _narrow(np.diff(index.starts)),
        "suffix_ids": _narrow(index.suffix_ids),
        "offsets": index.offsets,
        "sizes": _narrow(index.sizes),
        "crc32s": index.crc32s,
        "image_groups": index.image_groups,
        "text_groups": index.text_groups,
    }
    facts = {
        "format": FORMAT,
        "sha256": index.digest,
        "bytes": index.bytes,
        "suffixes": index.suffixes,
        "notes": index.notes,
    }
    # one key: safetensors writes several in an order of its own, and equal shards are to have equal indexes
    content = save(columns, metadata={"facts": json.dumps(facts)})
    write_atomic(file, content)


def _narrow(values: np.ndarray) -> np.ndarray:
    """The same numbers in the smallest type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max())))


def read_index(shard: Shard, file: Path) -> ShardIndex:
    """An index from disk.

    Raises:
        DataError: damaged, or of another format.
    """
    try:
        with safe_open(file, framework="numpy") as tensors:
            facts = json.loads((tensors.metadata() or {}).get("facts", "{}"))
            if facts.get("format") != FORMAT:
                raise DataError(f"{file}: not the index format {FORMAT}; delete it and index again")
            columns = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"{file}: damaged index: {error}; delete it and index again") from error
    names = ("suffix_ids", "offsets", "sizes", "crc32s", "image_groups", "text_groups")
    return ShardIndex(
        path=shard,
        keys=Keys(columns["keys"]),
        suffixes=tuple(facts["suffixes"]),
        starts=np.concatenate([[0], np.cumsum(columns["members"].astype(np.int64))]),
        digest=facts["sha256"],
        bytes=facts["bytes"],
        notes=tuple(facts["notes"]),
        **{name: columns[name] for name in names},
    )
