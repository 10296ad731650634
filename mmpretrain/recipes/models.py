"""Every model that there is, as one table: configs, runs and exports."""

import csv
import dataclasses
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.run import Run
from mmpretrain.recipes.catalogue.entry import Entry, Latency, Score
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
WIDE = 150
"""Columns of a terminal from which licences and languages are shown as well."""


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
    """What a person reads; languages and licences on a wide terminal."""
    wide = width >= WIDE
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("model", overflow="fold")
    shown.add_column("kind")
    shown.add_column("does", overflow="fold")
    for name in ("parameters", "MB", "px", "tokens", "ms"):
        shown.add_column(name, justify="right", no_wrap=name != "ms")
    shown.add_column("score", overflow="fold")
    for name in ("languages", "licences") if wide else ():
        shown.add_column(name, overflow="fold")
    for kind, group in itertools.groupby(entries, key=lambda entry: entry.kind):
        for entry in group:
            more = (", ".join(entry.languages), ", ".join(entry.licences)) if wide else ()
            shown.add_row(*cells(entry, kind), *more)
    return shown


def cells(entry: Entry, kind: str) -> list[str]:
    """A row up to its score; a state takes the place of what is not known because of it."""
    return [
        entry.name,
        kind,
        ", ".join(entry.tasks) or entry.modality,
        wording.short_count(entry.parameters) if entry.parameters else "",
        f"{entry.megabytes:,.1f}" if entry.megabytes else "",
        str(entry.pixels or ""),
        str(entry.tokens or ""),
        told_latency(entry.latency),
        " ".join(part for part in (told_score(entry.score), entry.state) if part),
    ]


def told_score(score: Score | None) -> str:
    """`41.6 % [38.2, 45.1] R@10, emoji:val`"""
    if score is None:
        return ""
    name = score.metrics[0]
    bare = wording.split_direction(name)[1]
    value = wording.figure_text(name, score.value)
    return f"{value} {wording.interval_text(name, vars(score))} {bare}, {score.on}"


def told_latency(latency: Latency | None) -> str:
    """Of one picture and one text."""
    if latency is None:
        return ""
    return " + ".join(f"{part[ONE]:.1f}" for part in (latency.image, latency.text) if part)


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
