"""What requests may ask, field by field."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build, settings
from mmpretrain.serving.bodies import File
from mmpretrain.serving.refusal import Refused

T = TypeVar("T")
WIDEST = 16
"""Texts of a beam that a request may ask for."""
LIMITS = ("prompt", "most_tokens", "least_tokens", "blocked_ngram")
OPTIONS = (*LIMITS, "width", "penalty", "likeness", "temperature", "top_k", "top_p", "seed")
"""Of the ways of writing."""


@settings
class EmbeddingsRequest:
    """POST /v1/embeddings."""

    model: str = ""
    """By name; empty: the first that can."""
    input: list[Any] = field(default_factory=list)
    """Texts, and pictures as data URLs or files."""
    encoding_format: Literal["float", "base64"] = "float"
    """base64: of little-endian fp32."""


@settings
class ClassifyRequest:
    """POST /v1/classify."""

    model: str = ""
    """By name; empty: the first that can."""
    labels: list[str] = field(default_factory=list)
    """Classes of one's own; empty: those of a head."""
    templates: list[str] = field(default_factory=lambda: ["{}"])
    """Sentences in which {} stands for the label."""
    head: str = ""
    """By name; empty: the only one."""
    text: str = ""
    """For heads that read one beside the picture."""
    top: Annotated[int, Field(ge=1, le=1000)] = 10
    """Classes to answer with."""


@settings
class WritingRequest:
    """What every request has that makes a model write."""

    model: str = ""
    """By name; empty: the first that can."""
    how: Literal["greedy", "beam", "sample"] = "greedy"
    """How words are found; see `mmpretrain caption --help` for the others."""
    prompt: str | None = None
    """Words that every text begins with."""
    most_tokens: int | None = None
    """Longest text."""
    least_tokens: int | None = None
    """In front of the end."""
    blocked_ngram: int | None = None
    """No row of so many tokens is written twice."""
    width: Annotated[int, Field(ge=1, le=WIDEST)] | None = None
    """beam: texts written side by side."""
    penalty: float | None = None
    """beam: the higher, the longer the texts."""
    likeness: float | None = None
    """beam, captions: what it counts that picture and text are alike."""
    temperature: float | None = None
    """sample: below 1 likely words gain."""
    top_k: int | None = None
    """sample: from so many of the likeliest words."""
    top_p: float | None = None
    """sample: from the likeliest words of this probability."""
    seed: int | None = None
    """sample: of the draws."""

    def options(self) -> dict[str, Any]:
        """What was given."""
        return {name: getattr(self, name) for name in OPTIONS if getattr(self, name) is not None}


@settings
class CaptionRequest(WritingRequest):
    """POST /v1/caption."""


@settings
class AnswerRequest(WritingRequest):
    """POST /v1/answer."""

    question: str = ""
    """One, or several in `questions`."""
    questions: list[str] = field(default_factory=list)
    """Each is answered by itself."""
    heads: list[str] = field(default_factory=list)
    """By name; empty: every head that answers."""
    answers: Literal["written", "listed"] = "written"
    """Of a head that writes: word by word, or the likeliest of those that its card lists."""
    top: Annotated[int, Field(ge=1, le=100)] = 5
    """Answers to each question."""


@settings
class SearchRequest:
    """POST /v1/search."""

    model: str = ""
    """By name; empty: the first that can."""
    index: str = ""
    """By name; empty: the model's only one."""
    text: str = ""
    """What to look for; or a picture."""
    top: Annotated[int, Field(ge=1, le=500)] = 12
    """Pictures to answer with."""


@settings
class ExplainRequest:
    """POST /v1/explain."""

    model: str = ""
    """By name; empty: the first that can."""
    text: str = ""
    """What is looked for in the picture."""
    words: bool = True
    """A map of each word, too."""


def read(schema: type[T], tree: Mapping[str, Any]) -> T:
    """A request as its schema has it.

    Raises:
        Refused: everything that is wrong with it.
    """
    try:
        return build(schema, dict(tree), "body")
    except ConfigError as error:
        raise Refused(422, str(error)) from None


def take_image(tree: dict[str, Any], required: bool = True) -> bytes | None:
    """The picture of a request, which is no field of its schema.

    Raises:
        Refused: there is none.
    """
    given = tree.pop("image", None)
    if isinstance(given, File):
        return given.content
    if given is not None:
        raise Refused(422, "image: a data URL or a file was expected")
    if required:
        raise Refused(422, "image: needs a picture, as data:image/png;base64,... or as a file of a form")
    return None
