"""What every source format yields: records, and by name what it leaves out."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

Captions = list[str] | dict[str, list[str]]
"""Captions of one picture in their order, or for each language its captions; the first one trains."""


class Picture(Protocol):
    """Where the bytes of a picture are; hashable, small, and read in whichever process needs them."""

    @property
    def name(self) -> str:
        """What a person calls it: its path in the source."""

    def read(self, max_bytes: int) -> bytes:
        """The whole file.

        Raises:
            BadSample: it is missing, unreadable, too large, or outside the source.
        """


@dataclass(frozen=True, slots=True)
class Record:
    """One row, file or entry of a source, not yet looked at."""

    origin: str
    """Where a person finds it: `captions.csv:17`, `dogs/rex.txt`."""
    picture: Picture | None
    """None in a set of texts."""
    captions: Captions
    facts: dict[str, Any] = field(default_factory=dict)
    """Everything else that the source says of it; goes into the JSON member."""
    split: str = ""
    """The split that the source puts it in; empty where it says nothing."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row, file or entry that is not packed."""

    origin: str
    reason: str
    """Class of fault in snake_case, such as `missing_image`."""
    detail: str
    """One line for a person."""


class Source(Protocol):
    """A source format. Iterating reads no pictures and gives the same records in the same order every time."""

    @property
    def said(self) -> str:
        """What was found, one line: format, separator, encoding, columns."""

    @property
    def kind(self) -> str:
        """The format in a word or two, for the card."""

    @property
    def joins(self) -> bool:
        """Rows with the same picture are captions of one sample; False where each row is a sample, as a question."""

    @property
    def has_pictures(self) -> bool:
        """False for a set of texts, which is packed in one pass and never held in memory."""

    @property
    def label(self) -> str | None:
        """The fact that names the class of a sample."""

    def __iter__(self) -> Iterator[Record | LeftOut]: ...
