"""Questions with the run's answers: how well each kind is answered, and pictures of right and wrong ones."""

from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record

TYPES = 12
"""Kinds of question on a page, the most frequent ones."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One question."""

    image: str
    question: str
    answer: str
    sure: str
    right: bool
    said: str
    """What people answered."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of question."""

    name: str
    value: str
    share: float
    count: str
    examples: list[Answered]


@dataclass(frozen=True, kw_only=True)
class AnsweredSplit:
    """One split."""

    label: str
    purpose: str
    kinds: list[Kind]


def build_answers(record: Record) -> list[AnsweredSplit] | None:
    """Every split with questions, None without any."""
    return [build_split(record, split) for split in record.shown("question_answering", "types")] or None


def build_split(record: Record, found: dict[str, Any]) -> AnsweredSplit:
    dataset = found.get("dataset", "")
    frequent = sorted(found["types"], key=lambda kind: -kind["n"])[:TYPES]
    return AnsweredSplit(
        label=record.label_of("question_answering", found),
        purpose=record.purpose(dataset, found["split"]),
        kinds=[build_kind(kind) for kind in frequent],
    )


def build_kind(found: dict[str, Any]) -> Kind:
    return Kind(
        name=found["type"] or "all questions",
        value=wording.percent(found["vqa_acc"]),
        share=found["vqa_acc"],
        count=wording.count(found["n"]),
        examples=[build_example(each) for each in found["examples"]],
    )


def build_example(found: dict[str, Any]) -> Answered:
    people = sum(count for _, count in found["answers"])
    said = [f"{answer} ({count})" if people > 1 else answer for answer, count in found["answers"]]
    return Answered(
        image=found["image"],
        question=found["caption"],
        answer=found["answer"],
        sure=wording.percent(found["probability"], 0),
        right=found["vqa_acc"] >= 0.5,
        said=", ".join(said),
    )
