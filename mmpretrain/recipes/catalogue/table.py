"""Rows as tables for a terminal: one for each place, with the columns that it has room for."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from rich import box
from rich.table import Table

from mmpretrain.recipes.catalogue.entry import Entry
from mmpretrain.recipes.catalogue.filters import ONE
from mmpretrain.report import wording

GAP = 2
"""Columns of a terminal between two of a table, and at its edges together."""
TOWERS = ("image", "text", "fusion", "decoder")


class Column(NamedTuple):
    """A column of the table."""

    name: str
    told: Callable[[Entry], str]
    rank: int
    """Where there is no room for all, those of the lowest rank are shown."""
    justify: Literal["left", "right"] = "left"
    least: int | None = None
    """Characters into which its words may be folded; None: they are not."""

    def width(self, entries: Sequence[Entry], squeezed: bool = False) -> int:
        told = max(len(line) for entry in entries for line in self.told(entry).splitlines() or [""])
        widest = max(len(self.name), told)
        return min(widest, self.least) if squeezed and self.least else widest


def tables(entries: Sequence[Entry], width: int, together: bool) -> Iterator[tuple[str, Table]]:
    """A title and a table for each place, or one table of all.

    Args:
        width: of the terminal.
        together: rows stand in an order of their own.
    """
    if together:
        yield "", table(entries, [NAME, *COLUMNS], width)
        return
    for place, group in itertools.groupby(entries, key=lambda entry: entry.place):
        rows = list(group)
        name = Column("model", within(place), 0, least=20)
        columns = COLUMNS if len({row.kind for row in rows}) > 1 else [each for each in COLUMNS if each.name != "kind"]
        yield place, table(rows, [name, *columns], width)


def table(entries: Sequence[Entry], columns: Sequence[Column], width: int) -> Table:
    """Of columns in which something is said, those that there is room for."""
    told = [column for column in columns if any(column.told(entry) for entry in entries)]
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    chosen = fitting(told, entries, width)
    for column in chosen:
        least = column.width(entries, squeezed=True)
        whole = column.least is None
        shown.add_column(column.name, justify=column.justify, min_width=least, no_wrap=whole, overflow="fold")
    for entry in entries:
        style = "red" if entry.state.startswith("damaged") else None
        shown.add_row(*(column.told(entry) for column in chosen), style=style)
    return shown


def fitting(columns: Sequence[Column], entries: Sequence[Entry], width: int) -> list[Column]:
    """By rank as many as there is room for, in the order in which they were given."""
    left, chosen = width - GAP, []
    for column in sorted(columns, key=lambda column: column.rank):
        needed = column.width(entries, squeezed=True) + GAP
        if column.rank == 0 or needed <= left:
            chosen.append(column)
            left -= needed
    return [column for column in columns if column in chosen]


def within(place: str) -> Callable[[Entry], str]:
    """What a row is called under the title of its place."""

    def told(entry: Entry) -> str:
        path = Path(entry.name)
        return str(path.relative_to(place)) if path.is_relative_to(place) else entry.name

    return told


def whole_name(entry: Entry) -> str:
    """As commands take it; of a config with its verb, of which several may have one of its name."""
    return f"{Path(entry.place).name}/{entry.name}" if entry.kind in ("model", "config") else entry.name


def told_tasks(entry: Entry) -> str:
    """What it can do; of a damaged one, what is wrong."""
    return entry.state if entry.state.startswith("damaged") else ", ".join(entry.tasks) or entry.modality


def told_score(entry: Entry) -> str:
    """`41.6 % R@10, emoji:val`, and how far a run has got."""
    state = "" if entry.state.startswith("damaged") else entry.state
    if entry.score is None:
        return state
    name = entry.score.metrics[0]
    value = f"{wording.figure_text(name, entry.score.value)} {wording.split_direction(name)[1].replace('_', ' ')}"
    return ", ".join(part for part in (value, entry.score.on, state) if part)


def told_interval(entry: Entry) -> str:
    return wording.interval_text(entry.score.metrics[0], vars(entry.score)) if entry.score else ""


def told_parts(entry: Entry) -> str:
    """`image 373 k` and the other towers, a line each."""
    return "\n".join(f"{name} {wording.short_count(entry.parts[name])}" for name in TOWERS if name in entry.parts)


def told_latency(rows: str) -> Callable[[Entry], str]:
    """Of so many pictures, and of so many texts."""

    def told(entry: Entry) -> str:
        parts = (entry.latency.image, entry.latency.text) if entry.latency else ()
        return " + ".join(f"{part[rows]:.1f}" for part in parts if rows in part)

    return told


NAME = Column("model", whole_name, 0, least=20)
COLUMNS = (
    Column("kind", lambda entry: entry.kind, 1),
    Column("does", told_tasks, 0, least=16),
    Column("parameters", lambda entry: wording.short_count(entry.parameters) if entry.parameters else "", 0, "right"),
    Column("of towers", told_parts, 9),
    Column("MB", lambda entry: f"{entry.megabytes:,.1f}" if entry.megabytes else "", 2, "right"),
    Column("px", lambda entry: str(entry.pixels or ""), 6, "right"),
    Column("tokens", lambda entry: str(entry.tokens or ""), 6, "right"),
    Column("ms", told_latency(ONE), 3, "right"),
    Column("ms of 32", told_latency("32"), 11, "right"),
    Column("score", told_score, 2, least=14),
    Column("95 % interval", told_interval, 4),
    Column("languages", lambda entry: ", ".join(entry.languages), 7, least=9),
    Column("licences of data", lambda entry: ", ".join(entry.licences), 8, least=14),
    Column("of weights", lambda entry: entry.weights_licence, 8, least=10),
)
