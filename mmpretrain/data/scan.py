"""From a tar to its index: reads it from end to end, and says what is wrong with it."""

import contextlib
import hashlib
import mmap
import os
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mmpretrain.core.counter import name_to_int
from mmpretrain.core.errors import DataError
from mmpretrain.data.index import IMAGE_SUFFIXES, Keys, Member, ShardIndex
from mmpretrain.data.shard_bytes import Shard, as_file
from mmpretrain.data.tar import Damage, Entry, walk

CAPTION = "txt"
NAMED_DAMAGES = 5


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
