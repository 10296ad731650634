"""What `train.keep_best` means among the results of a run: one figure of one evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean
from mmpretrain.data.labels import Labels
from mmpretrain.report.wording import lower_is_better

ONE_CLASS = ("acc1", "acc5", "mean_per_class_recall")
"""Figures of a head that names one class a row."""


def value_of(records: Sequence[dict[str, Any]], wanted: str) -> float:
    """The value of SPLIT/METRIC, or SPLIT/HEAD/METRIC, among the results of an evaluation.

    Raises:
        ConfigError: none gives it, or several do; names those that there are.
    """
    found: dict[str, list[float]] = {}
    for record in records:
        splits = (record["split"], f"{record['dataset']}:{record['split']}")
        parts = [f"{split}/{which}" for split in splits for which in ("", *(f"{name}/" for name in names_in(record)))]
        for metric, figure in record["metrics"].items():
            for part in dict.fromkeys(parts):
                found.setdefault(f"{part}{metric}", []).append(figure["value"])
    values = found.get(wanted, [])
    if len(values) == 1:
        return float(values[0])
    error = ConfigError(f"train.keep_best: no evaluation gives {wanted}{did_you_mean(wanted, found)}")
    if values:
        metric = wanted.rpartition("/")[2]
        clear = [name for name, own in found.items() if len(own) == 1 and ":" not in name]
        others = [name for name in clear if name.endswith(f"/{metric}")]
        error = ConfigError(f"train.keep_best: {len(values)} evaluations give {wanted}; use {' or '.join(others)}")
    error.on_every_rank = True
    raise error


def names_in(record: dict[str, Any]) -> list[str]:
    """What tells an evaluation from others of its split: its head, or its task."""
    return list(dict.fromkeys([record.get("head") or record["task"], record["task"]]))


def is_better(metric: str, value: float, best: float) -> bool:
    """Losses and ranks are better when they are lower."""
    name = metric.rpartition("/")[2]
    return value < best if lower_is_better(name) else value > best


def refuse_best_of_one_class(wanted: str | None, chosen: Sequence[Any], labels: Mapping[str, Labels]) -> None:
    """The share of right classes, where a row may have several: said before the first step.

    Raises:
        ConfigError: names the figure to take instead.
    """
    split, _, metric = (wanted or "").rpartition("/")
    asked = [each for each in chosen if each.split.rpartition(":")[2] == split.partition("/")[0].rpartition(":")[2]]
    heads = [each.head for each in asked if each.kind == "classification"]
    if metric in ONE_CLASS and heads and len(heads) == len(asked) and all(labels[head].several for head in heads):
        raise ConfigError(
            f"train.keep_best: {heads[0]} names several classes a row and has no {metric}; use {split}/mAP"
        )
