"""The rows of a compression as a table for a terminal."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from mmpretrain.compression import wording
from mmpretrain.report.compressed import mean_recall

WIDE = 96
"""Columns of a terminal that takes the whole table; a narrower one goes without operations."""


def table(rows: Sequence[dict[str, Any]], width: int = WIDE) -> Table:
    """A row a step; percent, and the paired drop of R@10 with its interval."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("step", no_wrap=True)
    columns = [cells(row) for row in rows]
    headings = [each for each in columns[0] if width >= WIDE or each != OPERATIONS]
    for heading in headings:
        shown.add_column(heading, justify="right", no_wrap=True)
    for row, own in zip(rows, columns, strict=True):
        shown.add_row(str(row["name"]), *(own[heading] for heading in headings))
    return shown


OPERATIONS = "MFLOPs"


def cells(row: dict[str, Any]) -> dict[str, str]:
    """By heading."""
    return {
        "M": f"{row['parameters'] / 1e6:.2f}",
        "MB": f"{row['bytes'] / 1e6:.2f}",
        OPERATIONS: f"{row['flops'] / 1e6:,.0f}",
        "ms": f"{row['times']['p50_ms']:.2f}",
        "per s": f"{row['times']['pairs_per_second']:,.0f}",
        "R@1": wording.percent(mean_recall(row, 1)),
        "R@10": wording.percent(mean_recall(row, 10)),
        "drop, 95 %": wording.drop(row),
        "task": wording.task(row),
    }


def task_name(row: dict[str, Any]) -> str:
    found = row["scores"].get("task")
    return str(found["name"]) if found else "none"


def show(rows: Sequence[dict[str, Any]], split: str, console: Console) -> None:
    console.print(table(rows, console.width))
    first = rows[0]
    console.print(
        f"M: million parameters; MB: weights on disk; MFLOPs and ms: one pair, and per s pairs in batches, on "
        f"{first['threads']} thread{'s' if first['threads'] > 1 else ''}, medians; R@K: mean of both directions on "
        f"{split}, %; drop: of R@10 in points, with its paired interval; task: {task_name(first)}",
        soft_wrap=True,
    )
    for row in rows[1:]:
        console.print(f"{row['name']}: {row['told']}; {wording.beside(row)}", soft_wrap=True)
