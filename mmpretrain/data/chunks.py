"""A folder of chunks of remote shards: bounded, shared by all processes of a machine, never believed unchecked.

An entry is the chunk, then the CRC-32 of each of its pages, then a trailer with the CRC-32 of that table. Whatever
tears a file, a killed process, a full disk or another program, makes it a miss and not data.
"""

import contextlib
import fcntl
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmpretrain.core.errors import DataError
from mmpretrain.core.files import TEMPORARY

PAGE = 65_536
"""Bytes under one checksum: a member of a shard needs one or two pages, not the chunk."""
_TRAILER = struct.Struct("<8sQI")
_MAGIC = b"mmchunk1"
LOCKS = 256
STALE_SECONDS = 3_600
"""Age at which a temporary file belongs to nobody any more."""


def cache_folder(configured: str | None) -> Path:
    """The configured folder, or the one that the XDG base directory specification gives."""
    if configured:
        return Path(configured)
    root = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(root) if root.startswith("/") else Path.home() / ".cache") / "mmpretrain" / "chunks"


class ChunkCache:
    """Chunks on disk, those unused for longest evicted first.

    Args:
        capacity: bytes that stay after each write; writers that meet exceed it by one chunk each for a moment.

    Raises:
        DataError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, capacity: int) -> None:
        self.folder = folder
        self.capacity = capacity
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            writable = os.access(folder, os.W_OK)
        except OSError as error:
            raise DataError(f"{folder}: {error.strerror}; set data.storage.cache to a folder with space") from error
        if not writable:
            raise DataError(f"{folder}: cannot be written to; set data.storage.cache to a folder with space")

    def read(self, name: str, start: int, end: int, size: int) -> bytes | None:
        """Bytes `start` to `end` of a chunk of `size` bytes, None where it is missing or damaged."""
        try:
            file = os.open(self.folder / name, os.O_RDONLY)
        except OSError:
            return None
        try:
            found = _checked(file, start, end, size)
            if found is not None:
                os.utime(file)  # eviction goes by this time
            return found
        except OSError:
            return None
        finally:
            os.close(file)

    def write(self, name: str, content: bytes) -> None:
        """Keep a chunk, whole or not at all, and make room.

        Raises:
            OSError: no space, or the folder went away.
        """
        table = checksums(content)
        trailer = _TRAILER.pack(_MAGIC, len(content), zlib.crc32(table))
        temporary = self.folder / f"{name}.{os.getpid()}.{threading.get_ident()}{TEMPORARY}"
        try:
            # no fsync: after a crash of the machine the checksums tell what is left of the entry
            temporary.write_bytes(content + table + trailer)
            temporary.replace(self.folder / name)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self.evict()

    def forget(self, name: str) -> None:
        """Delete a chunk, if it is there."""
        with contextlib.suppress(OSError):
            (self.folder / name).unlink()

    def evict(self) -> None:
        """Delete the entries unused for longest until the rest fits."""
        entries, now = [], time.time()
        with os.scandir(self.folder) as listing:
            for entry in listing:
                with contextlib.suppress(OSError):
                    facts = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(TEMPORARY) and now - facts.st_mtime > STALE_SECONDS:
                        os.unlink(entry.path)
                    elif not entry.name.startswith("lock-"):
                        entries.append((facts.st_mtime_ns, facts.st_size, entry.path))
        excess = sum(size for _, size, _ in entries) - self.capacity
        for _, size, path in sorted(entries):
            if excess <= 0:
                break
            with contextlib.suppress(OSError):  # another process was faster
                os.unlink(path)
            excess -= size

    @contextlib.contextmanager
    def fetching(self, name: str, patience: float) -> Iterator[None]:
        """One process at a time fetches a chunk; the others wait for it, but no longer than `patience` seconds.

        Workers read the same chunks at nearly the same time: without this each would download them.
        """
        lock = self.folder / f"lock-{zlib.crc32(name.encode()) % LOCKS:03d}"
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            yield  # better fetched twice than not at all
            return
        try:
            _lock(file, patience)
            yield
        finally:
            os.close(file)  # releases the lock, as does the end of the process


def checksums(content: bytes) -> bytes:
    """The CRC-32 of each page."""
    view = memoryview(content)
    return np.array([zlib.crc32(view[at : at + PAGE]) for at in range(0, len(content), PAGE)], "<u4").tobytes()


def _checked(file: int, start: int, end: int, size: int) -> bytes | None:
    table_bytes = 4 * -(-size // PAGE)
    if os.fstat(file).st_size != size + table_bytes + _TRAILER.size:
        return None
    tail = os.pread(file, table_bytes + _TRAILER.size, size)
    table = tail[:table_bytes]
    if tail[table_bytes:] != _TRAILER.pack(_MAGIC, size, zlib.crc32(table)):
        return None
    first, last = start // PAGE, -(-end // PAGE)
    pages = os.pread(file, min(last * PAGE, size) - first * PAGE, first * PAGE)
    if checksums(pages) != table[4 * first : 4 * last]:
        return None
    return pages[start - first * PAGE : end - first * PAGE]


def _lock(file: int, patience: float) -> None:
    give_up = time.monotonic() + patience
    while time.monotonic() < give_up:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            return  # a file system without locks
