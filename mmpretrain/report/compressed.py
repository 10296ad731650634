"""What the run was made into by `mmpretrain compress`: size against score of every step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmpretrain.report.folder import Record
from mmpretrain.report.sizes import Mark, draw

Row = dict[str, Any]


class Curve(NamedTuple):
    """One compression."""

    folder: str
    split: str
    told: str
    svg: str


def build_compressed(record: Record) -> list[Curve] | None:
    """A curve for each compression beside the run, None without any that has scores."""
    found = [curve_of(facts) for facts in record.compressions if len(marks(facts["rows"])) > 1]
    return found or None


def curve_of(facts: dict[str, Any]) -> Curve:
    first, *_, last = marks(facts["rows"])
    told = (
        f"{last.name}: {first.across / last.across:.1f} times smaller, R@10 {100 * last.value:.1f} % "
        f"instead of {100 * first.value:.1f} %"
    )
    return Curve(facts["folder"], facts["split"], told, draw_sizes(facts["rows"]))


def draw_sizes(rows: Sequence[Row]) -> str:
    """The rows of a compression's table as an SVG, empty without scores of retrieval."""
    return draw(marks(rows), "R@10, mean of both directions", "MB on disk")


def marks(rows: Sequence[Row]) -> list[Mark]:
    """A point a row: size and score; the whisker is the paired interval of its difference from the original."""
    found = []
    whole = mean_recall(rows[0])
    for row in rows:
        score, difference = mean_recall(row), row["drops"].get("mean_R@10")
        if score is None or whole is None:
            continue
        low, high = (whole + difference[end] for end in ("low", "high")) if difference else (score, score)
        found.append(Mark(name=row["name"], across=row["bytes"] / 1e6, value=score, low=low, high=high))
    return found


def mean_recall(row: Row, k: int = 10) -> float | None:
    """The mean of both ways."""
    found = [row["scores"].get(f"{direction}_R@{k}") for direction in ("i2t", "t2i")]
    return sum(each["value"] for each in found) / 2 if all(found) else None
