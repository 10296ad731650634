"""Rows in files: CSV for programs and a page for people."""

import csv
import io
import itertools
from collections.abc import Sequence
from typing import Any

from mmpretrain.recipes.catalogue.entry import Entry
from mmpretrain.recipes.catalogue.filters import ONE
from mmpretrain.recipes.catalogue.table import told_interval, told_latency, told_parts, told_score, told_tasks, within
from mmpretrain.report import wording
from mmpretrain.report.models_page import Line, render_models
from mmpretrain.report.results import Bar

WHAT = ["name", "place", "kind", "state", "modality", "tasks", "languages", "licences", "weights_licence"]
TAKES = ["parameters", "parts", "megabytes", "pixels", "tokens"]
TIMES = ["image_ms", "text_ms", "image_32_ms", "text_32_ms", "processor", "threads", "date"]
FINDS = ["task", "on", "step", "metrics", "value", "low", "high"]


def as_csv(entries: Sequence[Entry]) -> str:
    """One line a model; lists are joined by |."""
    text = io.StringIO()
    columns = [*WHAT, *TAKES, *TIMES, *FINDS]
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        writer.writerow({key: joined(value) for key, value in flat(entry).items()})
    return text.getvalue()


def flat(entry: Entry) -> dict[str, Any]:
    """All that is known, under the names of the columns."""
    latency = entry.latency
    times = {
        f"{tower}{suffix}_ms": getattr(latency, tower).get(rows)
        for tower in ("image", "text")
        for suffix, rows in (("", ONE), ("_32", "32"))
        if latency
    }
    more = [vars(part) for part in (latency, entry.score) if part]
    return {**vars(entry), **{key: value for part in more for key, value in part.items()}, **times}


def joined(value: Any) -> Any:
    if isinstance(value, dict):
        value = [f"{key}={inner}" for key, inner in value.items()]
    return "|".join(map(str, value)) if isinstance(value, list) else value


def as_page(entries: Sequence[Entry], together: bool) -> str:
    """A section for each place, or one of all; one file that loads nothing."""
    groups = [("", list(entries))] if together else by_place(entries)
    largest = max((entry.parameters or 0 for entry in entries), default=0)
    return render_models([(title, [line(entry, largest, title) for entry in group]) for title, group in groups])


def by_place(entries: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    return [(place, list(group)) for place, group in itertools.groupby(entries, key=lambda entry: entry.place)]


def line(entry: Entry, largest: int, place: str) -> Line:
    """A row as text and bars."""
    score = entry.score
    shares = score is not None and wording.is_share(score.metrics[0])
    latency = entry.latency
    return Line(
        name=within(place)(entry) if place else entry.name,
        kind=entry.kind,
        does=told_tasks(entry),
        is_damaged=entry.state.startswith("damaged"),
        parameters=wording.short_count(entry.parameters) if entry.parameters else "",
        share=(entry.parameters or 0) / largest if largest else 0.0,
        parts=", ".join(told_parts(entry).splitlines()),
        megabytes=f"{entry.megabytes:,.1f}" if entry.megabytes else "",
        sees=", ".join([f"{entry.pixels} px"] * bool(entry.pixels) + [f"{entry.tokens} tokens"] * bool(entry.tokens)),
        latency=told_latency(ONE)(entry),
        measured=f"{latency.processor}, {latency.threads} threads, {latency.date}" if latency else "",
        score=told_score(entry),
        interval=told_interval(entry),
        bar=Bar(value=score.value, low=score.low, high=score.high, chance=score.chance) if score and shares else None,
        languages=", ".join(entry.languages),
        licences=", ".join(entry.licences),
        weights_licence=entry.weights_licence,
    )
