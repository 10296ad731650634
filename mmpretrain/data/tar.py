"""The structure of a tar, read strictly: every member with its place, and every damage with its byte.

Python's tarfile takes a damaged header behind the first one for the end of the archive and says nothing. Here a
block that should be a header and is none is named, and reading goes on at the next header that is one.
"""

import mmap
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

BLOCK = tarfile.BLOCKSIZE
MAGIC, MAGIC_AT = b"ustar", 257
MAX_EXTENDED = 1_000_000
"""Bytes of a long name or of PAX records that are looked at."""
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
WITHOUT_DATA = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)
EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class Entry(NamedTuple):
    """A regular file in a tar."""

    name: str
    header: int
    """Byte of its header."""
    offset: int
    """First byte of its content."""
    size: int


class Damage(NamedTuple):
    """What is wrong with the structure, and where."""

    offset: int
    what: str
    hides: bool = False
    """Bytes lost or inserted in the member in front of it may be the cause."""


@dataclass
class _Cursor:
    """Where the reader stands, and what an extended header said of the next member."""

    offset: int = 0
    name: str | None = None
    size: int | None = None

    def forget(self) -> None:
        self.name = self.size = None


def walk(content: mmap.mmap | bytes) -> Iterator[Entry | Damage]:
    """Every regular file and every damage, in the order of their bytes; never raises for what the bytes say.

    Links, folders, devices and pipes are passed over: a sample is made of files.
    """
    cursor = _Cursor()
    end = len(content)
    while cursor.offset < end:
        block = content[cursor.offset : cursor.offset + BLOCK]
        if not block.strip(b"\0"):
            yield from _after_end(content, cursor)
            continue
        info = _header(block)
        if info is None:
            whole = len(block) == BLOCK
            yield Damage(cursor.offset, "damaged header" if whole else "cut off inside a header", hides=whole)
            cursor.forget()
            cursor.offset = _next_header(content, cursor.offset + 1)
            continue
        yield from _member(content, cursor, info)
    if end < 2 * BLOCK or content[end - 2 * BLOCK :].strip(b"\0"):
        yield Damage(end, "cut off: the end mark is missing")


def _member(content: mmap.mmap | bytes, cursor: _Cursor, info: tarfile.TarInfo) -> Iterator[Entry | Damage]:
    """Take one header and step over its content."""
    header, offset = cursor.offset, cursor.offset + BLOCK
    if info.type in WITHOUT_DATA:
        cursor.offset = offset
        cursor.forget()
        return
    extended = info.type in EXTENDED
    size = info.size if extended or cursor.size is None else cursor.size
    name = info.name if cursor.name is None else cursor.name
    cursor.offset = offset + -(-size // BLOCK) * BLOCK
    if offset + size > len(content):
        yield Damage(header, f"cut off inside {name!r}: {size:,} bytes announced, {len(content) - offset:,} there")
        # a damaged size field would hide everything behind it
        cursor.offset = _next_header(content, offset)
        cursor.forget()
    elif extended:
        _extend(cursor, info.type, content[offset : offset + min(size, MAX_EXTENDED)])
    elif info.type in FILES:
        yield Entry(name, header, offset, size)
        cursor.forget()
    else:
        yield Damage(header, f"{name!r} is of type {info.type!r}, which holds no plain content")
        cursor.forget()


def _after_end(content: mmap.mmap | bytes, cursor: _Cursor) -> Iterator[Damage]:
    """A block of zeros: the end of the archive where two stand and nothing follows, damage where something does."""
    following = _next_header(content, cursor.offset)
    if following < len(content):
        yield Damage(cursor.offset, "zeros where a header should be", hides=True)
    elif _rest_of(content, cursor.offset):
        yield Damage(cursor.offset, "bytes behind the end mark", hides=True)
    cursor.forget()
    cursor.offset = following


def _rest_of(content: mmap.mmap | bytes, offset: int) -> bool:
    """Whether anything but zeros stands from here on."""
    step = 1 << 20
    return any(content[start : start + step].strip(b"\0") for start in range(offset, len(content), step))


def _header(block: bytes) -> tarfile.TarInfo | None:
    """The header in a block, None where its checksum is wrong."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError):
        return None
    return info if info.size >= 0 else None  # a negative one would lead back to this header for ever


def _next_header(content: mmap.mmap | bytes, start: int) -> int:
    """The next byte at which a header with magic and right checksum stands, or the end.

    At any byte: inserted or lost bytes move everything behind them off the blocks of 512.
    """
    found = content.find(MAGIC, start + MAGIC_AT)
    while found >= 0:
        header = found - MAGIC_AT
        if header >= start and _header(content[header : header + BLOCK]) is not None:
            return header
        found = content.find(MAGIC, found + 1)
    return len(content)


def _extend(cursor: _Cursor, kind: bytes, content: bytes) -> None:
    """Note what an extended header says of the member behind it."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        cursor.name = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
    elif kind in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
        records = _pax_records(content)
        cursor.name = records.get("path", cursor.name)
        size = records.get("size", "")
        cursor.size = int(size) if size.isascii() and size.isdigit() and len(size) < 20 else cursor.size


def _pax_records(content: bytes) -> dict[str, str]:
    """`LENGTH KEY=VALUE\\n` after one another; ends at the first that is none."""
    records: dict[str, str] = {}
    place = 0
    while place < len(content):
        length, space, _ = content[place : place + 20].partition(b" ")
        if not space or not length.isdigit() or len(length) > 9 or int(length) <= len(length):
            break
        record = content[place + len(length) + 1 : place + int(length)].rstrip(b"\n")
        key, _, value = record.partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        place += int(length)
    return records
