"""Where every member of a tar stands, with checksums: random access, exact counts, no silent damage.

One file beside each shard, `NAME.tar.index`: safetensors with one row a member. It is made when the dataset is
packed or on first use; a shard that no longer fits its index is refused.
"""

import contextlib
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mmpretrain.core.errors import DataError
from mmpretrain.core.files import TEMPORARY, sha256
from mmpretrain.data.storage import Shard

FORMAT = "mmpretrain-index-1"
SUFFIX = ".index"
BLOCK = 512


@dataclass(frozen=True)
class Member:
    """Bytes of one file in a tar."""

    suffix: str
    offset: int
    size: int
    crc32: int


@dataclass(frozen=True)
class ShardIndex:
    """The samples of one shard, in the order of their first member."""

    path: Shard
    keys: list[str]
    suffixes: tuple[str, ...]
    starts: np.ndarray
    """Row of each sample's first member, and the number of rows at the end; int64, len(keys) + 1."""
    suffix_ids: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    crc32s: np.ndarray
    digest: str
    """SHA-256 of the tar."""

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


def open_index(shard: Shard, verify: bool = False) -> ShardIndex:
    """The index of a shard; made and kept beside it on first use.

    Args:
        verify: hash the whole shard, not only compare its size.

    Raises:
        DataError: the shard is damaged, or is not the one that was indexed.
    """
    file = shard.with_name(shard.name + SUFFIX)
    if not file.exists():
        index = scan(shard)
        with contextlib.suppress(OSError):  # a read-only folder: the next start scans again
            write_index(index, file)
        return index
    index, size = _read_index(shard, file)
    if shard.stat().st_size != size or (verify and sha256(shard) != index.digest):
        raise DataError(
            f"{shard}: is not the file that {file.name} describes; restore the shard, or if the change is meant "
            f"delete {file.name} and run `mmpretrain data index {shard.parent}`"
        )
    return index


def scan(shard: Shard) -> ShardIndex:
    """Read a tar from end to end and note where everything is.

    Strict: Python's tarfile takes a damaged header behind the first one for the end of the archive and says
    nothing, so the bytes behind the last member have to be the zeros that end a tar.

    Raises:
        DataError: unreadable, cut off, damaged, or with a member twice.
    """
    rows: dict[str, dict[str, Member]] = {}
    try:
        with shard.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            end = 0
            for info in tar:
                end = info.offset_data + -(-info.size // BLOCK) * BLOCK
                if info.isfile() and not info.issparse() and "." in info.name.rpartition("/")[2]:
                    if end > shard.stat().st_size:  # before a claim of a terabyte is believed
                        raise DataError(f"{shard}: cut off inside {info.name}; restore or re-pack it")
                    _add(rows, shard, info, file)
            _require_end(shard, file, end)
    except (OSError, tarfile.TarError, ValueError) as error:  # ValueError: hostile numbers in PAX headers
        raise DataError(f"{shard}: not a readable tar: {error}; restore or re-pack it") from error
    if not rows:
        raise DataError(f"{shard}: holds no samples; take it out of the card")
    return _columns(shard, rows)


def _add(rows: dict[str, dict[str, Member]], shard: Shard, info: tarfile.TarInfo, file: object) -> None:
    folder, _, name = info.name.rpartition("/")
    stem, _, suffix = name.partition(".")
    key = f"{folder}/{stem}" if folder else stem
    here = file.tell()  # type: ignore[attr-defined]
    file.seek(info.offset_data)  # type: ignore[attr-defined]
    content = file.read(info.size)  # type: ignore[attr-defined]
    file.seek(here)  # type: ignore[attr-defined]
    if len(content) != info.size:
        raise DataError(f"{shard}: cut off inside {info.name}; restore or re-pack it")
    if suffix.lower() in rows.setdefault(key, {}):
        raise DataError(f"{shard}: {info.name} stands twice; re-pack it with one member a suffix")
    rows[key][suffix.lower()] = Member(suffix.lower(), info.offset_data, info.size, zlib.crc32(content))


def _require_end(shard: Shard, file: object, end: int) -> None:
    file.seek(end)  # type: ignore[attr-defined]
    rest = file.read()  # type: ignore[attr-defined]
    if rest.strip(b"\0"):
        raise DataError(f"{shard}: damaged header at byte {end}; restore or re-pack it")
    if len(rest) < 2 * BLOCK:
        raise DataError(f"{shard}: cut off at byte {end + len(rest)}: the end mark is missing; restore or re-pack it")


def _columns(shard: Shard, rows: dict[str, dict[str, Member]]) -> ShardIndex:
    members = [member for sample in rows.values() for member in sample.values()]
    suffixes = tuple(sorted({member.suffix for member in members}))
    return ShardIndex(
        path=shard,
        keys=list(rows),
        suffixes=suffixes,
        starts=np.cumsum([0, *(len(sample) for sample in rows.values())]),
        suffix_ids=np.array([suffixes.index(member.suffix) for member in members], dtype=np.uint8),
        offsets=np.array([member.offset for member in members], dtype=np.int64),
        sizes=np.array([member.size for member in members], dtype=np.int32),
        crc32s=np.array([member.crc32 for member in members], dtype=np.uint32),
        digest=sha256(shard),
    )


def write_index(index: ShardIndex, file: Path) -> None:
    """Keep an index on disk: whole or not at all."""
    columns = {
        "keys": np.frombuffer("\n".join(index.keys).encode(), dtype=np.uint8),
        "members": np.diff(index.starts).astype(np.uint8),
        "suffix_ids": index.suffix_ids,
        "offsets": index.offsets,
        "sizes": index.sizes,
        "crc32s": index.crc32s,
    }
    facts = {
        "format": FORMAT,
        "sha256": index.digest,
        "bytes": str(index.path.stat().st_size),
        "suffixes": json.dumps(index.suffixes),
    }
    temporary = file.with_name(f"{file.name}.{os.getpid()}{TEMPORARY}")
    save_file(columns, temporary, metadata=facts)
    temporary.replace(file)


def _read_index(shard: Shard, file: Path) -> tuple[ShardIndex, int]:
    try:
        with safe_open(file, framework="numpy") as tensors:
            facts = tensors.metadata() or {}
            if facts.get("format") != FORMAT:
                raise DataError(f"{file}: unknown index format {facts.get('format')}; delete it and index again")
            columns = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file}: damaged index: {error}; delete it and index again") from error
    index = ShardIndex(
        path=shard,
        keys=columns["keys"].tobytes().decode().split("\n"),
        suffixes=tuple(json.loads(facts["suffixes"])),
        starts=np.concatenate([[0], np.cumsum(columns["members"].astype(np.int64))]),
        suffix_ids=columns["suffix_ids"],
        offsets=columns["offsets"],
        sizes=columns["sizes"],
        crc32s=columns["crc32s"],
        digest=facts["sha256"],
    )
    return index, int(facts["bytes"])
