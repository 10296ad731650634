"""The bytes of a shard, wherever it is: a path of this machine, or a URL."""

import contextlib
import errno
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Protocol, TypeAlias
from urllib.parse import unquote, urlsplit

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.data.faults import BadSample
from mmpretrain.data.storage import Storage, refuse_url

if TYPE_CHECKING:
    from mmpretrain.data.remote import RemoteBytes

_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]*):", re.IGNORECASE)
REQUESTS = 16
"""Sizes of remote shards that are asked for at the same time."""


class RandomAccess(Protocol):
    """Bytes of a shard at any place."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on; fewer than `size` only where the shard ends."""

    def read_again(self, offset: int, size: int) -> bytes:
        """The same from the source itself, for a reader who found that what `read` gave cannot be right."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class RemoteShard:
    """A shard behind a URL, with those members of a Path that index and reader use."""

    url: str
    folder: Path
    """The card's folder; the index of the shard is kept there."""
    storage: Storage

    @property
    def name(self) -> str:
        """The last part of the URL's path: the digest of a dataset does not change when its shards move."""
        return unquote(urlsplit(self.url).path).rpartition("/")[2]

    @property
    def mark(self) -> str:
        """A few digits that are this URL's and no other's."""
        return blake2b(self.url.encode(), digest_size=4).hexdigest()

    @property
    def parent(self) -> Path:
        return self.folder

    def with_name(self, name: str) -> Path:
        """A file beside the card that belongs to this URL and to no other, such as its index."""
        readable = re.sub(r"[^\w.\-]", "_", f"{urlsplit(self.url).hostname}-{self.mark}-{name}")
        return self.folder / readable[-200:]

    def stat(self) -> os.stat_result:
        """Only its size is known."""
        size = self.bytes().size
        return os.stat_result((0, 0, 0, 0, 0, 0, size, 0, 0, 0))

    def open(self, mode: Literal["rb"] = "rb") -> io.BufferedReader:
        """The shard as a file that is read from front to back; seeking works."""
        return io.BufferedReader(Stream(self.bytes(), self.storage.chunk_bytes))

    def stream(self) -> io.BufferedReader:
        """As `open`, for those who read it once: nothing is kept on disk."""
        return replace(self, storage=replace(self.storage, cache_bytes=0)).open()

    def bytes(self) -> "RemoteBytes":
        # aiohttp and fsspec are imported by those who need them
        from mmpretrain.data.remote import RemoteBytes

        return RemoteBytes(self.url, str(self), self.storage)

    def __str__(self) -> str:
        """The URL without passwords and signatures."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


Shard: TypeAlias = Path | RemoteShard


def locate(entry: str, folder: Path, storage: Storage) -> Shard:
    """The shard that an entry of a card means: a path from the card's folder on, or a URL.

    Raises:
        ConfigError: a URL whose scheme the config does not allow, or that is none.
    """
    match = _SCHEME.match(entry)
    if match is None:
        return folder / entry
    where = f"{folder}: shard {entry[:200]!r}"
    scheme = refuse_url(entry, storage.schemes, where)
    if urlsplit(entry).path.endswith("/") or not urlsplit(entry).path:
        raise ConfigError(f"{where}: a host or folder; name a shard such as https://host/folder/00000.tar")
    if scheme != "file":
        return RemoteShard(entry, folder, storage)
    if urlsplit(entry).netloc not in ("", "localhost"):
        raise ConfigError(f"{where}: a file on another machine; write file:///path")
    return Path(unquote(urlsplit(entry).path))


def open_bytes(shard: Shard) -> RandomAccess:
    """The bytes of a shard, wherever it is.

    Raises:
        DataError: it cannot be opened.
    """
    return LocalBytes(shard) if isinstance(shard, Path) else shard.bytes()


def sizes(shards: Sequence[Shard]) -> list[int]:
    """Bytes of each shard; several remote ones are asked at a time."""
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(lambda shard: shard.stat().st_size, shards))


@contextlib.contextmanager
def as_file(shard: Shard) -> Iterator[IO[bytes]]:
    """The shard as a file of this machine, for those who map it into memory; a remote one for as long as it is open.

    Raises:
        DataError: a remote one cannot be read.
        OSError: a local one cannot be opened, or the disk is full.
    """
    if isinstance(shard, Path):
        with shard.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as copy, shard.open() as source:
        shutil.copyfileobj(source, copy, shard.storage.chunk_bytes)
        copy.seek(0)
        yield copy


class LocalBytes:
    """A file on a disk of this machine."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = io.FileIO(path)  # closes itself when it is forgotten
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {getattr(error, 'strerror', error)}; restore the shard") from error
        self._number = self._file.fileno()

    @property
    def size(self) -> int:
        return os.fstat(self._number).st_size

    def read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._number, size, offset)
        except OSError as error:
            if error.errno == errno.EIO:  # a bad place on the disk: the next sample may be well
                raise BadSample("unreadable", f"{error.strerror} at byte {offset}") from error
            raise DataError(f"{self._file.name}: {error.strerror}; restore the shard") from error

    read_again = read

    def close(self) -> None:
        self._file.close()


class Stream(io.RawIOBase):
    """Random access as a file that is mostly read forwards: one block in memory."""

    def __init__(self, source: RandomAccess, block: int) -> None:
        self._source = source
        self._block = block
        self._start, self._content = 0, b""
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        place = self._position - self._start
        if not 0 <= place < len(self._content):
            self._start = self._position // self._block * self._block
            self._content = self._source.read(self._start, self._block)
            place = self._position - self._start
        part = self._content[place : place + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)
