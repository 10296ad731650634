"""What a server asks: models by name, behind one contract for runs and exports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

Ability = Literal["embeddings", "labels", "classes", "caption", "answer", "search", "explain"]
"""embeddings: vectors of texts and pictures; labels: any classes by their words; classes: those of a head."""
Answers = list[dict[str, Any]]
"""The best first."""


class Picture(NamedTuple):
    """Prepared, so that little memory waits for the model."""

    pixels_CHW: np.ndarray
    """uint8, 3 x size x size."""
    key: int
    """Of the file's bytes: what is drawn for the picture hangs on it."""


class Heat(NamedTuple):
    """Where a model looks for a text, or for a word of it."""

    text: str
    score: float
    overlay: bytes
    """PNG: the map in front of the picture."""


class Hit(NamedTuple):
    """A picture that was found."""

    place: int
    """In the index."""
    score: float
    """Cosine."""
    facts: dict[str, Any]
    """key, caption, and what else stands beside it."""


@dataclass(frozen=True, kw_only=True)
class HeadFacts:
    """A head that can be asked."""

    name: str
    kind: str
    """classification, question_answering or answer_writing."""
    classes: tuple[str, ...]
    several: bool = False
    """A picture may have several classes."""
    reads_text: bool = False
    """A classifier that looks at a text, too."""
    sees: bool = True
    """It looks at the picture."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of a model before it is asked."""

    name: str
    """By which requests name it."""
    folder: str
    kind: Literal["run", "onnx"]
    step: int | None
    digest: str
    """Of the checkpoint, or of the exported files."""
    learned: tuple[str, ...]
    """Objectives by name."""
    can: frozenset[Ability]
    size: int
    """Side of the pictures that it sees; 0: none."""
    width: int
    """Of its vectors; 0: it has none."""
    context: int
    """Longest text in tokens."""
    parameters: int | None = None
    heads: tuple[HeadFacts, ...] = ()
    ways: tuple[str, ...] = ()
    """Of writing."""
    more: Mapping[str, Any] = field(default_factory=dict)


class Index(Protocol):
    """A gallery that was embedded by a model."""

    name: str
    count: int
    source: str
    problem: str
    """Why it cannot be asked, with the command that makes it again; empty: it can."""

    def nearest(self, vector_E: np.ndarray, count: int) -> list[Hit]:
        """The most alike, the best first."""

    def thumbnail(self, place: int, side: int) -> bytes:
        """A small PNG.

        Raises:
            BadSample: the picture is not where it was.
        """


class Served(Protocol):
    """A model at work; every method but `prepare` is called by the one thread that does all model work."""

    @property
    def facts(self) -> ModelFacts: ...
    @property
    def indexes(self) -> Mapping[str, Index]: ...
    def prepare(self, content: bytes, max_pixels: int) -> Picture:
        """From a file's bytes; any thread calls.

        Raises:
            BadSample: no picture, or one beyond the limits.
        """

    def writing(self, way: str, options: Mapping[str, Any], heads: Sequence[HeadFacts]) -> Any:
        """A way of writing, which `caption` or, of heads, `answer` take; hashable, equal ones are done together.

        Raises:
            ConfigError: it does not fit.
        """

    def tokens(self, texts: Sequence[str]) -> int:
        """How many tokens the texts are."""

    def embed_pictures(self, pictures: Sequence[Picture]) -> np.ndarray:
        """fp32, of unit length, a row each."""

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """fp32, of unit length, a row each."""

    def scale(self) -> float:
        """The inverse temperature of its vectors."""

    def classify(self, head: str, rows: Sequence[tuple[Picture | None, str]]) -> np.ndarray:
        """Probabilities of the head's classes for each picture with its text."""

    def caption(self, pictures: Sequence[Picture], writing: Any) -> list[Answers]:
        """What is written about each: `caption` and `log_probability`, several of a beam."""

    def answer(self, head: str, rows: Sequence[tuple[Picture | None, str]], writing: Any | None) -> list[Answers]:
        """To each question about a picture: `answer` and `probability`; without a way of writing from the listed."""

    def explain(self, picture: Picture, text: str, words: bool) -> list[Heat]:
        """Of the text, and behind it of each of its words."""
