"""Classes: the confusion matrix as a heat map, the commonest mistakes in words, figures by class, calibration."""

from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record
from mmpretrain.report.results import UNITS

CLASSES = 24
"""Classes that fit on a page; the most frequent ones are shown."""
MISTAKES = 5
OTHERS = "(others)"
"""Rare answers together: two of them are not one answer."""
TASKS = ("classification", "zero_shot", "probe", "question_answering")
COLUMNS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "average_precision": "average precision",
}


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

    classes: list[str]
    rows: list[ClassRow]
    mistakes: list[str]
    unit: str
    """What was counted."""
    note: str


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Figures of one class as text, empty where there is nothing to divide by."""

    name: str
    total: str
    figures: list[str]


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Pictures whose class was named with about the same probability; fractions of the axes."""

    left: float
    width: float
    probability: float
    accuracy: float
    share: float
    """Of all pictures, against the fullest bin."""
    title: str


@dataclass(frozen=True, kw_only=True)
class Classes:
    """One split of one task."""

    task: str
    label: str
    purpose: str
    map: HeatMap | None
    columns: list[str]
    table: list[Scores]
    calibration: list[Bin]
    mistakes: list[dict[str, Any]]
    """The surest wrong ones, each with its picture."""


def build_classes(record: Record) -> list[Classes] | None:
    """Every split of every task that named classes, None without any."""
    found = [
        (task, split)
        for task in TASKS
        for split in record.in_order(record.predictions.get(task, []))
        if split.get("confusion") or split.get("table")
    ]
    return [build_split(record, task, split) for task, split in found] or None


def build_split(record: Record, task: str, found: dict[str, Any]) -> Classes:
    dataset, table = found.get("dataset", ""), found.get("table", [])
    columns = [name for name in COLUMNS if any(name in row for row in table)]
    return Classes(
        task=wording.TASKS[task],
        label=record.label_of(task, found),
        purpose=record.purpose(dataset, found["split"]),
        map=build_heat_map(found, UNITS.get(task, "pictures")) if found.get("confusion") else None,
        columns=[COLUMNS[name] for name in columns],
        table=[
            Scores(
                name=row["name"],
                total=wording.count(row["n"]),
                figures=["" if row[name] is None else wording.percent(row[name]) for name in columns],
            )
            for row in sorted(table, key=lambda row: -row["n"])
        ],
        calibration=build_bins(found.get("calibration", [])),
        mistakes=[{**each, "sure": wording.percent(each["probability"], 0)} for each in found.get("mistakes", [])],
    )


def build_bins(bins: list[dict[str, Any]]) -> list[Bin]:
    """The bars of a reliability diagram."""
    most = max((each["n"] for each in bins), default=1)
    return [
        Bin(
            left=each["low"],
            width=each["high"] - each["low"],
            probability=each["probability"],
            accuracy=each["accuracy"],
            share=each["n"] / most,
            title=f"{wording.count(each['n'])} pictures named with {wording.percent(each['probability'], 0)}: "
            f"{wording.percent(each['accuracy'], 0)} right",
        )
        for each in bins
    ]


def build_heat_map(found: dict[str, Any], unit: str) -> HeatMap:
    """One split; the most frequent classes where there are too many for a page."""
    names, counts = found["classes"], found["confusion"]
    used = [c for c in range(len(names)) if sum(counts[c]) or any(row[c] for row in counts)]
    frequent = sorted(used, key=lambda c: -sum(counts[c]))[:CLASSES]
    shown = sorted(frequent)
    hidden = len(used) - len(shown)
    left_out = f" {hidden} less frequent classes are left out." if hidden > 0 else ""
    return HeatMap(
        classes=[names[c] for c in shown],
        rows=[_row(c, shown, names, counts[c]) for c in shown],
        mistakes=_mistakes(names, counts),
        unit=unit,
        note=f"{wording.count(found.get('n', sum(map(sum, counts))))} {unit}.{left_out}",
    )


def _row(true: int, shown: list[int], names: list[str], counts: list[int]) -> ClassRow:
    total = sum(counts)
    return ClassRow(
        name=names[true],
        total=wording.count(total),
        recall=wording.percent(counts[true] / total, 0) if total and names[true] != OTHERS else "",
        cells=[_cell(true, named, names, counts[named], total) for named in shown],
    )


def _cell(true: int, named: int, names: list[str], amount: int, total: int) -> Cell:
    share = amount / total if total else 0.0
    title = f"{names[true]} named {names[named]}: {amount} of {total}, {wording.percent(share)}"
    return Cell(count=amount, share=share, title=title, right=true == named and names[true] != OTHERS)


def _mistakes(names: list[str], counts: list[list[int]]) -> list[str]:
    """The largest entries off the diagonal as sentences."""
    wrong = [(row[c], true, c) for true, row in enumerate(counts) for c in range(len(names)) if c != true and row[c]]
    wrong = [each for each in wrong if OTHERS not in (names[each[1]], names[each[2]])]
    largest = sorted(wrong, key=lambda entry: -entry[0])[:MISTAKES]
    return [
        f"{names[true]} taken for {names[named]}: {wording.count(amount)} of {wording.count(sum(counts[true]))}"
        for amount, true, named in largest
    ]
