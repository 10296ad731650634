"""A result in the terminal: figures with intervals, what guessing gives, and what a reader has to know beside them."""

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from mmpretrain.recipes.looks import say
from mmpretrain.report import wording


def show(record: dict[str, Any], console: Console) -> None:
    """Print the figures and the remarks."""
    console.print(table(record))
    for remark in record.get("remarks", []):
        say(console, f"note: {remark}")


def table(record: dict[str, Any]) -> Table:
    """Metrics in the order in which the evaluator gives them; i2t: image query, text gallery."""
    title = f"{record['task']} on {record['dataset']}:{record['split']}, step {record['step']}"
    shown = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", padding=(0, 1, 0, 0))
    shown.add_column("metric", no_wrap=True)
    for heading in ("value", "95 % interval", "chance", "n"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in rows(record["metrics"]):
        shown.add_row(*row)
    return shown


def rows(metrics: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Each metric in its own unit: percent, places, nats or points; hits that forgive ties only where there are any."""
    for name, figure in metrics.items():
        strict = name.replace("any_hit@", "R@")
        if strict == name or metrics.get(strict) != figure:
            yield cells(name, figure)


def cells(name: str, figure: dict[str, Any]) -> tuple[str, ...]:
    """One metric."""
    chance = "" if wording.is_difference(name) else wording.figure_text(name, figure["chance"])
    return (
        name,
        wording.figure_text(name, figure["value"]),
        wording.interval_text(name, figure),
        chance,
        wording.count(figure["n"]),
    )
