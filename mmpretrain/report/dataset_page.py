"""The page of a dataset: what it holds, what is wrong with it, who made it, and its datasheet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmpretrain import __version__
from mmpretrain.report import wording
from mmpretrain.report.data_facts import Chart, SplitRow, bin_lengths, build_columns, build_split, largest, safe_link
from mmpretrain.report.page import TEMPLATES, environment

SIDES = (64, 128, 200, 256, 384, 512, 768, 1024, 2048)
"""Edges of the bins of picture sides, in pixels."""
ASPECTS = (1.01, 4 / 3, 1.5, 2, 3)
"""Edges of the bins of longer / shorter side; 3 is where DataComp's basic filter draws the line."""
QUESTIONS = {
    "motivation": "Why was it made, by whom, and who paid?",
    "composition": "What is a sample, what is missing, whom does it show, what is known to be wrong?",
    "collection": "How, when and by whom was it acquired; did the people concerned know and agree?",
    "preprocessing": "What was cleaned, filtered or labelled, and is the raw data kept?",
    "uses": "What has it been used for, and what should it not be used for?",
    "distribution": "How is it given away, and under which terms?",
    "maintenance": "Who keeps it, how are errors reported, will it change?",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question of the datasheet."""

    topic: str
    question: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the table of what is wrong or double."""

    name: str
    count: str
    share: str
    note: str


@dataclass(frozen=True, kw_only=True)
class DatasetPage:
    """The dataset as the page shows it."""

    name: str
    title: str
    description: str
    facts: list[tuple[str, str, str]]
    """Term, value, note."""
    basis: str
    """What the counts rest on."""
    splits: list[SplitRow]
    has_pictures: bool
    captions: list[Chart]
    pictures: list[Chart]
    findings: list[Finding]
    examples: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    answers: list[Answer]
    digests: dict[str, str]


def render_dataset(facts: Mapping[str, Any]) -> str:
    """The page as text: one file that loads nothing."""
    return (
        environment()
        .get_template("dataset.html")
        .render(
            content=build_page(facts),
            style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
            version=__version__,
        )
    )


def build_page(facts: Mapping[str, Any]) -> DatasetPage:
    """The page's content from plain values."""
    return DatasetPage(
        name=facts["name"],
        title=facts["title"],
        description=facts["description"],
        facts=key_facts(facts),
        basis=basis(facts),
        splits=[build_split(name, split) for name, split in facts["splits"].items()],
        has_pictures=facts["pictures"],
        captions=caption_charts(facts),
        pictures=picture_charts(facts),
        findings=list(findings(facts)),
        examples=facts["examples"],
        sources=[{**source, "link": safe_link(source.get("url", ""))} for source in facts["sources"]],
        answers=[
            Answer(topic=topic.capitalize(), question=question, text=facts["datasheet"].get(topic, "").strip())
            for topic, question in QUESTIONS.items()
        ],
        digests=facts["digests"],
    )


def basis(facts: Mapping[str, Any]) -> str:
    """On how many samples the figures rest."""
    looked, samples = wording.count(facts["looked_at"]), wording.count(facts["samples"])
    if facts["looked_at"] == facts["samples"]:
        return f"All {samples} samples were looked at."
    drawn, exact = (
        ("Captions, pictures, damage and copies", "Samples, shards, bytes, missing members and equal files")
        if facts["pictures"]
        else ("Texts, damage and copies", "Samples, shards, bytes and missing members")
    )
    told = f"{drawn}: of {looked} samples drawn from all {samples} with seed {facts['seed']}"
    return f"{told}. {exact}: exact counts over all."


def key_facts(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The numbers on top of the page."""
    size = sum(split["bytes"] for split in facts["splits"].values())
    shards = sum(split["shards"] for split in facts["splits"].values())
    told = [
        ("Samples", wording.count(facts["samples"]), f"in {wording.count(shards)} shards"),
        ("Bytes", wording.size(size), ", ".join(f".{name}" for name in facts["members"])),
    ]
    if facts["words"]:
        noun = "Caption" if facts["pictures"] else "Text"
        told.append((noun, f"{median(facts['words'])} words", f"median; {median(facts['tokens'])} tokens of CLIP"))
    if facts["short_side"]:
        side = facts["short_side"]
        told.append(("Picture", f"{side['median']:,.0f} px", f"shorter side, median; smallest {side['min']:,.0f} px"))
    if facts["pictures"]:
        copies = facts["equal_files"]["surplus"]
        told.append(("Equal files", wording.count(copies), share(copies, facts["samples"])))
    damaged = sum(facts["damage"].values())
    told.append(("Damaged", wording.count(damaged), f"of {wording.count(facts['looked_at'])} looked at"))
    return told


def median(counts: Mapping[str, int]) -> int:
    """The length that half of the samples do not exceed."""
    half, seen = sum(counts.values()) / 2, 0
    for length in sorted(map(int, counts)):
        seen += counts[str(length)]
        if seen >= half:
            return length
    return 0


def share(count: int, total: int) -> str:
    return wording.percent(count / total) if total else ""


def caption_charts(facts: Mapping[str, Any]) -> list[Chart]:
    """Lengths and languages."""
    languages = "Language" if facts["language_field"] else "Script, guessed from the letters"
    return charts(
        {
            "Words in a caption" if facts["pictures"] else "Words in a text": cut_tail(facts["words"]),
            "Tokens of CLIP, start and end included": cut_tail(facts["tokens"]),
            languages: largest(facts["languages"]),
        }
    )


def picture_charts(facts: Mapping[str, Any]) -> list[Chart]:
    """Sizes, aspects, formats, classes and galleries."""
    sides = [int(side) for side, times in facts["short_sides"].items() for _ in range(times)]
    return charts(
        {
            "Shorter side in pixels": bin_by_edges(sides, SIDES, "{:.0f}", whole=True),
            "Longer side / shorter side": bin_by_edges(facts["aspects"], ASPECTS, "{:.3g}", first="square"),
            "Format and colour mode": largest(facts["formats"]),
            "Width x height": largest(facts["picture_sizes"]) if len(facts["picture_sizes"]) > 1 else {},
            "By class": largest(facts["labels"]),
            "By gallery": largest(facts["galleries"]),
        }
    )


def charts(counts: Mapping[str, Mapping[str, int]]) -> list[Chart]:
    return [Chart(title=title, columns=build_columns(found)) for title, found in counts.items() if found]


def cut_tail(counts: Mapping[str, int]) -> dict[str, int]:
    """Lengths in bins; those beyond the 99th percentile as one bar, or one endless text would flatten the rest."""
    if not counts:
        return {}
    limit, seen, total = 0, 0, sum(counts.values())
    for length in sorted(map(int, counts)):
        seen, limit = seen + counts[str(length)], length
        if seen >= 0.99 * total:
            break
    tail = total - seen
    binned = bin_lengths({length: times for length, times in counts.items() if int(length) <= limit})
    return binned | ({f"over {limit}": tail} if tail else {})


def bin_by_edges(
    values: Iterable[float], edges: tuple[float, ...], form: str, first: str = "", whole: bool = False
) -> dict[str, int]:
    """Counts between edges, from the first to the last bin that holds anything."""
    known = list(values)
    if not known:
        return {}
    counts = [0] * (len(edges) + 1)
    for value in known:
        counts[sum(value >= edge for edge in edges)] += 1
    texts = [form.format(edge) for edge in edges]
    ends = [form.format(edge - 1) for edge in edges] if whole else texts
    middle = [f"{low} to {high}" for low, high in zip(texts, ends[1:], strict=False)]
    names = [first or f"under {texts[0]}", *middle, f"{texts[-1]} and more"]
    filled = [place for place, count in enumerate(counts) if count]
    return {names[place]: counts[place] for place in range(filled[0], filled[-1] + 1)}


def findings(facts: Mapping[str, Any]) -> Iterable[Finding]:
    """Copies and damage; the share is of what was counted."""
    samples, looked = facts["samples"], facts["looked_at"]
    drawn = "looked at; mmpretrain data dedup looks at all" if looked != samples else "looked at"
    texts = "captions" if facts["pictures"] else "texts"
    if facts["pictures"]:
        copies = facts["equal_files"]["surplus"]
        yield _finding("Equal files", copies, samples, "copies by size and CRC-32, of all samples")
    names = {"pixels": "Equal pixels", "near": "Equal or near-duplicate pictures", "caption": f"Equal {texts}"}
    for kind, count in facts["copies"].items():
        yield _finding(names[kind], count, looked, f"surplus among the {wording.count(looked)} {drawn}")
    cut = facts["cut_captions"]
    yield _finding(
        f"{texts.capitalize()} longer than 77 tokens", cut, looked, "cut at CLIP's context length in training"
    )
    for suffix, count in facts["missing"].items():
        yield _finding(f"No .{suffix}", count, samples, "the card asks for it; training takes other samples instead")
    for reason, count in facts["damage"].items():
        yield _finding(
            reason.replace("_", " ").capitalize(), count, looked, "cannot be used; mmpretrain data check names them"
        )
    if not facts["damage"]:
        yield _finding("Damaged", 0, looked, "every sample looked at could be decoded")


def _finding(name: str, count: int, total: int, note: str) -> Finding:
    return Finding(name=name, count=wording.count(count), share=share(count, total), note=note)
