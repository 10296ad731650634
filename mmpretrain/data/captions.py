"""From the bytes of a caption to clean text, in bounded time whatever the bytes are."""

import codecs
import re
import unicodedata
from typing import Annotated

from pydantic import Field

from mmpretrain.core.settings import settings
from mmpretrain.data.faults import BadSample

# C0 and C1 controls but for tab and line ends, byte-order marks, and lone surrogates
_UNWANTED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ud800-\udfff]")


@settings
class CaptionLimits:
    """What a caption may be."""

    max_bytes: Annotated[int, Field(ge=16)] = 16_384
    """Longer captions are cut here, before anything looks at them; tokenizers keep far less."""
    encoding: str = "utf-8"
    """Tried where UTF-8 fails, such as cp1252; utf-8 itself counts such captions as faults."""

    def __post_init__(self) -> None:
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise ValueError(f"encoding: Python knows no {self.encoding!r}; use utf-8, cp1252, latin-1, ...") from error


def decode_caption(content: bytes, limits: CaptionLimits | None = None) -> str:
    """A caption as NFC text without control characters, byte-order marks and outer spaces.

    Raises:
        BadSample: not text in the allowed encoding, or nothing is left.
    """
    limits = limits or CaptionLimits()
    return clean_caption(_to_text(cut(content, limits.max_bytes), limits.encoding))


def clean_caption(text: str) -> str:
    """Text as NFC without control characters, byte-order marks, lone surrogates and outer spaces.

    Raises:
        BadSample: nothing is left.
    """
    text = unicodedata.normalize("NFC", _UNWANTED.sub("", text)).strip()
    if not text:
        raise BadSample("empty_caption", "no text")
    return text


def cut(content: bytes, length: int) -> bytes:
    """At most `length` bytes, not ending inside a UTF-8 character."""
    if len(content) <= length:
        return content
    while length and content[length] & 0xC0 == 0x80:
        length -= 1
    return content[:length]


def _to_text(content: bytes, encoding: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        problem = f"byte 0x{content[error.start]:02x} at {error.start} is not UTF-8"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadSample("caption_encoding", problem) from error
