"""Tables of results: the newest evaluation of each split, every figure with interval and chance."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record

SCALES = (0.05, 0.1, 0.25, 0.5, 1.0)
TITLES = {
    "retrieval": "Retrieval",
    "zero_shot": "Zero-shot classification",
    "held_out": "What the objectives ask",
    "segmentation": "Segmentation",
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A value against chance, as fractions of the bar's full length."""

    value: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric, as text and as a bar."""

    name: str
    value: str
    interval: str
    chance: str
    multiple: str
    queries: str
    bar: Bar | None
    """None for ranks and losses, which have no common scale with fractions."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rows of one direction."""

    title: str
    rows: list[Row]
    lax_rows: list[Row]
    """Metrics that forgive duplicates and ties: shown on demand, because other papers print them."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One evaluated split."""

    task: str
    title: str
    purpose: str
    facts: str
    full_length: str
    """What the full length of a bar stands for."""
    groups: list[Group]


def build_results(record: Record) -> list[Table] | None:
    """A table for each task and split, None before the first evaluation."""
    tables = [build_table(record, task, result) for task in TITLES for result in record.newest(task)]
    return tables or None


def build_table(record: Record, task: str, result: dict[str, Any]) -> Table:
    """The newest result of one split."""
    metrics, dataset, split = result["metrics"], result["dataset"], result["split"]
    full = bar_scale(figure["high"] for name, figure in metrics.items() if wording.is_share(name))
    directions = dict.fromkeys(wording.split_direction(name)[0] for name in metrics)
    return Table(
        task=task,
        title=f"{TITLES[task]} on {record.label(dataset, split)}",
        purpose=record.purpose(dataset, split),
        facts=_facts(result),
        full_length=wording.percent(full, 0),
        groups=[build_group(metrics, direction, full) for direction in directions],
    )


def build_group(metrics: dict[str, Any], direction: str, full: float) -> Group:
    """The metrics of one direction, in the order in which they were written."""
    own = {wording.split_direction(name)[1]: f for name, f in metrics.items() if name.startswith(direction)}
    rows = {name: build_row(name, figure, full) for name, figure in own.items()}
    return Group(
        title=wording.DIRECTIONS.get(direction, ""),
        rows=[row for name, row in rows.items() if not name.startswith("any_hit")],
        lax_rows=[row for name, row in rows.items() if name.startswith("any_hit")],
    )


def build_row(metric: str, figure: dict[str, Any], full: float) -> Row:
    """One figure as a person reads it."""
    return Row(
        name=wording.metric_name(metric),
        value=wording.figure_text(metric, figure["value"]),
        interval=wording.interval_text(metric, figure),
        chance=wording.figure_text(metric, figure["chance"]),
        multiple=wording.against_chance(metric, figure),
        queries=wording.count(figure["n"]),
        bar=build_bar(figure, full) if wording.is_share(metric) else None,
    )


def build_bar(figure: dict[str, Any], full: float) -> Bar:
    """A figure on a scale that ends at `full`."""
    parts = ("value", "low", "high", "chance")
    return Bar(**{part: min(1.0, max(0.0, figure[part] / full)) for part in parts})


def bar_scale(highs: Iterable[float]) -> float:
    """The shortest round scale that holds every interval, so that small figures stay readable."""
    highest = max(highs, default=1.0)
    return next((scale for scale in SCALES if highest <= scale), 1.0)


def _facts(result: dict[str, Any]) -> str:
    """Step, seed and galleries in a sentence or two."""
    sizes = [f"{name} {wording.count(size)}" for name, size in result.get("galleries", {}).items()]
    if len(sizes) > 1:
        searched = f"Galleries, searched apart and averaged: {', '.join(sizes)}."
    else:
        searched = f"Gallery: {sizes[0]}." if sizes else ""
    return f"{searched} Evaluated at step {wording.count(result['step'])}, seed {result['seed']}.".strip()
