"""A linear probe: logistic regression on what the run says of pictures, which itself stays as it is."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from mmpretrain.core.counter import counter_hash, name_to_int
from mmpretrain.core.distributed import on_main
from mmpretrain.core.settings import settings
from mmpretrain.evaluation.base import Found
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.labelled import labelled
from mmpretrain.evaluation.learned import Labelled, Learns, labelled_rows, not_learned, require_scikit_learn
from mmpretrain.evaluation.linear_probe import Probe, best_penalty

_HELD_OUT = name_to_int("probe.held_out")
PARTS = 5
"""One of so many parts of the pictures is held out to choose the penalty by."""


@settings
class ProbeTask(Learns):
    """Learn the classes of a split from its pictures' vectors, and name those of another."""

    kind: Literal["probe"] = "probe"
    val_split: str | None = None
    """Split to choose the penalty by, called as `split` is; None: a fifth of the pictures of train_split, from which
    the probe learns in the end as well."""
    penalties: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] = field(
        default_factory=lambda: [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]
    )
    """scikit-learn's C to choose from: the higher, the weaker the penalty."""
    steps: Annotated[int, Field(gt=0)] = 1000
    """Of L-BFGS at most."""

    @property
    def splits(self) -> tuple[str, ...]:
        return (*super().splits, *([self.val_split] if self.val_split else []))

    def build(self) -> "ProbeEvaluator":
        return ProbeEvaluator(self)


class Answer(NamedTuple):
    """What the main rank found out."""

    probability_NC: np.ndarray
    facts: dict[str, Any]
    remarks: list[str]


class ProbeEvaluator:
    """The figures of a classifier. Its penalty is chosen by right answers, never by the split that is asked about."""

    name = "probe"
    headline: Sequence[str] = ("acc1",)

    def __init__(self, settings: ProbeTask) -> None:
        require_scikit_learn(self.name)
        self.split = settings.split
        self._settings = settings

    def run(self, model: Embedder) -> Found:
        """Learn and ask.

        Raises:
            ConfigError: a split has no classes, or none of those that are asked about.
        """
        vectors = self._settings.vectors_of(model)
        split = model.seen(self.split, vectors)
        classes = split.classes
        asked = labelled_rows(split, classes)
        learned = labelled_rows(model.seen(self._settings.learned, vectors), classes)
        val = self._settings.val_split
        chosen_by = labelled_rows(model.seen(val, vectors), classes) if val else None
        answer = on_main(lambda: self._learn(learned, chosen_by, asked, len(classes)))
        return labelled(
            asked.rows,
            asked.keys,
            asked.label_N,
            answer.probability_NC,
            classes,
            {"vectors": vectors, "learned_from": self._settings.learned, "learned": len(learned.rows), **answer.facts},
            [*answer.remarks, *not_learned(learned, asked, classes)],
        )

    def _learn(self, learned: Labelled, chosen_by: Labelled | None, asked: Labelled, classes: int) -> Answer:
        own, steps = self._settings, self._settings.steps
        every = (learned.vector_ND, learned.label_N)
        if chosen_by is None:
            held = held_out(learned.group_N)
            parts = (learned.vector_ND[~held], learned.label_N[~held]), (learned.vector_ND[held], learned.label_N[held])
        else:
            parts = every, (chosen_by.vector_ND, chosen_by.label_N)
        penalty: float = own.penalties[0]
        rights: dict[float, float] = {}
        if len(own.penalties) > 1 and all(len(labels) for _, labels in parts):
            penalty, rights = best_penalty(*parts, classes, own.penalties, steps)
        probe = Probe(*every, classes, penalty, steps)
        remarks = [] if probe.converged else [f"The probe had not converged after {steps:,} steps; allow it more."]
        facts = {"C": penalty, "chosen_by": {f"{each:g}": round(right, 6) for each, right in rights.items()}}
        return Answer(probe.probabilities(asked.vector_ND), facts, remarks)


def held_out(group_N: np.ndarray) -> np.ndarray:
    """A fifth of the pictures, the same wherever they stand; equal pictures stay together. bool, N."""
    held_N: np.ndarray = counter_hash(_HELD_OUT, group_N) % np.uint64(PARTS) == 0
    return held_N
