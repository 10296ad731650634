"""Runs side by side on one page: figures, paired differences, curves over each other, and what was not the same."""

import csv
import io
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmpretrain import __version__
from mmpretrain.core.settings import flatten, parse_yaml
from mmpretrain.report import wording
from mmpretrain.report.curves import Drawing, drawings, series
from mmpretrain.report.folder import Record
from mmpretrain.report.page import TEMPLATES, environment
from mmpretrain.report.panel import Panel, Series, drawable, figure_series
from mmpretrain.report.results import LAX
from mmpretrain.report.verdict import MEASURES, headline_names, mean_figure

QUALITIES = ("question_answering", "classification", "captioning", "segmentation", "retrieval", "zero_shot", "probe")
COLUMNS = (
    "kind",
    "runs",
    "against",
    "task",
    "split",
    "metric",
    "value",
    "low",
    "high",
    "chance",
    "n",
    "p",
)
"""Of the CSV file: a row a figure of a run, and a row a difference between two sides."""
SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True)
class Side:
    """Runs of one recipe, usually one a seed."""

    label: str
    runs: list[Record]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A figure of one side."""

    value: str
    range: str
    """Its interval, or its spread over runs."""
    best: bool


@dataclass(frozen=True, kw_only=True)
class FigureRow:
    """One metric of one split, a cell a side; None where a side was not asked."""

    metric: str
    chance: str
    cells: list[Cell | None]


@dataclass(frozen=True, kw_only=True)
class FigureTable:
    """One split of one task."""

    title: str
    rows: list[FigureRow]


@dataclass(frozen=True, kw_only=True)
class DifferenceRow:
    """One paired difference; fractions of the axis, whose middle is no difference."""

    where: str
    metric: str
    said: str
    p: str
    low: float
    value: float
    high: float
    clear: bool
    """Whether the interval lies on one side of no difference."""


@dataclass(frozen=True, kw_only=True)
class DifferenceTable:
    """The first side against another one."""

    title: str
    verdict: str
    rows: list[DifferenceRow]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is not the same in all runs."""

    name: str
    values: list[str]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The whole page."""

    labels: list[str]
    run_labels: list[str]
    figures: list[FigureTable]
    differences: list[DifferenceTable]
    curves: list[Drawing]
    settings: list[Setting]
    environment: list[Setting]
    same: str
    """What is equal in all runs, of the environment."""


def render(sides: Sequence[Side], records: Sequence[dict[str, Any]]) -> str:
    """The page as text.

    Args:
        records: paired differences, as `mmpretrain compare --json` prints them.
    """
    runs = list(named_runs(sides))
    environments = [environment_of(record) for _, record in runs]
    comparison = Comparison(
        labels=[side.label for side in sides],
        run_labels=[label for label, _ in runs],
        figures=list(build_figures(sides)),
        differences=list(build_differences(records)),
        curves=drawings(list(build_panels(runs))),
        settings=build_settings([flatten(parse_yaml(record.config) or {}) for _, record in runs]),
        environment=build_settings(environments),
        same=", ".join(f"{name} {value}" for name, value in environments[0].items() if all_hold(environments, name)),
    )
    return (
        environment()
        .get_template("comparison.html")
        .render(content=comparison, style=(TEMPLATES / "style.css").read_text(encoding="utf-8"), version=__version__)
    )


def table(sides: Sequence[Side], records: Sequence[dict[str, Any]]) -> str:
    """The same figures and differences as CSV, fractions as fractions."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for label, record in named_runs(sides):
        for task, result in newest_of(record):
            for metric, figure in result["metrics"].items():
                place = {"task": task, "split": record.label_of(task, result), "metric": metric}
                writer.writerow({"kind": "figure", "runs": label, **place, **figure})
    for each in records:
        found = {**each["difference"], "chance": "", "p": "" if each.get("p") is None else each["p"]}
        sides_told = {"runs": " ".join(each["runs"]), "against": " ".join(each["against"])}
        place = {name: each[name] for name in ("task", "split", "metric")}
        writer.writerow({"kind": "difference", **sides_told, **place, **found})
    return buffer.getvalue()


def named_runs(sides: Sequence[Side]) -> Iterator[tuple[str, Record]]:
    """Every run, by its name, or by that of its side where it is alone there."""
    for side in sides:
        for record in side.runs:
            yield (side.label if len(side.runs) == 1 else record.name), record


def newest_of(record: Record) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((task, result) for task in wording.TASKS for result in record.newest(task))


def build_figures(sides: Sequence[Side]) -> Iterator[FigureTable]:
    """A table for each split that some side was asked about."""
    found: dict[tuple[str, str], dict[str, list[list[dict[str, Any]]]]] = {}
    for number, side in enumerate(sides):
        for record in side.runs:
            for task, result in newest_of(record):
                rows = found.setdefault((task, record.label_of(task, result)), {})
                for metric, figure in result["metrics"].items():
                    rows.setdefault(metric, [[] for _ in sides])[number].append(figure)
    for (task, label), rows in found.items():
        shown = [row(metric, figures) for metric, figures in rows.items() if not in_brief(metric).startswith(LAX)]
        yield FigureTable(title=f"{wording.TASKS[task]} on {label}", rows=shown)


def in_brief(metric: str) -> str:
    return wording.split_direction(metric)[1]


def row(metric: str, figures: list[list[dict[str, Any]]]) -> FigureRow:
    """One metric; the best side is marked where there are several."""
    means = [statistics.fmean(f["value"] for f in own) if own else None for own in figures]
    known = [mean for mean in means if mean is not None]
    best = (min if wording.lower_is_better(metric) else max)(known)
    chances = [f["chance"] for own in figures for f in own]
    return FigureRow(
        metric=told(metric),
        chance="" if wording.is_difference(metric) else wording.figure_text(metric, chances[0]),
        cells=[
            None if mean is None else cell(metric, mean, own, mean == best and known.count(best) < len(known))
            for mean, own in zip(means, figures, strict=True)
        ],
    )


def cell(metric: str, mean: float, figures: list[dict[str, Any]], best: bool) -> Cell:
    if len(figures) == 1:
        reach = wording.interval_text(metric, figures[0])
    else:
        reach = f"± {wording.figure_text(metric, statistics.stdev(f['value'] for f in figures))}"
    return Cell(value=wording.figure_text(metric, mean), range=reach, best=best)


def told(metric: str) -> str:
    """A metric with its direction in front."""
    direction, name = wording.split_direction(metric)
    if metric.startswith("mean_R@"):
        return f"both directions, {metric.removeprefix('mean_')}"
    return f"{wording.DIRECTIONS[direction]}, {wording.metric_name(name)}" if direction else wording.metric_name(metric)


def build_differences(records: Sequence[dict[str, Any]]) -> Iterator[DifferenceTable]:
    """A table for each side that the first one is held against."""
    pairs = dict.fromkeys((tuple(each["runs"]), tuple(each["against"])) for each in records)
    for ours, theirs in pairs:
        own = [each for each in records if (tuple(each["runs"]), tuple(each["against"])) == (ours, theirs)]
        reach = max((abs(each["difference"][end]) for each in own for end in ("low", "high", "value")), default=0) or 1
        title = f"{', '.join(ours)} against {', '.join(theirs)}"
        yield DifferenceTable(
            title=title,
            verdict=verdict(own, ", ".join(ours), ", ".join(theirs)),
            rows=[line(each, reach) for each in own],
        )


def verdict(records: Sequence[dict[str, Any]], ours: str, theirs: str) -> str:
    """The first thing to know: the broadest measure of searches where there are some, else the first record."""
    broad = [each for each in records if each["metric"] == "mean_R@10"] or records
    each = next((one for one in broad if one["split"] in ("val", "validation", "dev")), broad[0])
    value, name = each["difference"], f"{told(each['metric'])} on {each['split']}"
    if value["low"] <= 0 <= value["high"]:
        return f"{ours} and {theirs} cannot be told apart: {name}, {difference_text(each)}."
    better = (value["value"] > 0) != wording.lower_is_better(each["metric"])
    return f"{ours} is {'better' if better else 'worse'} than {theirs}: {name}, {difference_text(each)}."


def difference_text(each: dict[str, Any]) -> str:
    """`+3.2 points, 1.0 to 5.1`."""
    value = each["difference"]
    if wording.is_share(each["metric"]):
        return f"{100 * value['value']:+.1f} points, {100 * value['low']:+.1f} to {100 * value['high']:+.1f}"
    return f"{value['value']:+.3f}, {value['low']:+.3f} to {value['high']:+.3f}"


def line(each: dict[str, Any], reach: float) -> DifferenceRow:
    value, p = each["difference"], each.get("p")
    low, middle, high = ((1 + value[end] / reach) / 2 for end in ("low", "value", "high"))
    return DifferenceRow(
        where=f"{wording.TASKS[each['task']]}, {each['split']}",
        metric=told(each["metric"]),
        said=difference_text(each),
        p="" if p is None else (f"{p:.4f}" if p >= 1e-4 else "< 0.0001"),
        low=low,
        value=middle,
        high=high,
        clear=not value["low"] <= 0 <= value["high"],
    )


def build_panels(runs: Sequence[tuple[str, Record]]) -> list[Panel]:
    """The curves that tell runs apart, one line a run."""
    kinds = (("Loss", "loss", True), ("Gradient norm", "grad_norm", True), ("Learning rate", "rate", False))
    panels = [
        Panel(title=title, series=lines_of(runs, key), noisy=noisy, positive=noisy, from_zero=not noisy)
        for title, key, noisy in kinds
    ]
    speed = Panel(title="Throughput, samples/s", series=lines_of(runs, "samples_per_s"), from_zero=True)
    return drawable([panels[0], *quality_panels(runs), *panels[1:], speed])


def lines_of(runs: Sequence[tuple[str, Record]], key: str) -> list[Series]:
    return [series(record.metrics, key, label) for label, record in runs]


def quality_panels(runs: Sequence[tuple[str, Record]]) -> Iterator[Panel]:
    """What a task comes down to, over steps: a panel for each split that several runs were asked about on the way."""
    for task in QUALITIES:
        found: dict[str, list[Series]] = {}
        for label, record in runs:
            names = headline_names(record, task)
            for newest in record.newest(task):
                split = record.label_of(task, newest)
                own = {r["step"]: r for r in record.results if r["task"] == task and record.label_of(task, r) == split}
                figures = {
                    step: mean_figure(own[step], names) for step in sorted(own) if names[0] in own[step]["metrics"]
                }
                if figures:
                    # as many shades as runs would cover each other
                    found.setdefault(split, []).append(replace(figure_series(label, figures), chance=None))
        for split, lines in found.items():
            yield Panel(
                title=f"{MEASURES[task][0]}, {split}", series=lines, percent=task != "captioning", from_zero=True
            )


def environment_of(record: Record) -> dict[str, str]:
    """What numbers depend on beside the config, and the data by its digest."""
    found = {name: value for name, value in record.environment.items() if name not in ("packages", "date", "command")}
    packages = record.environment.get("packages", {})
    data = {"data": f"{record.data.get('name', '')} {str(record.data.get('digest', ''))[:12]}".strip()}
    return {name: str(value) for name, value in {**found, **packages, **data}.items()}


def build_settings(trees: Sequence[dict[str, Any]]) -> list[Setting]:
    """The keys in which some tree differs from another."""
    names = dict.fromkeys(name for tree in trees for name in tree)
    return [
        Setting(name=name, values=[text_of(tree, name) for tree in trees])
        for name in names
        if not all_hold(trees, name)
    ]


def all_hold(trees: Iterable[dict[str, Any]], name: str) -> bool:
    """Whether all say the same of a name."""
    return len({text_of(tree, name) for tree in trees}) == 1


def text_of(tree: dict[str, Any], name: str) -> str:
    return str(tree[name]) if name in tree else "–"
