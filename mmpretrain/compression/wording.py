"""Figures of a compression as a person reads them."""

from collections.abc import Sequence
from typing import Any

from mmpretrain.report.compressed import mean_recall
from mmpretrain.report.wording import figure_text

Row = dict[str, Any]


def recalls(row: Row, k: int) -> str:
    """Both ways, in percent."""
    found = [row["scores"].get(f"{direction}_R@{k}") for direction in ("i2t", "t2i")]
    return "/".join(f"{100 * each['value']:.1f}" for each in found if each) or "–"


def drop(row: Row, name: str = "drops") -> str:
    """Of R@10, in points; positive where the step lost some."""
    found = row.get(name, {}).get("mean_R@10")
    if found is None:
        return "–"
    value, low, high = (-100 * found[key] + 0.0 for key in ("value", "high", "low"))
    return f"{value:.1f} [{low:.1f} {high:.1f}]"


def task(row: Row) -> str:
    """The figure of the run's other task in its own unit."""
    found = row["scores"].get("task")
    return "–" if found is None else figure_text(found["metric"], found["value"])


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def markdown(rows: Sequence[Row]) -> str:
    """The table for a text; times are factors of the original in the same turns."""
    lines = [
        "| step | parameters | MB | R@1 | R@10 | drop of R@10 | one pair | in batches |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        one, many = (row["original_times"][key] / row["times"][key] for key in ("p50_ms", "batch_p50_ms"))
        cells = (
            row["name"],
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['bytes'] / 1e6:.2f}",
            f"{percent(mean_recall(row, 1))} %",
            f"{percent(mean_recall(row))} %",
            drop(row),
            f"{row['times']['p50_ms']:.2f} ms ({one:.1f}×)",
            f"{row['times']['pairs_per_second']:,.0f} /s ({many:.1f}×)",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def times_smaller(row: Row, other: Row) -> float:
    return float(other["bytes"]) / float(row["bytes"])


def times_faster(row: Row) -> tuple[float, float]:
    """Than what was measured beside it, in turns: of one pair, and of a batch."""
    own, other = row["times"], row["beside"]
    return other["p50_ms"] / own["p50_ms"], other["batch_p50_ms"] / own["batch_p50_ms"]


def beside(row: Row) -> str:
    """How much faster, in words."""
    one, many = times_faster(row)
    return f"{one:.2f} times as fast as {row['beside']['name']} on one pair, {many:.2f} times in batches"
