"""Figures of a compression as a person reads them."""

from typing import Any

Row = dict[str, Any]


def recalls(row: Row, k: int) -> str:
    """Both ways, in percent."""
    found = [row["scores"].get(f"{direction}_R@{k}") for direction in ("i2t", "t2i")]
    return "/".join(f"{100 * each['value']:.1f}" for each in found if each) or "–"


def mean_recall(row: Row, k: int = 10) -> float | None:
    """The mean of both ways."""
    found = [row["scores"].get(f"{direction}_R@{k}") for direction in ("i2t", "t2i")]
    return sum(each["value"] for each in found) / 2 if all(found) else None


def drop(row: Row, name: str = "drops") -> str:
    """Of R@10, in points; positive where the step lost some."""
    found = row.get(name, {}).get("mean_R@10")
    if found is None:
        return "–"
    value, low, high = (-100 * found[key] + 0.0 for key in ("value", "high", "low"))
    return f"{value:.1f} [{low:+.1f} {high:+.1f}]"


def task(row: Row) -> str:
    """The figure of the run's other task; of scores that are shares in percent."""
    found = row["scores"].get("task")
    if found is None:
        return "–"
    return f"{100 * found['value']:.1f}"


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
