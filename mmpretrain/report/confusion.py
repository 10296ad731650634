"""The zero-shot confusion matrix as a heat map, with the commonest mistakes in words."""

from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record

CLASSES = 24
"""Classes that fit on a page; the most frequent ones are shown."""
MISTAKES = 5


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Pictures of one class that were named as one class."""

    count: int
    share: float
    """Of the row's pictures."""
    title: str
    right: bool


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """The pictures of one class."""

    name: str
    total: str
    recall: str
    cells: list[Cell]


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """One split's confusion."""

    label: str
    purpose: str
    classes: list[str]
    rows: list[ClassRow]
    mistakes: list[str]
    note: str


def build_heat_maps(record: Record) -> list[HeatMap] | None:
    """One map for each split with zero-shot predictions, None without any."""
    found = [split for split in record.in_order(record.zero_shot) if split.get("confusion")]
    return [build_heat_map(record, split) for split in found] or None


def build_heat_map(record: Record, found: dict[str, Any]) -> HeatMap:
    """The most frequent classes in the card's order; rows are true classes."""
    names, counts = found["classes"], found["confusion"]
    used = [c for c in range(len(names)) if sum(counts[c]) or any(row[c] for row in counts)]
    frequent = sorted(used, key=lambda c: -sum(counts[c]))[:CLASSES]
    shown = sorted(frequent)
    hidden = len(used) - len(shown)
    left_out = f" {hidden} less frequent classes are left out." if hidden > 0 else ""
    dataset = found.get("dataset", "")
    return HeatMap(
        label=record.label(dataset, found["split"]),
        purpose=record.purpose(dataset, found["split"]),
        classes=[names[c] for c in shown],
        rows=[_row(c, shown, names, counts[c]) for c in shown],
        mistakes=_mistakes(names, counts),
        note=f"{wording.count(found.get('n', sum(map(sum, counts))))} pictures.{left_out}",
    )


def _row(true: int, shown: list[int], names: list[str], counts: list[int]) -> ClassRow:
    total = sum(counts)
    return ClassRow(
        name=names[true],
        total=wording.count(total),
        recall=wording.percent(counts[true] / total, 0) if total else "",
        cells=[_cell(true, named, names, counts[named], total) for named in shown],
    )


def _cell(true: int, named: int, names: list[str], amount: int, total: int) -> Cell:
    share = amount / total if total else 0.0
    title = f"{names[true]} named {names[named]}: {amount} of {total}, {wording.percent(share)}"
    return Cell(count=amount, share=share, title=title, right=true == named)


def _mistakes(names: list[str], counts: list[list[int]]) -> list[str]:
    """The largest entries off the diagonal as sentences."""
    wrong = [(row[c], true, c) for true, row in enumerate(counts) for c in range(len(names)) if c != true and row[c]]
    largest = sorted(wrong, key=lambda entry: -entry[0])[:MISTAKES]
    return [
        f"{names[true]} taken for {names[named]}: {wording.count(amount)} of {wording.count(sum(counts[true]))}"
        for amount, true, named in largest
    ]
