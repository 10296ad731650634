"""Bytes of a shard over https and s3, through fsspec's sessions: what arrives is the truth or a named error in time.

fsspec's own `cat_file` returns what a server sends: it does not notice a server that ignores Range, a page of HTML
with status 200 or an object that changed in between, and its timeouts do not bound a transfer that drips. So the
sessions and credentials are fsspec's and s3fs's, and the requests are made here. An s3 object is asked for by a
signed https request, which makes one path for both.
"""

import asyncio
import contextlib
import functools
import os
import random
import re
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar
from urllib.parse import quote, urljoin

import aiohttp
import fsspec
import fsspec.asyn

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.data.chunks import ChunkCache, cache_folder
from mmpretrain.data.storage import Storage, is_loopback, refuse_url

T = TypeVar("T")
MAX_BACKOFF_SECONDS = 30.0
MAX_REDIRECTS = 5
SIGNATURE_SECONDS = 3_600
RETRY_STATUS = {408, 425, 429}
"""Refusals that pass; other 4xx stay what they are, and 5xx pass too."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Passing(Exception):
    """A failure that another try may not meet."""


class Lasting(Exception):
    """A failure that every further try would meet as well."""


@dataclass(frozen=True)
class Identity:
    """Which object a URL led to when it was first asked."""

    size: int
    version: str
    """ETag, or the date of the last change, or empty: the server gives neither."""


class RemoteBytes:
    """A shard behind a URL, fetched in chunks that are kept on disk.

    Args:
        name: what errors call the shard.
    """

    def __init__(self, url: str, name: str, storage: Storage) -> None:
        self._source = Source(url, name, storage)
        self._storage = storage
        self._cache = _cache(storage) if storage.cache_bytes else None

    @property
    def size(self) -> int:
        """Bytes of the shard.

        Raises:
            DataError: it cannot be reached.
        """
        return self._source.identity.size

    def read(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on, from the cache where it holds them.

        Raises:
            DataError: it cannot be read within the deadline, or is not the object it was.
        """
        end = min(offset + size, self.size)
        if end <= offset:
            return b""
        if self._cache is None:
            return self._source.fetch(offset, end)
        chunk = self._storage.chunk_bytes
        numbers = range(offset // chunk, -(-end // chunk))
        return b"".join(
            self._part(self._cache, n, max(offset - n * chunk, 0), min(end - n * chunk, chunk)) for n in numbers
        )

    def read_again(self, offset: int, size: int) -> bytes:
        """The same from the server itself; the chunks that were kept are forgotten."""
        if self._cache is not None:
            for number in range(offset // self._storage.chunk_bytes, (offset + size) // self._storage.chunk_bytes + 1):
                self._cache.forget(self._name(number))
        return self.read(offset, size)

    def close(self) -> None:
        """Nothing is held: sessions belong to the process."""

    def _name(self, number: int) -> str:
        return f"{self._source.digest}-{number:06d}"

    def _part(self, cache: ChunkCache, number: int, start: int, end: int) -> bytes:
        first = number * self._storage.chunk_bytes
        last = min(first + self._storage.chunk_bytes, self.size)
        name = self._name(number)
        found = cache.read(name, start, end, last - first)
        if found is not None:
            return found
        with cache.fetching(name, self._storage.deadline_seconds):
            found = cache.read(name, start, end, last - first)  # another process may have been first
            if found is not None:
                return found
            content = self._source.fetch(first, last)
            try:
                cache.write(name, content)
            except OSError as error:
                self._cache = None  # without a cache only what is needed is fetched
                warnings.warn(f"{cache.folder}: {error.strerror}; going on without the cache", stacklevel=2)
        return content[start:end]


class Source:
    """The object behind a URL: its identity and ranges of it."""

    def __init__(self, url: str, name: str, storage: Storage) -> None:
        self.url = url
        self.name = name
        self.storage = storage

    @functools.cached_property
    def identity(self) -> Identity:
        """Asked for once in the life of the process; from then on the object must stay what it is."""
        return _identity(self.url, self.name, self.storage)

    @functools.cached_property
    def digest(self) -> str:
        """Names the object, not the place: another version is another entry of the cache."""
        facts = f"{self.url} {self.identity.size} {self.identity.version} {self.storage.chunk_bytes}"
        return blake2b(facts.encode(), digest_size=16).hexdigest()

    def fetch(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end`, all of them.

        Raises:
            DataError: not within the deadline, or not this object.
        """
        received = bytearray()

        async def ask() -> bytes:
            await _receive(self.storage, self.url, start + len(received), end, self.identity, received)
            return bytes(received)

        return persist(ask, lambda: len(received), self.name, self.storage)


@functools.lru_cache(maxsize=65_536)
def _identity(url: str, name: str, storage: Storage) -> Identity:
    async def ask() -> Identity:
        async with _answer(storage, url, "bytes=0-0") as response:
            _, total = _range_of(response, 0, 1)
            headers = response.headers
            return Identity(total, headers.get("ETag") or headers.get("Last-Modified") or "")

    return persist(ask, lambda: 0, name, storage)


def persist(ask: Callable[[], Coroutine[Any, Any, T]], progress: Callable[[], int], name: str, storage: Storage) -> T:
    """Ask until there is an answer: with growing pauses, until the deadline, from the last good byte on.

    Raises:
        DataError: no answer; names the shard, the last cause and the remedy.
    """
    began = time.monotonic()
    causes: list[str] = []

    async def insist() -> T:
        pause, without_progress, best = storage.backoff_seconds, 0, 0
        while True:
            try:
                return await ask()
            except (Passing, aiohttp.ClientError, ConnectionError, OSError) as error:
                causes.append(_one_line(error))
            gained, best = progress() > best, max(progress(), best)
            without_progress = 0 if gained else without_progress + 1
            pause = storage.backoff_seconds if gained else min(2 * pause, MAX_BACKOFF_SECONDS)
            if without_progress >= storage.tries:
                raise Lasting(f"{causes[-1]} ({len(causes)} tries); check the network, then start again")
            # spread out, so that many readers do not come back at one moment
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def bounded() -> T:
        async with asyncio.timeout(storage.deadline_seconds):
            return await insist()

    try:
        return fsspec.asyn.sync(_filesystem(os.getpid(), "https", None, False).loop, bounded)
    except Lasting as error:
        raise DataError(f"{name}: {error}") from error
    except (TimeoutError, fsspec.FSTimeoutError) as error:
        cause = causes[-1] if causes else "no whole answer"
        raise DataError(
            f"{name}: {cause} ({len(causes) + 1} tries in {time.monotonic() - began:.0f} s); check the network, or "
            "raise data.storage.deadline_seconds"
        ) from error


async def _receive(storage: Storage, url: str, start: int, end: int, identity: Identity, received: bytearray) -> None:
    """Append bytes `start` to `end` to what was received; what came before a failure stays."""
    wanted = len(received) + end - start
    async with _answer(storage, url, f"bytes={start}-{end - 1}") as response:
        _, total = _range_of(response, start, end)
        version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if (total, version) != (identity.size, identity.version):
            raise Lasting(
                f"changed while it was read ({identity.size:,} bytes {identity.version}, now {total:,} {version}); "
                "restore it, or delete its index and start again"
            )
        while len(received) < wanted:
            await _pour(response.content, received, wanted, storage)


async def _pour(stream: aiohttp.StreamReader, received: bytearray, wanted: int, storage: Storage) -> None:
    """As many bytes as one stall window has to bring."""
    before = len(received)
    enough = min(wanted, before + max(1, int(storage.min_rate * storage.stall_seconds)))
    try:
        async with asyncio.timeout(storage.stall_seconds):
            while len(received) < enough:
                part = await stream.readany()
                if not part:
                    raise Passing(f"the connection ended {wanted - len(received):,} bytes early")
                if len(received) + len(part) > wanted:
                    raise Passing("the server sends more than was asked for")
                received += part
    except TimeoutError as error:
        brought = len(received) - before
        raise Passing(
            f"{brought:,} bytes in {storage.stall_seconds:g} s are under data.storage.min_rate "
            f"({storage.min_rate:,.0f} bytes/s)"
        ) from error


@contextlib.asynccontextmanager
async def _answer(storage: Storage, url: str, wanted: str) -> AsyncIterator[aiohttp.ClientResponse]:
    response = await _respond(storage, url, wanted)
    try:
        yield response
    finally:
        response.close()  # a connection whose answer was read to its end is kept all the same


async def _respond(storage: Storage, url: str, wanted: str) -> aiohttp.ClientResponse:
    """The answer to a request for a range, headers read; redirects followed to where the config allows."""
    address = await _address(storage, url)
    schemes = ("https", "http") if "http" in storage.schemes else ("https",)
    headers = {"Range": wanted, "Accept-Encoding": "identity"}
    filesystem = _filesystem(os.getpid(), "https", None, False)
    session = await filesystem.set_session()
    try:
        async with asyncio.timeout(storage.stall_seconds):
            for _ in range(MAX_REDIRECTS + 1):
                response = await session.get(filesystem.encode_url(address), headers=headers, allow_redirects=False)
                location = response.headers.get("Location")
                if response.status not in (301, 302, 303, 307, 308) or not location:
                    return response
                response.close()
                was_local, address = is_loopback(address), urljoin(address, location)
                refuse_url(address, schemes, "redirected", Lasting)
                if is_loopback(address) and not was_local:  # services here trust whoever asks from here
                    raise Lasting("redirected to this machine; name the right URL in the card")
    except TimeoutError as error:
        raise Passing(f"no answer within {storage.stall_seconds:g} s") from error
    raise Lasting(f"redirected more than {MAX_REDIRECTS} times; name the right URL in the card")


def _range_of(response: aiohttp.ClientResponse, start: int, end: int) -> tuple[int, int]:
    """(bytes in the answer, bytes of the whole object), where the answer is the range that was asked for.

    Raises:
        Passing | Lasting: it is something else.
    """
    _refuse_status(response)
    if response.content_type == "text/html":
        raise Passing("the server sent a web page (text/html) and not the shard")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Lasting("the server compresses on the way; have it send tars as they are")
    length = response.headers.get("Content-Length")
    if response.status == 200:
        # a whole object in answer to a range that covers it is allowed
        if start == 0 and length == str(end) and end > 1:
            return end, end
        raise Lasting("the server ignores Range; use one that supports it, or data.order: streaming")
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or (int(match[1]), int(match[2]) + 1) != (start, end):
        raise Passing(f"Content-Range {response.headers.get('Content-Range')!r} in answer to {start}-{end - 1}")
    if length is not None and length != str(end - start):
        raise Passing(f"Content-Length {length} for {end - start} bytes")
    return end - start, int(match[3])


def _refuse_status(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status in (200, 206):
        return
    said = f"status {status} {response.reason or ''}".strip()
    if status >= 500 or status in RETRY_STATUS:
        raise Passing(said)
    remedies = {
        401: "give credentials, or data.storage.s3_anonymous for a public bucket",
        403: "check credentials and rights, or data.storage.s3_anonymous for a public bucket",
        404: "correct the URL in dataset.yaml or restore the shard",
        410: "correct the URL in dataset.yaml or restore the shard",
        416: "it is empty or shorter than it was; restore it",
    }
    raise Lasting(f"{said}; {remedies.get(status, 'ask who runs the server')}")


async def _address(storage: Storage, url: str) -> str:
    """The URL to ask: itself, or for s3 a signed request (one for each try, so that none grows old)."""
    if not url.startswith("s3:"):
        return url if url.isascii() else quote(url, safe="%:/?#[]@!$&'()*+,;=~")
    filesystem = _filesystem(os.getpid(), "s3", storage.s3_endpoint, storage.s3_anonymous)
    try:
        signed: str = await filesystem._url(url, expires=SIGNATURE_SECONDS)
    except Exception as error:  # botocore's, such as NoCredentialsError; imported by s3fs alone
        raise Lasting(f"{_one_line(error)}; give credentials, or data.storage.s3_anonymous=true") from error
    return signed


@functools.lru_cache(maxsize=8)
def _filesystem(process: int, scheme: str, endpoint: str | None, anonymous: bool) -> Any:
    """Fsspec's filesystem of this process; sessions do not survive a fork."""
    if scheme == "https":
        # the limits of one request are set where it is made; proxies and .netrc come from the environment
        options = {"timeout": aiohttp.ClientTimeout(total=None), "trust_env": True, "auto_decompress": False}
        return fsspec.filesystem("https", client_kwargs=options, encoded=True, skip_instance_cache=True)
    try:
        return fsspec.filesystem(
            "s3", endpoint_url=endpoint, anon=anonymous, cache_regions=endpoint is None, skip_instance_cache=True
        )
    except ImportError as error:
        raise ConfigError("s3: shards on s3 need one more package; pip install 'multimodal-pretrain[s3]'") from error


@functools.lru_cache(maxsize=8)
def _cache(storage: Storage) -> ChunkCache:
    return ChunkCache(cache_folder(storage.cache), storage.cache_bytes)


def _one_line(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientResponseError):
        return "the server's answer is no proper HTTP"  # its own text would quote the bytes
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
