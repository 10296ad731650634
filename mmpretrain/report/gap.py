"""Training batches beside held-out splits, by the same measure: how much more a run knows of what it learned from."""

import math
import statistics
from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record, place_of
from mmpretrain.report.panel import Panel, Series, figure_series

LAST = 0.1
"""Share of the steps, the last ones, over whose records training is averaged."""
LARGE = 0.1
"""Difference of accuracies from which a remedy is named."""
SAME_MEASURE = {"classification": "acc1", "segmentation": "pixel_accuracy", "held_out": "captioning_accuracy"}
"""Metrics of an evaluation that are what its objective tells of training batches; others say so themselves."""

OBJECTIVES = {"segmentation": "segmentation", "held_out": "captioning"}
"""What is asked by evaluations that do not say so."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """One head, or captioning, on training batches and on a held-out split."""

    name: str
    """Of the objective."""
    label: str
    """Of the split."""
    training: float
    held_out: dict[str, Any]
    """A figure with its interval."""

    @property
    def points(self) -> float:
        return self.training - float(self.held_out["value"])

    @property
    def short(self) -> str:
        """Beside the curves."""
        above = "above" if self.points >= 0 else "below"
        return f"training ends {100 * abs(self.points):.1f} points {above} {self.label}"

    @property
    def said(self) -> str:
        """In words."""
        head = self.name.replace("_", " ")
        first = (
            f"Accuracy of {head}: {wording.percent(self.training)} on training batches, as they are augmented, "
            f"{wording.percent(self.held_out['value'])} on {self.label}"
        )
        if self.training <= self.held_out["high"]:
            return f"{first}, no gap beyond the interval of {self.label}."
        gap = f"{first}, a gap of {100 * self.points:.1f} points"
        if self.points < LARGE:
            return f"{gap}."
        return (
            f"{gap}: much of it is learned by heart. More data or augmentation, adaptation: probe or lora, or "
            "train.patience narrow it."
        )


def build_gaps(record: Record) -> list[Gap]:
    """Of the newest results; nothing for a run whose training tells no accuracy."""
    gaps = []
    for task in wording.TASKS:
        for result in record.newest(task):
            figure, name = measured(result), objective_of(result)
            training = training_value(record, f"{name}/accuracy", result["step"])
            if figure is not None and training is not None:
                gaps.append(Gap(name=name, label=label_of(record, result), training=training, held_out=figure))
    return gaps


def first_gaps(record: Record) -> list[Gap]:
    """Of each objective on its first split, by which the run was steered."""
    found: dict[str, Gap] = {}
    for gap in build_gaps(record):
        found.setdefault(gap.name, gap)
    return list(found.values())


def gap_panel(record: Record, gap: Gap) -> Panel:
    """Curves of an objective over all splits and over training, with the gap in words."""
    name, lines = gap.name, {}
    for result in (each for task in wording.TASKS for each in record.newest(task) if objective_of(each) == name):
        own = [each for each in record.results if each["task"] == result["task"] and place_of(each) == place_of(result)]
        found = {each["step"]: figure for each in own if (figure := measured(each))}
        if found:
            lines[label_of(record, result)] = dict(sorted(found.items()))
    steps, values = training_curve(record, f"{name}/accuracy")
    return Panel(
        title=f"Accuracy of {name.replace('_', ' ')}, held out and in training",
        series=[
            *(figure_series(label, figures) for label, figures in lines.items()),
            Series(name="training batches", steps=steps, values=values),
        ],
        percent=True,
        from_zero=True,
        noisy=True,
        note=gap.short,
    )


def measured(result: dict[str, Any]) -> dict[str, Any] | None:
    """The figure of a result that is measured as training measures."""
    told = result.get("as_in_training") or result["metrics"].get(SAME_MEASURE.get(result["task"], ""))
    return told if told is None else dict(told)


def objective_of(result: dict[str, Any]) -> str:
    """The head that was asked, or captioning; empty where a result is of neither."""
    named = result.get("head") or result.get("settings", {}).get("head")
    return str(named or OBJECTIVES.get(result["task"], ""))


def label_of(record: Record, result: dict[str, Any]) -> str:
    return record.label(result["dataset"], result["split"])


def training_curve(record: Record, key: str) -> tuple[list[int], list[float]]:
    """(steps, values) of what metrics.jsonl tells."""
    lines = [line for line in record.metrics if isinstance(line.get(key), int | float) and math.isfinite(line[key])]
    return [line["step"] for line in lines], [float(line[key]) for line in lines]


def training_value(record: Record, key: str, step: int) -> float | None:
    """The mean over the last records up to a step."""
    steps, values = training_curve(record, key)
    before = [(each, value) for each, value in zip(steps, values, strict=True) if each <= step]
    last = [value for each, value in before if each > (1 - LAST) * step] or [value for _, value in before[-1:]]
    return statistics.fmean(last) if last else None
