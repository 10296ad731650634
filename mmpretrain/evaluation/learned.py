"""Vectors and classes to learn from, and others to be asked about: what a probe and few-shot methods share.

Suffixes: N rows, D channels, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.evaluation.base import OfSplit
from mmpretrain.evaluation.features import Embedder, Vectors
from mmpretrain.evaluation.splits import SeenSplit


@settings
class Learns(OfSplit):
    """Settings of what learns from vectors of the run, which itself stays as it is."""

    train_split: str | None = None
    """Split to learn from, called as `split` is; None: train of the same dataset."""
    vectors: Vectors | Literal["best"] = "best"
    """features: the space that pictures share with texts; image: what the image tower pools; best: features where the
    run has them."""

    def __post_init__(self) -> None:
        if self.learned == self.split:
            raise ValueError(f"train_split: {self.split} is what is asked about; learn from another split")

    @property
    def learned(self) -> str:
        """The split to learn from."""
        dataset, colon, _ = self.split.rpartition(":")
        return self.train_split or f"{dataset}{colon}train"

    @property
    def splits(self) -> tuple[str, ...]:
        return (self.split, self.learned)

    def vectors_of(self, model: Embedder) -> Vectors:
        """Which vectors of a run."""
        if self.vectors != "best":
            return self.vectors
        return "features" if model.has_features else "image"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Rows that have one class."""

    rows: list[int]
    """Their places in the split."""
    vector_ND: np.ndarray
    """fp64."""
    label_N: np.ndarray
    group_N: np.ndarray
    """Equal for equal pictures."""
    keys: list[str]
    """Of all samples of the split."""


def labelled_rows(split: SeenSplit, classes: Sequence[str]) -> Labelled:
    """The rows of a split that have one of some classes.

    Raises:
        ConfigError: none has.
    """
    place = {name: number for number, name in enumerate(classes)}
    place_of = np.array([place.get(name, -1) for name in split.classes] + [-1])
    label_N = place_of[split.labels_N.numpy()]  # -1, no class, is the last one
    rows = np.flatnonzero(label_N >= 0)
    if not len(rows):
        raise ConfigError(
            f"evaluation: no sample of {split.dataset} has one of the {len(classes)} classes; name the field in "
            "dataset.yaml (`label`), or choose another train_split"
        )
    return Labelled(
        rows=rows.tolist(),
        vector_ND=split.vector_ND.double().numpy()[rows],
        label_N=label_N[rows],
        group_N=split.image_group_N.numpy()[rows],
        keys=split.keys,
    )


def not_learned(learned: Labelled, asked: Labelled, classes: Sequence[str]) -> list[str]:
    """Classes that are asked about and stand in nothing to learn from: they count as wrong."""
    missing = sorted(set(asked.label_N.tolist()) - set(learned.label_N.tolist()))
    if not missing:
        return []
    named = ", ".join(classes[c] for c in missing[:5])
    return [
        f"{len(missing)} of {len(classes)} classes have no example to learn from, such as {named}; their pictures "
        "count as wrong."
    ]


def require_scikit_learn(task: str) -> None:
    """Raises ConfigError: it is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f'{task}: needs scikit-learn; pip install -e ".[eval]"') from error
