"""Any number of runs side by side: the first, or all of one recipe, against each other one, as a page and a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import Run
from mmpretrain.recipes.compare import compare
from mmpretrain.report.comparison import Side, render, table
from mmpretrain.report.folder import read_folder

NAMED = 3
"""Runs of a side that its label names."""


def compare_all(
    runs: Sequence[Path],
    others: Sequence[Path],
    console: Console,
    html: Path | None = None,
    csv: Path | None = None,
) -> list[dict[str, Any]]:
    """Print every comparison, write the page and the table that are asked for, and return the records.

    Args:
        runs: of one recipe, where there are others; else the first is held against each of the rest.
        others: of another recipe.
    """
    first, *rest = sides = [runs, others] if others else [[run] for run in runs]
    names = names_of([run for side in sides for run in side])
    records = []
    for side in rest:
        if len(rest) > 1:
            console.print(f"{label([names[run] for run in first])} against {label([names[run] for run in side])}")
        told = {"runs": [names[run] for run in first], "against": [names[run] for run in side]}
        records += [{**told, **record} for record in compare(first, side, console)]
    if html or csv:
        built = [
            Side(label=label([names[run] for run in side]), runs=[read_folder(Run.open(run)) for run in side])
            for side in sides
        ]
        for path, content in ((html, render), (csv, table)):
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, content(built, records))
                console.print(f"{path}: written", soft_wrap=True)
    return records


def names_of(runs: Sequence[Path]) -> dict[Path, str]:
    """The folder's own name, or its path where several are called alike."""
    own = [run.resolve().name for run in runs]
    return {run: name if own.count(name) == 1 else str(run) for run, name in zip(runs, own, strict=True)}


def label(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
