"""From the bytes of a caption to clean text, in bounded time whatever the bytes are."""

import codecs
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field

from mmpretrain.core.counter import name_to_int, seed_of
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


# -- several captions -------------------------------------------------------------------------------------


@settings
class CaptionChoice:
    """Which of a picture's captions a training step reads, where the card names several."""

    pick: Literal["first", "random"] = "first"
    """first: the caption member's, or the first of the languages below; random: any, drawn by position."""
    languages: list[str] = field(default_factory=list)
    """Languages to draw from, as the JSON member spells them; empty: all of them, or where pick is first the caption
    member."""

    def choose(self, captions: Any, default: str, seed: int, position: int) -> str:
        """One caption of a list, or of a text or list for each language.

        Args:
            captions: what the card's field holds.
            default: the caption member's text, which stands in where nothing else is there.

        Raises:
            BadSample: the field holds something else.
        """
        if self.pick == "first" and not self.languages:
            return default
        found = list(all_captions(captions, self.languages))
        if not found:
            return default
        row = seed_of(_CHOICE, seed, position) % len(found) if self.pick == "random" else 0
        return found[row]


_CHOICE = name_to_int("caption")


def all_captions(captions: Any, languages: Sequence[str], depth: int = 3) -> Iterator[str]:
    """Every caption of a list, or of a text or list for each language.

    Args:
        languages: those to take; empty: all.

    Raises:
        BadSample: something else is among them.
    """
    if not depth:
        raise BadSample("captions", "lists in lists in lists")
    if isinstance(captions, str):
        yield captions
    elif isinstance(captions, list):
        for caption in captions:
            yield from all_captions(caption, languages, depth - 1)
    elif isinstance(captions, dict):
        for language in languages or captions:
            yield from all_captions(captions.get(language, []), (), depth - 1)
    else:
        raise BadSample("captions", f"texts were expected, found {type(captions).__name__}")
