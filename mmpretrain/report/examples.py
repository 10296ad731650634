"""Queries with their first answers: what the figures look like in pictures."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record

SHOWN = 12
"""Queries of one direction and split."""
KINDS = {
    "hit": ("Best hits", "a right answer comes first, farthest ahead of the first wrong one"),
    "near": ("Near misses", "a right answer comes soon after the first, by the least distance"),
    "miss": ("Worst misses", "the most wrong answers are ahead of the first right one"),
    "": ("", ""),
}
"""What is picked for show; records of earlier versions hold hits and misses without a kind."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """One search; `found` says whether a right answer is among those shown."""

    query: dict[str, Any]
    top: list[dict[str, Any]]
    found: bool
    place: str
    """Where the first right answer stands, in words."""
    right: dict[str, Any] | None
    """The best right answer, where it is not among those shown."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Searches that were picked for one reason."""

    title: str
    reason: str
    queries: list[Query]


@dataclass(frozen=True, kw_only=True)
class Direction:
    """The searches of one direction in one split."""

    name: str
    title: str
    kinds: list[Kind]
    note: str


@dataclass(frozen=True, kw_only=True)
class SplitExamples:
    """The searches of one split."""

    label: str
    purpose: str
    directions: list[Direction]


def build_examples(record: Record) -> list[SplitExamples] | None:
    """Every split with predictions, None without any."""
    return [build_split_examples(record, split) for split in record.shown("retrieval", "queries")] or None


def build_split_examples(record: Record, found: dict[str, Any]) -> SplitExamples:
    """Both directions of one split."""
    dataset = found.get("dataset", "")
    return SplitExamples(
        label=record.label(dataset, found["split"]),
        purpose=record.purpose(dataset, found["split"]),
        directions=[
            build_direction(name, [query for query in found["queries"] if query["direction"] == name], found)
            for name in wording.DIRECTIONS
            if any(query["direction"] == name for query in found["queries"])
        ],
    )


def build_direction(name: str, queries: list[dict[str, Any]], found: dict[str, Any]) -> Direction:
    """A mix of searches that found a right answer and searches that did not."""
    # a picture looks for texts, of which there may be more
    sizes = found.get("texts" if name == "i2t" and "texts" in found else "galleries", {})
    kinds = [
        Kind(title=title, reason=reason, queries=mix(build_query(each, sizes) for each in own))
        for kind, (title, reason) in KINDS.items()
        if (own := [query for query in queries if query.get("kind", "") == kind])
    ]
    chosen = [query for kind in kinds for query in kind.queries]
    hits = sum(query.found for query in chosen)
    return Direction(
        name=name,
        title=wording.DIRECTIONS[name],
        kinds=kinds,
        note=f"{len(chosen)} searches picked for show, {hits} with a right answer among the first {found.get('k', 5)}; "
        "for shares see the results.",
    )


def build_query(query: dict[str, Any], galleries: dict[str, int]) -> Query:
    """One search; the file's rank counts from 0, a reader from 1."""
    gallery = query.get("gallery", "")
    size = f" of {wording.count(galleries[gallery])}" if gallery in galleries else ""
    within = f" in {gallery}" if gallery else ""
    return Query(
        query=query["query"],
        top=query["top"],
        found=any(answer["hit"] for answer in query["top"]),
        place=f"first right answer at place {wording.count(query['rank'] + 1)}{size}{within}",
        right=query.get("right"),
    )


def mix(queries: Iterable[Query]) -> list[Query]:
    """Hits and misses in turn, as many of each as there are, `SHOWN` at most."""
    known = list(queries)
    hits, misses = [q for q in known if q.found], [q for q in known if not q.found]
    in_turn = [query for pair in zip_longest(hits, misses) for query in pair if query is not None]
    return in_turn[:SHOWN]
