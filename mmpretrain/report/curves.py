"""Which curves a run has: one panel a quantity, read off metrics.jsonl and the evaluations on the way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record, place_of
from mmpretrain.report.gap import SAME_MEASURE, first_gaps, gap_panel
from mmpretrain.report.panel import Panel, Series, drawable, figure_series
from mmpretrain.report.verdict import HEADLINES, MEASURES, headline_names, mean_figure

TITLES = {
    "scale": "Logit scale (1 / temperature)",
    "bias": "Logit bias",
}
LOSS = "loss"


@dataclass(frozen=True)
class Drawing:
    """A panel and its picture."""

    panel: Panel
    svg: str
    logarithmic: str = ""
    """The same with a logarithmic axis, where that shows more."""


def build_curves(record: Record) -> list[Drawing] | None:
    """Every curve of the run, drawn; None while there are fewer than two records."""
    return drawings(choose_panels(record)) or None


def drawings(panels: Sequence[Panel]) -> list[Drawing]:
    """Each panel, drawn."""
    if not panels:
        return []
    # matplotlib takes a second to import and is an extra: only a page with curves needs it
    from mmpretrain.report.plots import draw

    return [Drawing(each, draw(each), draw(each, True) if each.has_magnitudes else "") for each in panels]


def choose_panels(record: Record) -> list[Panel]:
    """Loss, quality, rate, what the objectives tell, gradient; each only where there is a line to draw."""
    lines = record.metrics
    gaps = first_gaps(record)
    drawn = {f"{gap.name}/accuracy" for gap in gaps}
    # the same figures stand beside those of training already
    tasks = [task for task in HEADLINES if not (gaps and headline_names(record, task) == (SAME_MEASURE.get(task),))]
    panels = [
        *loss_panels(lines),
        *(gap_panel(record, gap) for gap in gaps),
        *(quality_panel(record, task, MEASURES[task][0], headline_names(record, task)) for task in tasks),
        *held_out_panels(record),
        Panel(title="Learning rate", series=[series(lines, "rate", "rate")], from_zero=True),
        *objective_panels(lines, drawn),
        Panel(
            title="Gradient norm",
            series=[series(lines, "grad_norm", "norm")],
            from_zero=True,
            noisy=True,
            positive=True,
        ),
    ]
    return drawable(panels)


def series(lines: list[dict[str, Any]], key: str, name: str) -> Series:
    """One key of metrics.jsonl over steps; records without it, or with a non-finite value, are left out."""
    points = [(line["step"], line[key]) for line in lines if isinstance(line.get(key), int | float)]
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    return Series(name=name, steps=[step for step, _ in finite], values=[value for _, value in finite])


def loss_panels(lines: list[dict[str, Any]]) -> list[Panel]:
    """The total; of several objectives all losses beside it, and a panel for each."""
    keys = [key for key in _objective_keys(lines) if key.endswith(f"/{LOSS}")]
    parts = [series(lines, key, key.removesuffix(f"/{LOSS}").replace("_", " ")) for key in keys]
    parts = parts if len(parts) > 1 else []
    whole = Panel(title="Loss", series=[series(lines, LOSS, "total"), *parts], noisy=True, positive=True)
    return [
        whole,
        *(Panel(title=f"Loss of {part.name}", series=[part], noisy=True, positive=True) for part in parts),
    ]


def objective_panels(lines: list[dict[str, Any]], drawn: set[str]) -> list[Panel]:
    """One panel for each kind of number that objectives tell beside their loss, but for what is drawn elsewhere."""
    kinds: dict[str, list[Series]] = {}
    for key in _objective_keys(lines):
        objective, _, kind = key.partition("/")
        if kind != LOSS and key not in drawn:
            kinds.setdefault(kind, []).append(series(lines, key, objective.replace("_", " ")))
    titles = {kind: TITLES.get(kind, kind.replace("_", " ").capitalize()) for kind in kinds}
    return [Panel(title=titles[kind], series=found) for kind, found in kinds.items()]


def held_out_panels(record: Record) -> list[Panel]:
    """What the objectives ask of held-out splits: one panel a metric, losses in nats."""
    names = dict.fromkeys(name for result in record.newest("held_out") for name in result["metrics"])
    panels = [quality_panel(record, "held_out", f"Held out: {wording.metric_name(name)}", (name,)) for name in names]
    panels = [
        replace(panel, series=[*panel.series, *beside(record, name)]) for panel, name in zip(panels, names, strict=True)
    ]
    shares = [wording.is_share(name) for name in names]
    return [replace(panel, from_zero=share) for panel, share in zip(panels, shares, strict=True)]


def beside(record: Record, metric: str) -> list[Series]:
    """The loss of an objective of words on training batches, as they are augmented; nothing for other metrics."""
    objective = metric.removesuffix(f"_{LOSS}")
    if objective == metric or objective not in wording.WORDS:
        return []
    return [series(record.metrics, f"{objective}/{LOSS}", "training batches")]


def quality_panel(record: Record, task: str, title: str, names: tuple[str, ...]) -> Panel:
    """The mean of some metrics over the steps at which they were taken, one line a split."""
    lines = []
    for newest in record.newest(task):
        own = [r for r in record.results if r["task"] == task and place_of(r) == place_of(newest)]
        told = {r["step"]: r for r in own if all(name in r["metrics"] for name in names)}
        figures = {step: mean_figure(told[step], names) for step in sorted(told)}
        lines.append(figure_series(record.label_of(task, newest), figures))
    return Panel(title=title, series=lines, percent=wording.is_share(names[0]), from_zero=True)


def _objective_keys(lines: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for line in lines for key in line if "/" in key))
