"""How shards behind URLs are read, and which URLs a config allows.

A card is data from somewhere else, so what it names never reaches a shell, an environment variable or a library
that picks a protocol by itself: the scheme is looked up here, and anything that is not listed is refused.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import apply_overrides, build, settings

Scheme = Literal["file", "https", "s3", "http"]

_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\]")
MAX_URL = 8_192


@settings
class Storage:
    """How shards behind URLs are read. Local shards need none of it."""

    schemes: tuple[Scheme, ...] = ("file", "https", "s3")
    """Where shards may come from. `http` has neither secrecy nor proof of origin; without it here it is allowed to
    this machine alone."""
    cache: str | None = None
    """Folder for chunks of remote shards; None: mmpretrain/chunks in $XDG_CACHE_HOME or ~/.cache."""
    cache_bytes: Annotated[int, Field(ge=0)] = 16_000_000_000
    """Most bytes that the folder holds, over all processes; the chunks unused for longest go first. An order that
    shuffles within 64 blocks wants some 200 chunks. 0 keeps nothing and fetches each member by itself."""
    chunk_bytes: Annotated[int, Field(ge=65_536)] = 8_388_608
    """What one request fetches, and what one entry of the cache holds; a multiple of 64 KiB."""
    deadline_seconds: Annotated[float, Field(gt=0)] = 120.0
    """Wall-clock limit for one chunk, all its tries together."""
    stall_seconds: Annotated[float, Field(gt=0)] = 10.0
    """An answer that brings less than `min_rate` over this long is cut off and asked for again."""
    min_rate: Annotated[float, Field(gt=0)] = 20_000.0
    """Bytes a second that a transfer has to keep up; a socket timeout would let one byte a minute pass."""
    tries: Annotated[int, Field(gt=0)] = 6
    """Requests in a row that may fail without a single new byte."""
    backoff_seconds: Annotated[float, Field(ge=0)] = 0.5
    """Pause before the second try; doubled before each further one, at most 30 s."""
    s3_endpoint: str | None = None
    """URL of a server that speaks S3; None: Amazon's, or what AWS_ENDPOINT_URL says."""
    s3_anonymous: bool = False
    """Ask without credentials, for public buckets."""

    def __post_init__(self) -> None:
        if self.chunk_bytes % 65_536:
            raise ValueError(f"chunk_bytes: {self.chunk_bytes} is no multiple of 65536")
        if self.s3_endpoint is not None:
            refuse_url(self.s3_endpoint, ("https", "http"), "s3_endpoint", ValueError)


def build_storage(pairs: Sequence[str]) -> Storage:
    """Settings from `KEY=VALUE` pairs, as commands take them.

    Raises:
        ConfigError: an unknown key, or a value that does not fit; a line each.
    """
    try:
        return build(Storage, apply_overrides({}, pairs), "storage")
    except ConfigError as error:
        raise ConfigError(
            "\n".join(f"--storage {line.removeprefix('storage: ')}" for line in str(error).splitlines())
        ) from error


def refuse_url(url: str, schemes: tuple[str, ...], where: str, kind: type[Exception] = ConfigError) -> str:
    """The scheme of a URL that may be used.

    Raises:
        kind: the scheme is not allowed, or the URL is malformed.
    """
    scheme = url.partition(":")[0].lower()
    if scheme not in schemes and not (scheme == "http" and is_loopback(url)):
        allowed = ", ".join(schemes)
        remedy = (
            "add http to data.storage.schemes, or serve it over https"
            if scheme == "http"
            else "download it, or write ./ before a file name with a colon"
        )
        raise kind(f"{where}: scheme {scheme!r} is none of data.storage.schemes ({allowed}); {remedy}")
    try:
        parts = urlsplit(url)
        whole = (scheme == "file" or parts.hostname) and url.lower().startswith(f"{scheme}://")
        _ = parts.port  # parsed on access
    except ValueError as error:
        raise kind(f"{where}: not a URL: {error}") from error
    if not whole or _UNPRINTABLE.search(url) or len(url) > MAX_URL:
        raise kind(f"{where}: not a URL such as https://host/folder")
    return scheme


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
