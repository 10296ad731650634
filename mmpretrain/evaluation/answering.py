"""What a head answers to all questions of a split: chosen among its classes, or written word by word."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mmpretrain.core.settings import dump
from mmpretrain.evaluation.features import Embedder
from mmpretrain.heads.generation.write import Generation

Answers = Literal["written", "listed"]
WRITES = "answer_writing"
"""Kind of the heads that can do both; others choose."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An answer to each question."""

    said: list[str]
    sure_N: np.ndarray
    """Probability of each answer: of the written text, or among the classes."""
    classes: Sequence[str] | None
    """What could be said; None: anything."""
    facts: dict[str, Any] = field(default_factory=dict)


def answer_all(model: Embedder, split: str, head: str, answers: Answers, generation: Generation) -> Answered:
    """Every rank calls it."""
    if model.heads[head].kind == WRITES and answers == "written":
        said, sure_N = model.answer(split, head, generation)
        return Answered(said=said, sure_N=sure_N.numpy(), classes=None, facts={"generation": dump(generation)})
    predicted = model.predict(split, head)
    sure_N, place_N = model.heads[head].probabilities(predicted.columns[0].double()).max(dim=1)
    said = [predicted.classes[place] for place in place_N]
    return Answered(said=said, sure_N=sure_N.numpy(), classes=predicted.classes)
