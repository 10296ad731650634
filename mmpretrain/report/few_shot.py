"""Few-shot curves: how much each method gains from more examples a class."""

from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.curves import Drawing
from mmpretrain.report.folder import Record
from mmpretrain.report.panel import Panel, Series


def build_few_shot(record: Record) -> list[Drawing] | None:
    """A panel a split, None without any."""
    panels = [build_panel(record, split) for split in record.shown("few_shot", "curves")]
    if not panels:
        return None
    from mmpretrain.report.plots import draw

    return [Drawing(panel, draw(panel)) for panel in panels]


def build_panel(record: Record, found: dict[str, Any]) -> Panel:
    """Each method as a line; zero-shot, which needs no examples, as one that stays."""
    points = found["curves"]
    ks = sorted({point["k"] for point in points if point["k"]})
    lines = [line_of(method, points, ks) for method in dict.fromkeys(point["method"] for point in points)]
    return Panel(
        title=record.label(found.get("dataset", ""), found["split"]),
        series=lines,
        percent=True,
        from_zero=True,
        across="examples a class",
        doubling=True,
    )


def line_of(method: str, points: list[dict[str, Any]], ks: list[int]) -> Series:
    own = {point["k"]: point for point in points if point["method"] == method}
    told = [(k, own[0]) for k in ks] if 0 in own else [(k, own[k]) for k in ks if k in own]
    return Series(
        name=wording.METHODS.get(method, method),
        steps=[k for k, _ in told],
        values=[point["value"] for _, point in told],
        lows=[point["low"] for _, point in told],
        highs=[point["high"] for _, point in told],
        chance=points[0]["chance"],
    )
