"""Where every member of a tar stands, with checksums: random access, exact counts, no silent damage.

One file beside each shard, `NAME.tar.index`: safetensors with one row a member. It is made when the dataset is
packed or on first use; a shard that no longer fits its index is refused, or read as far as it is intact.
"""

import contextlib
import hashlib
import json
import mmap
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mmpretrain.core.counter import name_to_int
from mmpretrain.core.errors import DataError
from mmpretrain.core.files import TEMPORARY, sha256
from mmpretrain.data.storage import Shard, as_file
from mmpretrain.data.tar import Damage, Entry, walk

FORMAT = "mmpretrain-index-2"
SUFFIX = ".index"
CAPTION = "txt"
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
NAMED_DAMAGES = 5

OnDamage = Literal["refuse", "salvage"]


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


def open_index(shard: Shard, verify: bool = False, on_damage: OnDamage = "refuse") -> ShardIndex:
    """The index of a shard; made and kept beside it on first use.

    Args:
        verify: hash the whole shard, not only compare its size.
        on_damage: `salvage` finds what is left of a shard that differs from its index, and leaves what is not to
            the reader's checksums; of a shard without an index it takes what is intact.

    Raises:
        DataError: the shard is damaged, or is not the one that was indexed.
    """
    file = shard.with_name(shard.name + SUFFIX)
    if not file.exists():
        index = salvage_unindexed(shard) if on_damage == "salvage" else scan(shard)
        if not index.intact:
            return index  # what is left of a shard is no description of it
        with contextlib.suppress(OSError):  # a read-only folder: the next start scans again
            write_index(index, file)
        return index
    index = read_index(shard, file)
    size = shard.stat().st_size
    if size == index.bytes and not (verify and sha256(shard) != index.digest):
        return index
    if on_damage == "salvage":
        return salvage(index)
    raise DataError(
        f"{shard}: is not the file that {file.name} describes ({size:,} bytes, indexed {index.bytes:,}); restore the "
        f"shard, read what is left of it with data.on_damage=salvage, or if the change is meant delete {file.name} "
        f"and run `mmpretrain data index {shard.parent}`"
    )


# -- from a tar -------------------------------------------------------------------------------------------


def scan(shard: Shard) -> ShardIndex:
    """Read a tar from end to end and note where everything is.

    Raises:
        DataError: unreadable, damaged in its structure, or without a single sample.
    """
    index, damages = scan_damaged(shard)
    if damages:
        raise DataError(
            f"{shard}: {tell(damages)}; restore or re-pack it, or read what is left with data.on_damage=salvage"
        )
    return index


def scan_damaged(shard: Shard) -> tuple[ShardIndex, list[Damage]]:
    """Where everything intact in a tar is, and everything that is wrong with its structure.

    A member in front of damage is left out: bytes lost or inserted inside it are a likely cause. What nothing but
    a checksum could show, such as a flipped bit in a picture, shows only against an index made before.

    Raises:
        DataError: unreadable, or without a single sample.
    """
    found = _Found()
    with _mapped(shard) as content:
        for entry in walk(content):
            if isinstance(entry, Damage):
                found.damage(entry)
            else:
                found.add(entry, content[entry.offset : entry.offset + entry.size])
        digest, size = hashlib.sha256(content).hexdigest(), len(content)
    if not any(found.members.values()):
        said = f" ({tell(found.damages)})" if found.damages else ""
        raise DataError(f"{shard}: holds no samples{said}; restore it, or take it out of the card")
    return found.index(shard, digest, size), found.damages


@contextlib.contextmanager
def _mapped(shard: Shard) -> Iterator[mmap.mmap | bytes]:
    try:
        with as_file(shard) as file:
            if not os.fstat(file.fileno()).st_size:
                yield b""
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                yield content
    except OSError as error:
        raise DataError(f"{shard}: {error.strerror or error}; restore the shard") from error


class _Found:
    """What a scan has seen so far."""

    def __init__(self) -> None:
        self.members: dict[str, dict[str, Member]] = {}
        self.groups: dict[str, dict[str, int]] = {}
        self.damages: list[Damage] = []
        self.notes: list[str] = []
        self._last: tuple[str, str] | None = None

    def add(self, entry: Entry, content: bytes) -> None:
        """Take a file in, where its name makes it part of a sample."""
        key, suffix = split_name(entry.name)
        self._last = None
        if not suffix:
            return  # READMEs and the like
        if not entry.name.isprintable():
            self.notes.append(f"{entry.name!r} holds characters that no name should and is left out")
        elif suffix in self.members.setdefault(key, {}):
            self.notes.append(f"{entry.name!r} stands twice, the first one counts")
        else:
            self.members[key][suffix] = Member(suffix, entry.offset, entry.size, zlib.crc32(content))
            self._last = (key, suffix)
            kind = "image" if suffix in IMAGE_SUFFIXES else "text" if suffix == CAPTION else None
            if kind:
                self.groups.setdefault(key, {}).setdefault(kind, name_to_int(content))

    def damage(self, damage: Damage) -> None:
        """Note damage, and drop the member that it may reach into."""
        self.damages.append(damage)
        if damage.hides and self._last:
            key, suffix = self._last
            member = self.members[key].pop(suffix)
            self.damages.append(Damage(member.offset, f"'{key}.{suffix}' may be damaged by it and is left out"))
        self._last = None

    def index(self, shard: Shard, digest: str, size: int) -> ShardIndex:
        """The columns of what was found."""
        samples = {key: members for key, members in self.members.items() if members}
        rows = [member for members in samples.values() for member in members.values()]
        suffixes = tuple(sorted({member.suffix for member in rows}))
        number = {suffix: place for place, suffix in enumerate(suffixes)}
        groups = [self.groups.get(key, {}) for key in samples]
        return ShardIndex(
            path=shard,
            keys=Keys.of(list(samples)),
            suffixes=suffixes,
            starts=np.cumsum([0, *(len(members) for members in samples.values())]),
            suffix_ids=np.array([number[member.suffix] for member in rows], dtype=np.int64),
            offsets=np.array([member.offset for member in rows], dtype=np.int64),
            sizes=np.array([member.size for member in rows], dtype=np.int64),
            crc32s=np.array([member.crc32 for member in rows], dtype=np.uint32),
            image_groups=np.array([group.get("image", -1) for group in groups], dtype=np.int64),
            text_groups=np.array([group.get("text", -1) for group in groups], dtype=np.int64),
            digest=digest,
            bytes=size,
            notes=tuple(self.notes),
        )


def split_name(name: str) -> tuple[str, str]:
    """(key, suffix in lower case) of a member's name: the key ends at the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    stem, _, suffix = last.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


def tell(damages: list[Damage]) -> str:
    """Damages in one line."""
    shown = [f"{damage.what} at byte {damage.offset}" for damage in damages[:NAMED_DAMAGES]]
    more = len(damages) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def salvage_unindexed(shard: Shard) -> ShardIndex:
    """What is left of a shard that was never indexed; the notes name the damage."""
    index, damages = scan_damaged(shard)
    lines = (f"{damage.what} at byte {damage.offset}" for damage in damages)
    return replace(index, notes=(*index.notes, *lines), intact=not damages)


def salvage(index: ShardIndex) -> ShardIndex:
    """The index of a shard that has changed since, with members where they stand now.

    A member whose bytes are not at its place, but at another one under its own name, is read from there. What is
    nowhere keeps its old place, where its checksum fails.
    """
    offsets = index.offsets.copy()
    with _mapped(index.path) as content:
        there: dict[tuple[str, str], list[int]] = {}
        for entry in walk(content):
            if isinstance(entry, Entry):
                there.setdefault(split_name(entry.name), []).append(entry.offset)
        for sample, key in enumerate(index.keys):
            for row, member in enumerate(index.members(sample), int(index.starts[sample])):
                places = [member.offset, *there.get((key, member.suffix), ())]
                held = (p for p in places if zlib.crc32(content[p : p + member.size]) == member.crc32)
                offsets[row] = next(held, member.offset)
    return replace(index, offsets=offsets)


# -- on disk ----------------------------------------------------------------------------------------------


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
    temporary = file.with_name(f"{file.name}.{os.getpid()}{TEMPORARY}")
    temporary.write_bytes(content)
    temporary.replace(file)


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
