"""Every model that there is, as one table: configs, runs and exports."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.run import Run
from mmpretrain.recipes.catalogue.entry import Entry
from mmpretrain.recipes.catalogue.files import as_csv, as_page
from mmpretrain.recipes.catalogue.filters import Condition, ordered, read_condition, refuse_order
from mmpretrain.recipes.catalogue.latency import MEASURES, measured
from mmpretrain.recipes.catalogue.of_config import configs
from mmpretrain.recipes.catalogue.of_export import kind_of, of_export
from mmpretrain.recipes.catalogue.of_run import of_run
from mmpretrain.recipes.catalogue.table import tables
from mmpretrain.recipes.compressing.files import MADE_OF
from mmpretrain.recipes.looks import plural, say, write

PLACES = (Path("runs"), Path("exports"))
DEEPEST = 4
"""Folders below a given one in which runs and exports are looked for."""
INSIDE = {"checkpoints", "logs", "predictions", "launch", "search"}
"""Folders of a run, which hold no other."""
BESIDE = {"scores", "teacher"}
"""Folders of a compression that are no steps of it."""


def models(
    folders: Sequence[Path],
    conditions: Sequence[str],
    sort: str,
    latency: bool,
    console: Console,
    out: Path | None = None,
    page: Path | None = None,
) -> list[dict[str, Any]]:
    """Print the table, and return its rows.

    Args:
        folders: with runs and exports, at any depth; none: configs, runs/ and exports/.
        conditions: that all rows have to meet, see `read_condition`.
        sort: a key, `-` in front for the largest first; empty: as they were found.
        latency: measure what has weights here and was not measured yet.
        out: a CSV file to write as well.
        page: an HTML file to write as well.

    Raises:
        ConfigError: a folder is missing, a condition or a key is none.
    """
    wanted = [read_condition(each) for each in conditions]
    refuse_order(sort)
    refuse_missing(folders)
    rows = list(found(folders or [place for place in PLACES if place.is_dir()], with_configs=not folders))
    if latency:
        # conditions on time can only be judged once it was measured
        rows = with_latency(meeting(rows, [each for each in wanted if not each.key.endswith("_ms")]), console)
    entries = meeting(rows, wanted)
    entries = ordered(entries, sort) if sort else entries
    show(entries, bool(sort), console)
    for path, text in ((out, as_csv(entries)), (page, as_page(entries, bool(sort)))):
        if path is not None:
            write(path, text)
            say(console, f"{path}: {plural(len(entries), 'row')}")
    say(console, summary(entries, conditions))
    return [dataclasses.asdict(entry) for entry in entries]


def refuse_missing(folders: Sequence[Path]) -> None:
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder; name one with runs or exports")


def found(folders: Sequence[Path], with_configs: bool) -> Iterator[Entry]:
    """Rows in the order in which they are come across."""
    if with_configs:
        yield from configs()
    for folder in folders:
        for entry in below(folder):
            place = folder.parent if Path(entry.name) == folder else folder
            yield dataclasses.replace(entry, place=str(place))


def below(folder: Path, depth: int = 0) -> Iterator[Entry]:
    """A run or an export, or those in the folders of a folder."""
    if Run(folder).config.is_file():
        yield of_run(folder)
    elif kind := kind_of(folder):
        yield of_export(folder, kind)
    elif depth < DEEPEST:
        inner = sorted(Path(each.path) for each in os.scandir(folder) if each.is_dir(follow_symlinks=False))
        left_out = INSIDE | BESIDE if (folder / MADE_OF).is_file() else INSIDE
        for each in (each for each in inner if each.name not in left_out):
            yield from below(each, depth + 1)


def meeting(entries: Sequence[Entry], wanted: Sequence[Condition]) -> list[Entry]:
    return [entry for entry in entries if all(each.holds(entry) for each in wanted)]


def with_latency(entries: Sequence[Entry], console: Console) -> list[Entry]:
    """The same rows; those that have weights and were not measured here are, with a bar on a terminal."""
    bar = track(entries, "measuring", console=console, disable=not console.is_terminal)
    return [measured(entry) if is_to_measure(entry) else entry for entry in bar]


def is_to_measure(entry: Entry) -> bool:
    return entry.latency is None and entry.kind in MEASURES and entry.megabytes is not None


def show(entries: Sequence[Entry], together: bool, console: Console) -> None:
    """Args: together: one table, because rows have an order of their own."""
    for title, table in tables(entries, console.width, together and bool(entries)):
        if title:
            console.print(title, style="bold", markup=False, highlight=False)
        console.print(table)


def summary(entries: Sequence[Entry], conditions: Sequence[str]) -> str:
    """How many rows there are, and what its columns mean where that is needed."""
    told = plural(len(entries), "model")
    if not entries:
        return f"no model here meets {' and '.join(conditions)}" if conditions else "no runs and exports here"
    if any(entry.latency for entry in entries):
        told += "; ms: a picture + a text alone, median on this machine"
    counted = any(entry.kind == "model" for entry in entries)
    return f"{told}; towers by name are counted with CLIP's or BERT's vocabulary" if counted else told
