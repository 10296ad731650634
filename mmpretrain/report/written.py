"""What the run writes: captions beside the true ones, and hidden words with its guesses."""

from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record


@dataclass(frozen=True, kw_only=True)
class WrittenSplit:
    """Samples of one split; each as the predictions file has it."""

    label: str
    purpose: str
    samples: list[dict[str, Any]]
    captions: bool
    """Whether captions were written."""
    pairs: bool
    """Whether words were hidden in pairs of passages."""
    words: str
    """How many hidden words were found again; empty where none were hidden."""


def build_written(record: Record) -> list[WrittenSplit] | None:
    """Every split with something written, None without any."""
    return [build_split(record, split) for split in record.shown("held_out", "samples")] or None


def build_split(record: Record, found: dict[str, Any]) -> WrittenSplit:
    samples, dataset = found["samples"], found.get("dataset", "")
    hidden = [word for sample in samples for word in sample.get("words", []) if "guess" in word]
    right = sum(word["guess"] == word["word"] for word in hidden)
    return WrittenSplit(
        label=record.label(dataset, found["split"]),
        purpose=record.purpose(dataset, found["split"]),
        samples=samples,
        captions=any("written" in sample for sample in samples),
        pairs=any("second" in word for sample in samples for word in sample.get("words", [])),
        words=f"{wording.count(right)} of {wording.count(len(hidden))} hidden words found again" if hidden else "",
    )
