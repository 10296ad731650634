"""Every model that there is, as one table: configs, runs and exports."""

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.run import Run
from mmpretrain.recipes.catalogue.entry import Entry
from mmpretrain.recipes.catalogue.filters import ONE, ordered, read_condition
from mmpretrain.recipes.catalogue.latency import measure_onnx, measure_run
from mmpretrain.recipes.catalogue.of_config import configs
from mmpretrain.recipes.catalogue.of_export import kind_of, of_export
from mmpretrain.recipes.catalogue.of_run import of_run
from mmpretrain.recipes.looks import say, write
from mmpretrain.report import wording

PLACES = (Path("runs"), Path("exports"))
DEEPEST = 4
"""Folders below a given one in which runs and exports are looked for."""
INSIDE = {"checkpoints", "logs", "predictions", "launch", "search"}
"""Folders of a run, which hold no other."""


def models(
    folders: Sequence[Path],
    conditions: Sequence[str],
    sort: str,
    latency: bool,
    out: Path | None,
    console: Console,
) -> list[dict[str, Any]]:
    """Print the table, and return its rows.

    Args:
        folders: with runs and exports, at any depth; none: configs, runs/ and exports/.
        conditions: that all rows have to meet, see `read_condition`.
        sort: a key, `-` in front for the largest first; empty: as they were found.
        latency: measure what has weights here and was not measured yet.
        out: a CSV file to write as well.

    Raises:
        ConfigError: a folder is missing, a condition or a key is none.
    """
    wanted = [read_condition(each) for each in conditions]
    entries = [entry for entry in found(folders) if all(each.holds(entry) for each in wanted if not timed(each.key))]
    if latency:
        entries = [measured(entry, console) for entry in entries]
    entries = [entry for entry in entries if all(each.holds(entry) for each in wanted)]
    entries = ordered(entries, sort) if sort else entries
    console.print(table(entries, console.width))
    if out is not None:
        write(out, as_csv(entries))
        say(console, f"{out}: {len(entries)} rows")
    say(console, summary(entries))
    return [dataclasses.asdict(entry) for entry in entries]


def timed(key: str) -> bool:
    """Whether a condition can only be judged once latency was measured."""
    return key.endswith("_ms")


def found(folders: Sequence[Path]) -> Iterator[Entry]:
    """Rows in the order in which they are come across."""
    if not folders:
        yield from configs()
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder; name one with runs or exports")
    for folder in folders or [place for place in PLACES if place.is_dir()]:
        yield from below(folder)


def below(folder: Path, depth: int = 0) -> Iterator[Entry]:
    """A run or an export, or those in the folders of a folder."""
    if Run(folder).config.is_file():
        yield of_run(folder)
    elif kind := kind_of(folder):
        yield of_export(folder, kind)
    elif depth < DEEPEST:
        inner = sorted(Path(each.path) for each in os.scandir(folder) if each.is_dir(follow_symlinks=False))
        for each in (each for each in inner if each.name not in INSIDE):
            yield from below(each, depth + 1)


def measured(entry: Entry, console: Console) -> Entry:
    """The same with the latency of its towers, where it has weights that can be asked here."""
    ways = {"run": measure_run, "onnx": measure_onnx}
    if entry.latency is not None or entry.kind not in ways or entry.megabytes is None:
        return entry
    say(console, f"{entry.name}: measuring")
    return dataclasses.replace(entry, latency=ways[entry.kind](Path(entry.name)))


def table(entries: Sequence[Entry], width: int) -> Table:
    """What a person reads: the more, the wider the terminal is."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    columns = [column for column in COLUMNS if width >= column.from_width]
    for column in columns:
        fixed = column.justify == "right" or column.name == "kind"
        shown.add_column(column.name, justify=column.justify, overflow="fold", no_wrap=fixed, ratio=column.ratio)
    for entry in entries:
        shown.add_row(*(column.told(entry) for column in columns))
    return shown


def told_score(entry: Entry) -> str:
    """`41.6 % R@10, emoji:val`, and how far a run has got."""
    if entry.score is None:
        return entry.state
    name = entry.score.metrics[0]
    value = f"{wording.figure_text(name, entry.score.value)} {wording.split_direction(name)[1].replace('_', ' ')}"
    return ", ".join(part for part in (value, entry.score.on, entry.state) if part)


def told_interval(entry: Entry) -> str:
    return wording.interval_text(entry.score.metrics[0], vars(entry.score)) if entry.score else ""


def told_latency(entry: Entry) -> str:
    """Of one picture and one text."""
    if entry.latency is None:
        return ""
    return " + ".join(f"{part[ONE]:.1f}" for part in (entry.latency.image, entry.latency.text) if part)


class Column(NamedTuple):
    """A column of the table."""

    name: str
    told: Callable[[Entry], str]
    from_width: int = 0
    """Columns that a terminal has to have."""
    justify: Literal["left", "right"] = "left"
    ratio: int | None = None
    """Share of the width that is left by columns without one, where the table is too wide."""


COLUMNS = (
    Column("model", lambda entry: entry.name, ratio=4),
    Column("kind", lambda entry: entry.kind),
    Column("does", lambda entry: ", ".join(entry.tasks) or entry.modality, ratio=3),
    Column("weights", lambda entry: wording.short_count(entry.parameters) if entry.parameters else "", 0, "right"),
    Column("MB", lambda entry: f"{entry.megabytes:,.1f}" if entry.megabytes else "", 0, "right"),
    Column("px", lambda entry: str(entry.pixels or ""), 110, "right"),
    Column("tokens", lambda entry: str(entry.tokens or ""), 110, "right"),
    Column("ms", told_latency, 100, "right"),
    Column("score", told_score, ratio=4),
    Column("95 % interval", told_interval, 140),
    Column("languages", lambda entry: ", ".join(entry.languages), 140),
    Column("licences", lambda entry: ", ".join(entry.licences), 140, ratio=3),
)


def summary(entries: Sequence[Entry]) -> str:
    """How many rows there are, and what its columns mean where that is needed."""
    told = f"{len(entries)} models"
    if any(entry.latency for entry in entries):
        told += "; ms: a picture + a text alone, median on this machine"
    counted = any(entry.kind == "model" for entry in entries)
    return f"{told}; towers by name are counted with CLIP's or BERT's vocabulary" if counted else told


def as_csv(entries: Sequence[Entry]) -> str:
    """One line a model; lists are joined by |."""
    text = io.StringIO()
    keys = ["name", "kind", "state", "modality", "tasks", "parameters", "megabytes", "pixels", "tokens", "languages"]
    keys += ["licences", "image_ms", "text_ms", "task", "on", "metrics", "value", "low", "high"]
    writer = csv.DictWriter(text, keys, restval="", lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        writer.writerow({key: joined(value) for key, value in flat(entry).items() if key in keys})
    return text.getvalue()


def flat(entry: Entry) -> dict[str, Any]:
    latency = {f"{tower}_ms": getattr(entry.latency, tower).get(ONE) for tower in ("image", "text") if entry.latency}
    return {**vars(entry), **(vars(entry.score) if entry.score else {}), **latency}


def joined(value: Any) -> Any:
    return "|".join(map(str, value)) if isinstance(value, list) else value
