"""What befell a run: starts, checkpoints, evaluations, skipped steps and bad samples, on one line of steps each."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record

SHOWN = 60
"""Events that the table has: the last ones."""
MARKS = 300
"""Marks on a line; of more, some at equal distances."""
KINDS = {
    "started": "started",
    "resumed": "resumed",
    "saved": "checkpoint written",
    "not_saved": "checkpoint not written",
    "best": "best so far",
    "spike": "loss stood out",
    "stopped": "stopped by a signal",
    "complete": "complete",
    "tracker": "tracker left out",
}
"""Kinds of lines in events.jsonl."""
LANES = {
    "Starts": ("started", "resumed"),
    "Checkpoints": ("saved",),
    "Not written": ("not_saved",),
    "Best so far": ("best",),
    "Spikes": ("spike",),
    "Ends": ("stopped", "complete"),
}
GOOD = ("Starts", "Checkpoints", "Best so far", "Evaluations", "Ends")
"""What is as it should be; the others are drawn as what went wrong."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One event on its line."""

    at: float
    """Share of the run's steps, in percent."""
    title: str


@dataclass(frozen=True, kw_only=True)
class Lane:
    """All events of one kind."""

    name: str
    count: str
    good: bool
    marks: list[Mark]


@dataclass(frozen=True, kw_only=True)
class Events:
    """The timeline, and the last events in words as (date, step, what)."""

    lanes: list[Lane]
    last: str
    """The step at the right end."""
    table: list[tuple[str, str, str]]
    older: str
    """How many more there are than the table has; empty for none."""


def build_events(record: Record) -> Events | None:
    """None where the folder tells of nothing that happened."""
    told = {name: marks for name, marks in collect(record).items() if marks}
    if not told:
        return None
    steps = [line["step"] for line in record.metrics[-1:]]
    last = max([record.model.get("steps") or 0, *steps, *(step for marks in told.values() for step, _ in marks)]) or 1
    rows = [(str(each["date"]).replace("T", " ")[:19], each["step"], in_words(each)) for each in record.events]
    return Events(
        lanes=[build_lane(name, marks, last) for name, marks in told.items()],
        last=wording.count(last),
        table=[(date, wording.count(step), what) for date, step, what in rows[-SHOWN:]],
        older=wording.count(len(rows) - SHOWN) if len(rows) > SHOWN else "",
    )


def collect(record: Record) -> dict[str, list[tuple[int, str]]]:
    """(step, what) of each line, from events.jsonl and from what other files tell by step."""
    found = {
        name: [(each["step"], in_words(each)) for each in record.events if each["kind"] in kinds]
        for name, kinds in LANES.items()
    }
    asked = dict.fromkeys(
        (each["step"], f"{wording.TASKS.get(each['task'], each['task'])} of {record.label_of(each['task'], each)}")
        for each in record.results
    )
    bad = Counter(fault["step"] for fault in record.faults)
    return {
        "Starts": found["Starts"],
        "Checkpoints": found["Checkpoints"],
        "Not written": found["Not written"],
        "Evaluations": list(asked),
        "Best so far": found["Best so far"],
        "Skipped steps": [(each["step"], f"skipped: {each['reason']}") for each in record.skips],
        "Spikes": found["Spikes"],
        "Bad samples": [(step, f"{amount} replaced") for step, amount in sorted(bad.items())],
        "Ends": found["Ends"],
    }


def in_words(event: dict[str, Any]) -> str:
    what = KINDS.get(event["kind"], event["kind"])
    return f"{what}: {event['said']}" if event.get("said") else what


def build_lane(name: str, marks: list[tuple[int, str]], last: int) -> Lane:
    by_step: dict[int, list[str]] = {}
    for step, what in marks:
        by_step.setdefault(step, []).append(what)
    drawn = list(by_step)
    if len(drawn) > MARKS:
        drawn = [drawn[round(n * (len(drawn) - 1) / (MARKS - 1))] for n in range(MARKS)]
    return Lane(
        name=name,
        count=wording.count(len(marks)),
        good=name in GOOD,
        marks=[
            Mark(
                at=round(100 * step / last, 2),
                title=f"step {wording.count(step)}: {'; '.join(dict.fromkeys(by_step[step]))}",
            )
            for step in drawn
        ],
    )
