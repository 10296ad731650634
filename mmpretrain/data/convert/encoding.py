"""Which encoding a text file is in, decided by its bytes."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from mmpretrain.core.errors import ConfigError

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
ESCAPED = re.compile("[\udc80-\udcff]")
"""What errors="surrogateescape" makes of bytes that are not of the encoding."""
_CHUNK = 1 << 20
_NOT_IN_CP1252 = b"\x81\x8d\x8f\x90\x9d"


def sniff_encoding(path: Path) -> str:
    """utf-8-sig and utf-16 by their marks, utf-16-le and -be by their zeros, utf-8 where every byte fits, else cp1252;
    latin-1 where not even that fits. No file is refused: the user is told, and may say better.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if head.count(0) > len(head) / 4:
        return "utf-16-le" if head[1::2].count(0) > head[0::2].count(0) else "utf-16-be"
    if _is_utf8(_chunks(path)):
        return "utf-8"
    undefined = any(byte in chunk for chunk in _chunks(path) for byte in _NOT_IN_CP1252)
    return "latin-1" if undefined else "cp1252"


def check_encoding(name: str) -> str:
    """The encoding as it was given.

    Raises:
        ConfigError: Python knows none of this name.
    """
    try:
        codecs.lookup(name)
    except LookupError as error:
        raise ConfigError(f"--encoding: Python knows no {name!r}; use utf-8, utf-16, cp1252, shift_jis, ...") from error
    return name


def _is_utf8(chunks: Iterator[bytes]) -> bool:
    """Whether the characters beyond ASCII are far more often right than wrong; the wrong ones are named row by row."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    right = wrong = 0
    for chunk in chunks:
        text = decoder.decode(chunk)
        marks = len(ESCAPED.findall(text))
        wrong += marks
        right += len(text) - len(text.encode("ascii", "ignore")) - marks
    return right >= 10 * wrong


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
