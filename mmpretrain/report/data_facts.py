"""The data behind a run: splits, how long captions are, galleries, classes, examples, licences."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record

BINS = 14
LISTED = 50
"""Bad samples that the page names."""
LARGEST = 20
"""Galleries or classes that a chart names; the others are summed up."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One line of a bar chart."""

    name: str
    count: str
    share: str
    length: float
    """Of the longest bar, between 0 and 1."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Counts by name."""

    title: str
    columns: list[Column]


@dataclass(frozen=True, kw_only=True)
class SplitRow:
    """One line of the table of splits."""

    name: str
    samples: str
    shards: str
    size: str
    purpose: str


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Bad samples, each once, as (shard, key, reason, how often)."""

    said: str
    reasons: list[Column]
    rows: list[tuple[str, str, str, str]]


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The dataset as the page shows it."""

    name: str
    title: str
    description: str
    digest: str
    train_split: str
    trained_on: str
    """What of that split, where it is not all."""
    has_pictures: bool
    splits: list[SplitRow]
    basis: str
    """What the charts rest on, where that is not the whole split."""
    charts: list[Chart]
    ledger: Ledger | None
    """Samples that could not be used in training."""
    examples: list[dict[str, Any]]
    sources: list[dict[str, Any]]


def build_data_facts(record: Record) -> DataFacts | None:
    """The section's content, None where the folder has no data.json."""
    data = record.data
    if not data:
        return None
    return DataFacts(
        name=data.get("name", ""),
        title=data.get("title", ""),
        description=data.get("description", ""),
        digest=data.get("digest", ""),
        train_split=data.get("train_split", ""),
        trained_on=build_part(data),
        has_pictures=record.has_pictures,
        splits=[build_split(name, split) for name, split in data.get("splits", {}).items()],
        basis=build_basis(data),
        charts=build_charts(data),
        ledger=build_ledger(record.faults),
        examples=data.get("examples", []),
        sources=[{**source, "link": safe_link(source.get("url", ""))} for source in data.get("sources", [])],
    )


def build_part(data: dict[str, Any]) -> str:
    """How many samples were drawn to train on; empty for all, as in records that know of nothing else."""
    whole = data.get("splits", {}).get(data.get("train_split", ""), {}).get("samples", 0)
    part = data.get("trained_on", whole)
    return f"{wording.count(part)} of them" if part < whole else ""


def build_basis(data: dict[str, Any]) -> str:
    """On how many samples the charts rest; empty for all, as in records that know of nothing else."""
    whole = data.get("splits", {}).get(data.get("train_split", ""), {}).get("samples", 0)
    counted = data.get("counted", whole)
    if counted >= whole:
        return ""
    return f"Counted over {wording.count(counted)} samples drawn from the {wording.count(whole)} trained on."


def build_split(name: str, split: dict[str, Any]) -> SplitRow:
    """One split as text."""
    return SplitRow(
        name=name,
        samples=wording.count(split["samples"]),
        shards=wording.count(split["shards"]),
        size=wording.size(split["bytes"]),
        purpose=wording.sentence(split.get("purpose", "")),
    )


def build_charts(data: dict[str, Any]) -> list[Chart]:
    """Caption lengths, galleries and classes of the training split; empty ones are left out."""
    text, rows = ("caption", "Pairs") if data.get("pictures", True) else ("text", "Texts")
    counts = {
        f"Words in a {text}": bin_lengths(data.get("caption_words", {})),
        f"{rows} by gallery": largest(data.get("galleries", {})),
        f"{rows} by class": largest(data.get("labels", {})),
    }
    return [Chart(title=title, columns=build_columns(found)) for title, found in counts.items() if found]


def build_ledger(faults: Sequence[dict[str, Any]]) -> Ledger | None:
    """What ledger.jsonl tells, None where it is empty."""
    if not faults:
        return None
    often = Counter((str(each["dataset"]), str(each["shard"]), str(each["key"])) for each in faults)
    first = {(str(each["dataset"]), str(each["shard"]), str(each["key"])): each for each in reversed(faults)}
    reasons = Counter(str(each["reason"]) for each in first.values())
    shown = f"; the first {LISTED} are listed" if len(first) > LISTED else ""
    return Ledger(
        said=f"{wording.count(len(first))} could not be used, {wording.count(len(faults))} times in all, and gave way "
        f"to reserves{shown}. ledger.jsonl of the run has every one.",
        reasons=build_columns(dict(reasons.most_common())),
        rows=[
            (f"{dataset}/{shard}", key, _why(first[dataset, shard, key]), wording.count(often[dataset, shard, key]))
            for dataset, shard, key in sorted(first)[:LISTED]
        ],
    )


def _why(fault: dict[str, Any]) -> str:
    detail = str(fault.get("detail", ""))
    return f"{fault['reason']}: {detail}" if detail else str(fault["reason"])


def build_columns(counts: Mapping[str, int]) -> list[Column]:
    """Bars that share one scale."""
    total, longest = sum(counts.values()), max(counts.values())
    return [
        Column(
            name=name,
            count=wording.count(amount),
            share=wording.percent(amount / total) if total else "",
            length=amount / longest if longest else 0.0,
        )
        for name, amount in counts.items()
    ]


def bin_lengths(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts by number of words, in at most `BINS` bins of equal width; gaps stay visible as zeros."""
    lengths = {int(length): amount for length, amount in counts.items()}
    if not lengths:
        return {}
    low, high = min(lengths), max(lengths)
    width = math.ceil((high - low + 1) / BINS)
    binned = dict.fromkeys(range(low, high + 1, width), 0)
    for length, amount in lengths.items():
        binned[low + (length - low) // width * width] += amount
    return {str(first) if width == 1 else f"{first}–{first + width - 1}": n for first, n in binned.items()}


def largest(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent names, largest first, and the sum of the others."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    rest = ordered[LARGEST:]
    others = {f"{len(rest)} others": sum(amount for _, amount in rest)} if rest else {}
    return dict(ordered[:LARGEST]) | others


def safe_link(url: str) -> str:
    """The address if it is one of the web; a card could also hold a script."""
    return url if url.startswith(("https://", "http://")) else ""
