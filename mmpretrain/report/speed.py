"""How fast a run was, how long it waited for data, and how much memory its ranks held."""

import statistics
from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.curves import Drawing, drawings, series
from mmpretrain.report.folder import Record
from mmpretrain.report.panel import Panel, Series, drawable

RANKS = 16
"""Ranks that a chart of memory names; of more, those with the most."""
MILLISECONDS = {"step_p50": "median", "step_p95": "95 % of steps are faster"}


@dataclass(frozen=True, kw_only=True)
class RankMemory:
    """The most that one rank has held."""

    name: str
    held: str
    length: float
    """Of the longest bar, between 0 and 1."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Facts as (name, value, remark), curves and the ranks' memory."""

    facts: list[tuple[str, str, str]]
    panels: list[Drawing]
    ranks: list[RankMemory]
    note: str
    """What the memory is of."""


def build_speed(record: Record) -> Speed | None:
    """None before the first record of metrics.jsonl."""
    if not record.metrics:
        return None
    peaks = record.memory.get("peaks", [])
    return Speed(
        facts=build_facts(record.metrics, peaks),
        panels=drawings(choose_panels(record.metrics)),
        ranks=build_ranks(peaks) if len(peaks) > 1 else [],
        note=told_of_memory(record.memory, len(peaks)),
    )


def build_facts(lines: list[dict[str, Any]], peaks: list[int]) -> list[tuple[str, str, str]]:
    """Medians over records: one with an evaluation or a checkpoint in it says little."""
    speed = statistics.median(line["samples_per_s"] for line in lines)
    wait = statistics.median(line["data_wait"] for line in lines)
    facts = [("Speed", f"{wording.number(speed)} samples/s", "median of the records of metrics.jsonl")]
    timed = [line for line in lines if "step_p50" in line]
    if timed:
        middle, slow = (statistics.median(line[name] for line in timed) for name in MILLISECONDS)
        told = f"median; 95{wording.SPACE}% within {wording.milliseconds(slow)}"
        facts.append(("A step", wording.milliseconds(middle), told))
    facts.append(("Waiting for data", wording.percent(wait), "of the time"))
    if peaks:
        most = max(peaks)
        of = f"rank {peaks.index(most)} of {len(peaks)}; the least {wording.size(min(peaks))}" if len(peaks) > 1 else ""
        facts.append(("Peak memory", wording.size(most), of))
    return facts


def choose_panels(lines: list[dict[str, Any]]) -> list[Panel]:
    """Only what the records tell."""
    timed = [series(lines, key, name) for key, name in MILLISECONDS.items()]
    panels = [
        Panel(title="Throughput, samples/s", series=[series(lines, "samples_per_s", "speed")], from_zero=True),
        Panel(title="Time of a step, ms", series=[times(each, 1000) for each in timed], from_zero=True),
        Panel(
            title="Time spent waiting for data",
            series=[series(lines, "data_wait", "wait")],
            percent=True,
            from_zero=True,
        ),
        Panel(title="Peak memory, GB", series=[times(series(lines, "memory", "most"), 1e-9)], from_zero=True),
    ]
    return drawable(panels)


def times(line: Series, factor: float) -> Series:
    """The line in another unit."""
    return Series(name=line.name, steps=line.steps, values=[factor * value for value in line.values])


def build_ranks(peaks: list[int]) -> list[RankMemory]:
    """In the order of ranks; where there are many, those with the most."""
    most = max(peaks) or 1
    chosen = sorted(sorted(range(len(peaks)), key=lambda rank: -peaks[rank])[:RANKS])
    return [RankMemory(name=f"rank {n}", held=wording.size(peaks[n]), length=peaks[n] / most) for n in chosen]


def told_of_memory(memory: dict[str, Any], ranks: int) -> str:
    if not ranks:
        return ""
    of = "held by torch on its GPU" if memory.get("device") == "cuda" else "of its process, without loader processes"
    shown = f" The {RANKS} of {wording.count(ranks)} ranks with the most." if ranks > RANKS else ""
    return f"The most memory of a rank at a time, {of}.{shown}"
