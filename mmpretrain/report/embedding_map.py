"""The map of embeddings: pictures and texts as points, coloured by class and by gallery, and some of the pictures."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record

COLOURS = 10
"""Names that get a colour of their own; the others share grey."""
WIDTH, HEIGHT, MARGIN = 520, 400, 14
RADIUS = 12
"""Half the side of a thumbnail, in the drawing's units."""
CROWDED = 1.5
"""Thumbnails nearer to each other than this many of their radii are left out."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A picture or a text."""

    x: float
    y: float
    colour: int
    """1 to COLOURS, 0 for grey."""
    title: str
    image: str = ""


@dataclass(frozen=True, kw_only=True)
class Key:
    """One colour."""

    name: str
    colour: int
    count: str


@dataclass(frozen=True, kw_only=True)
class Coloured:
    """All points, coloured by one of their facts."""

    title: str
    keys: list[Key]
    pictures: list[Point]
    texts: list[Point]


@dataclass(frozen=True, kw_only=True)
class SplitMap:
    """One split."""

    label: str
    purpose: str
    note: str
    across: str
    """What the horizontal axis is, in words."""
    up: str
    views: list[Coloured]
    thumbnails: list[Point]


def build_maps(record: Record) -> list[SplitMap] | None:
    """Every split with a map, None without any."""
    return [build_split_map(record, split) for split in record.shown("retrieval", "map")] or None


def build_split_map(record: Record, found: dict[str, Any]) -> SplitMap:
    dataset, told = found.get("dataset", ""), found["map"]
    place = scale_of([*told["pictures"], *told["texts"]])
    first, second = (wording.percent(share) for share in told["explained"])
    views = [
        coloured(title, name, told, place)
        for name, title in (("class", "Coloured by class"), ("gallery", "Coloured by gallery"))
        if len({each.get(name, "") for each in told["pictures"]}) > 1
    ]
    return SplitMap(
        label=record.label(dataset, found["split"]),
        purpose=record.purpose(dataset, found["split"]),
        note=note_of(told),
        across=f"first component, {first} of the variance",
        up=f"second, {second}",
        views=views or [coloured("Pictures and texts", "", told, place)],
        thumbnails=thumbnails(told, place),
    )


def note_of(told: dict[str, Any]) -> str:
    """What is drawn, of how many, and what was taken out of it."""
    drawn = wording.count(len(told["pictures"]))
    of = f" of {wording.count(told['of'])}" if told["of"] > len(told["pictures"]) else ""
    share = wording.percent(sum(told["explained"]))
    return (
        f"{drawn}{of} pictures and {wording.count(len(told['texts']))} texts of theirs. The plane holds {share} of "
        f"their variance: what lies apart here is apart, what lies together need not be. The means of pictures and of "
        f"texts, {told['gap']:.2f} apart, were taken off each."
    )


Scale = tuple[float, float, float]


def scale_of(points: list[dict[str, Any]]) -> Scale:
    """Left, top and units a pixel, the same along both axes, so that distances can be compared."""
    xs, ys = [each["x"] for each in points], [each["y"] for each in points]
    across, up = max(xs) - min(xs), max(ys) - min(ys)
    unit = max(across / (WIDTH - 2 * MARGIN), up / (HEIGHT - 2 * MARGIN)) or 1.0
    left = min(xs) - (WIDTH * unit - across) / 2
    top = max(ys) + (HEIGHT * unit - up) / 2
    return left, top, unit


def coloured(title: str, name: str, told: dict[str, Any], scale: Scale) -> Coloured:
    """One view; the most frequent names get the colours."""
    counts = Counter(each.get(name, "") for each in told["pictures"])
    counts.pop("", None)
    frequent = [value for value, _ in counts.most_common(COLOURS)]
    colours = {value: number + 1 for number, value in enumerate(frequent)}
    keys = [Key(name=value, colour=colours[value], count=wording.count(counts[value])) for value in frequent]
    others = len(told["pictures"]) - sum(counts[value] for value in frequent)
    if others and name:
        keys.append(Key(name="others", colour=0, count=wording.count(others)))
    return Coloured(
        title=title,
        keys=keys,
        pictures=[point(each, name, colours, scale) for each in told["pictures"]],
        texts=[point(each, name, colours, scale) for each in told["texts"]],
    )


def point(each: dict[str, Any], name: str, colours: dict[str, int], scale: Scale) -> Point:
    left, top, unit = scale
    facts = [fact for fact in (each.get("class", ""), each.get("gallery", "")) if fact]
    return Point(
        x=round((each["x"] - left) / unit, 1),
        y=round((top - each["y"]) / unit, 1),
        colour=colours.get(each.get(name, ""), 0 if name else 1),
        title=f"{each['caption']} ({', '.join(facts)})" if facts else each["caption"],
        image=each.get("image", ""),
    )


def thumbnails(told: dict[str, Any], scale: Scale) -> list[Point]:
    """Pictures at their points, but for those that would cover another one."""
    found: list[Point] = []
    for each in (point(each, "", {}, scale) for each in told["pictures"] if each.get("image")):
        if all(max(abs(each.x - other.x), abs(each.y - other.y)) > CROWDED * RADIUS for other in found):
            found.append(each)
    return found
