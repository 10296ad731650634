"""What the labels mean that heads learn from, and what they meant when a checkpoint was written."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpretrain.core.errors import ConfigError
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.labels import Labels
from mmpretrain.data.training import TrainingData
from mmpretrain.heads.base import Head

LABELS = "labels.json"
"""In a checkpoint."""


def labels_of(objectives: Sequence[Any], data: TrainingData) -> dict[str, Labels]:
    """What the labels mean that each head learns from, by its name.

    Raises:
        ConfigError: its sources have different classes.
    """
    heads = [(place, each) for place, each in enumerate(objectives) if isinstance(each, Head)]
    return {head.called: labels_of_head(head, own_datasets(head, data), f"objectives.{place}") for place, head in heads}


def labels_of_head(head: Head, datasets: Sequence[Dataset], setting: str) -> Labels:
    """Of its sources; none where they differ and it needs none."""
    try:
        return Labels.of(datasets, setting)
    except ConfigError:
        if head.chooses:
            raise
        return Labels()


def own_datasets(head: Head, data: TrainingData) -> list[Dataset]:
    """What a head learns from."""
    named = dict(zip((part.name for part in data.settings.parts), data.datasets, strict=True))
    return [named[name] for name in head.sources or named]


def refuse_other_labels(folder: Path, labels: dict[str, Labels]) -> None:
    """Refuse classes that stand in another order than when the run began: numbers would mean something else.

    Raises:
        ConfigError: names the head.
    """
    for name, kept in kept_labels(folder).items():
        if labels.get(name, kept) != kept:
            raise ConfigError(
                f"{name}: the card names other classes than when {folder.parent.parent} began; restore them, or start "
                "anew with another run.folder=PATH"
            )


def kept_labels(folder: Path) -> dict[str, Labels]:
    """What the heads of a checkpoint choose among."""
    file = folder / LABELS
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {name: Labels.from_dict(labels) for name, labels in kept.items()}
