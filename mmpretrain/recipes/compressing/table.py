"""The rows of a compression as a table for a terminal."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from mmpretrain.compression import wording


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """A row a step; percent, and the paired drop of R@10 with its interval."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("step", no_wrap=True)
    for heading in HEADINGS:
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(str(row["name"]), *cells(row))
    return shown


HEADINGS = ("M", "MB", "MFLOPs", "ms", "pairs/s", "R@1", "R@10", "drop of R@10", "task")


def cells(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['parameters'] / 1e6:.2f}",
        f"{row['bytes'] / 1e6:.2f}",
        f"{row['flops'] / 1e6:,.0f}",
        f"{row['times']['p50_ms']:.2f}",
        f"{row['times']['pairs_per_second']:,.0f}",
        wording.percent(wording.mean_recall(row, 1)),
        wording.percent(wording.mean_recall(row, 10)),
        wording.drop(row),
        wording.task(row),
    ]


def task_name(row: dict[str, Any]) -> str:
    found = row["scores"].get("task")
    return str(found["name"]) if found else "none"


def show(rows: Sequence[dict[str, Any]], split: str, console: Console) -> None:
    console.print(table(rows))
    first = rows[0]
    console.print(
        f"M: million parameters; MB: weights on disk; MFLOPs and ms: one pair, and pairs/s in batches, on "
        f"{first['threads']} thread{'s' if first['threads'] > 1 else ''}, medians; R@K: mean of both directions on "
        f"{split}, %; drop: in points, with its 95 % paired interval; task: {task_name(first)}",
        soft_wrap=True,
    )
    for row in rows[1:]:
        console.print(f"{row['name']}: {row['told']}; {wording.beside(row)}", soft_wrap=True)
