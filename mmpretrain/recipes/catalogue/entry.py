"""One model of the table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TASKS = {
    "contrastive": "retrieval",
    "sigmoid": "retrieval",
    "distillation": "retrieval",
    "matching": "matching",
    "captioning": "captions",
    "masked_language": "hidden words",
    "image_masked_language": "hidden words",
    "next_sentence": "next sentence",
    "causal_language": "next words",
    "masked_image": "pictures alone",
    "views": "pictures alone",
    "classification": "classes",
    "question_answering": "answers",
    "answer_writing": "answers",
    "segmentation": "masks",
}
"""What a model can do once it has learned an objective; others teach it nothing that is asked of it."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """The figure that a run comes down to."""

    task: str
    on: str
    """DATASET:SPLIT."""
    metrics: list[str]
    """Whose mean it is."""
    value: float
    low: float
    high: float
    """Ends of the 95 % interval."""
    chance: float
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Medians on one machine, in milliseconds for a batch."""

    image: dict[str, float] = field(default_factory=dict)
    """By the number of rows."""
    text: dict[str, float] = field(default_factory=dict)
    machine: str = ""
    processor: str
    threads: int
    date: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a model without loading its weights; None and empty: not known."""

    name: str
    """What commands take: a config's name, or a folder."""
    place: str = ""
    """The folder that it was found by, under which rows stand together."""
    kind: str
    """model, config, run, open_clip, onnx, huggingface."""
    state: str = ""
    """How far a run has got, or what is wrong with it."""
    modality: str = ""
    tasks: list[str] = field(default_factory=list)
    parameters: int | None = None
    parts: dict[str, int] = field(default_factory=dict)
    """Parameters by part."""
    megabytes: float | None = None
    """Of the weights on disk, without the optimizer's state."""
    pixels: int | None = None
    """Side of the pictures that it sees."""
    tokens: int | None = None
    """Longest text."""
    languages: list[str] = field(default_factory=list)
    """Of the texts that it learned from, as their cards say."""
    licences: list[str] = field(default_factory=list)
    """Of the data that it learned from."""
    weights_licence: str = ""
    """As the card beside the weights says; empty: it is for their owner to say."""
    score: Score | None = None
    latency: Latency | None = None


def tasks_of(kinds: Iterable[str]) -> list[str]:
    """What objectives enable, each once; whoever finds pictures by texts also finds classes by their names."""
    found = [TASKS[kind] for kind in kinds if kind in TASKS]
    more = ["zero-shot"] if "retrieval" in found else []
    return list(dict.fromkeys([*found, *more]))


def each_once(found: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for name in found if name))


def size_of(files: Sequence[Path]) -> float | None:
    """In MB; None where there is no file."""
    return sum(file.stat().st_size for file in files) / 1e6 if files else None


def first_line(error: Exception) -> str:
    """What is wrong, for a cell."""
    return str(error).partition("\n")[0] or type(error).__name__
