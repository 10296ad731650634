"""What a dataset holds: a table on the terminal, and one page."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmpretrain.core.settings import dump
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample
from mmpretrain.data.fingerprints import Fingerprints, Work
from mmpretrain.data.samples import Reading, ShardReader, decode
from mmpretrain.data.statistics import (
    Tally,
    draw,
    draw_samples,
    member_facts,
    percentiles,
    split_facts,
    tally,
)
from mmpretrain.data.storage import Storage
from mmpretrain.data.tokenizer import ClipTokenizer
from mmpretrain.recipes.datasets.check import can_hash
from mmpretrain.recipes.looks import (
    Facts,
    hold_pictures,
    open_datasets,
    place_for,
    plural,
    read_fingerprints,
    say,
    write,
)
from mmpretrain.recipes.thumbnails import example
from mmpretrain.report import wording
from mmpretrain.report.dataset_page import render_dataset

EXAMPLES = 48
CONTEXT = 77
"""Tokens of CLIP's context: longer captions are cut in training."""


def stats(
    name: str,
    count: int,
    seed: int,
    page: Path | None,
    workers: int,
    console: Console,
    storage: Storage | None = None,
) -> Facts:
    """Count what the indexes know of all samples, look at `count` drawn ones, and write the page.

    Args:
        name: `NAME` for all splits together, or `NAME:SPLIT`.
    """
    datasets = open_datasets(name, storage, console)
    work = draw_samples(datasets, count, seed)
    pictures = hold_pictures(datasets)
    prints = read_fingerprints(work, workers, console, perceptual=pictures and can_hash(console))
    facts = {
        "name": datasets[0].folder.resolve().name,
        "pictures": pictures,
        **card_facts(datasets),
        "seed": seed,
        "splits": {dataset.split: split_facts(dataset) for dataset in datasets},
        "samples": sum(map(len, datasets)),
        **member_facts(datasets[0].card, [shard for dataset in datasets for shard in dataset.shards]),
        **drawn_facts(work, prints, pictures),
    }
    page = page or place_for(datasets[0], "stats.html")
    write(page, render_dataset({**facts, "examples": examples(work, seed)}))
    console.print(table(facts))
    say(
        console,
        f"{page}: {plural(facts['samples'], 'sample')}, {len(prints):,} of {facts['looked_at']:,} looked at are sound. "
        f"next: mmpretrain data dedup {name}",
    )
    return {**facts, "page": str(page)}


def card_facts(datasets: Sequence[Dataset]) -> Facts:
    card = datasets[0].card
    return {
        "title": card.title,
        "description": card.description,
        "sources": [dump(source) for source in card.sources],
        "datasheet": asdict(card.datasheet),
        "language_field": card.language,
        "digests": {dataset.split: dataset.digest for dataset in datasets},
    }


def drawn_facts(work: Sequence[Work], prints: Fingerprints, pictures: bool) -> Facts:
    """What only reading samples can tell."""
    found = tally(work)
    damage: dict[str, int] = {}
    for fault in prints.faults:
        damage[fault.reason] = damage.get(fault.reason, 0) + 1
    lengths = token_lengths(found.captions)
    return {
        "looked_at": sum(len(part.rows or ()) for part in work),
        "damage": damage,
        "copies": copies(prints) if pictures else equal_texts(prints),
        "words": {str(words): found.words[words] for words in sorted(found.words)},
        "tokens": {str(length): lengths.count(length) for length in sorted(set(lengths))},
        "cut_captions": sum(length > CONTEXT for length in lengths),
        "languages": dict(found.languages.most_common()),
        "formats": dict(found.formats.most_common()),
        **picture_sides(found),
        "labels": dict(found.labels.most_common()),
        "galleries": dict(found.galleries.most_common()),
    }


def picture_sides(found: Tally) -> Facts:
    """Shorter sides and aspects, and how often each size comes."""
    sizes = found.widths_heights.most_common()
    short = [min(size) for size, times in sizes for _ in range(times)]
    aspects = [max(size) / min(size) for size, times in sizes for _ in range(times)]
    return {
        "picture_sizes": {f"{width} x {height}": times for (width, height), times in sizes[:20]},
        "short_sides": {str(side): short.count(side) for side in sorted(set(short))},
        "short_side": percentiles(short),
        "aspects": [round(aspect, 3) for aspect in sorted(aspects)],
    }


def token_lengths(captions: list[str]) -> list[int]:
    """Tokens of each caption under CLIP's vocabulary, start and end included, uncut."""
    if not captions:
        return []
    tokenizer = ClipTokenizer(context_length=4096).build(())
    parts = [captions[start : start + 256] for start in range(0, len(captions), 256)]
    return [length for part in parts for length in tokenizer(part)[1].sum(dim=1).tolist()]


def copies(prints: Fingerprints) -> Facts:
    """Equal and near-duplicate pictures among the samples that were looked at; empty without imagehash."""
    if not prints.hashed_N.any():
        return {}
    from mmpretrain.data.duplicates import Near, find_duplicates, first_of_equals, groups_of

    found = find_duplicates(prints, Near())
    kinds = {
        "pixels": groups_of(found.first_N),
        "near": groups_of(found.components()),
        "caption": groups_of(first_of_equals(prints.caption_N)),
    }
    return {kind: sum(len(group) - 1 for group in groups) for kind, groups in kinds.items()}


def equal_texts(prints: Fingerprints) -> Facts:
    """Equal ones in a set of texts without pictures."""
    return {"caption": len(prints) - len(set(prints.caption_N.tolist()))}


def examples(work: Sequence[Work], seed: int) -> list[dict[str, Any]]:
    """Some of the drawn samples as pictures; damaged ones are left out."""
    places = [(part, row) for part in work for row in part.rows or ()]
    reader, shown = ShardReader(), []
    for place in draw(len(places), EXAMPLES, seed).tolist():
        part, row = places[place]
        try:
            sample = decode(part.card, reader.read(part.shard, row), part.shard.keys[row], row, Reading())
        except BadSample:
            continue
        shown.append({**example(sample), "split": part.split})
    return shown


def table(facts: Facts) -> Table:
    """The splits and what was found, as a person reads them."""
    shown = Table("", "value", title=escape(f"{facts['name']}: {facts['title']}"), show_header=False)
    looked, samples = facts["looked_at"], facts["samples"]
    drawn = "of all" if looked == samples else f"of {looked:,} drawn with seed {facts['seed']}"
    for split, row in facts["splits"].items():
        size = f"{plural(row['shards'], 'shard')}, {wording.size(row['bytes'])}"
        shown.add_row(f"split {split}", f"{plural(row['samples'], 'sample')}, {size}")
    for title, value in lines(facts):
        shown.add_row(title, escape(value))  # languages and classes come from anywhere
    exact = "files and equal files" if facts["pictures"] else "files"
    shown.caption = f"{exact}: of all {samples:,} samples; the rest {drawn}"
    return shown


def lines(facts: Facts) -> list[tuple[str, str]]:
    members = ", ".join(f".{suffix} {wording.size(row['bytes'])}" for suffix, row in facts["members"].items())
    short, words = facts["short_side"], spread(facts["words"])
    of_pictures = [
        ("equal files", f"{facts['equal_files']['surplus']:,} are copies"),
        ("formats", _counts(facts["formats"])),
        ("shorter side", f"{_range(short)} px"),
    ]
    found = [
        ("files", members),
        *(of_pictures[:1] if facts["pictures"] else []),
        ("missing members", _counts(facts["missing"])),
        ("damaged", _counts(facts["damage"])),
        ("caption words" if facts["pictures"] else "words", _range(words)),
        ("CLIP tokens", f"{_range(spread(facts['tokens']))}; {facts['cut_captions']:,} longer than {CONTEXT}"),
        ("languages" if facts["language_field"] else "scripts (guessed)", _counts(facts["languages"])),
        *(of_pictures[1:] if facts["pictures"] else []),
    ]
    kinds = facts["copies"]
    if kinds and not facts["pictures"]:
        found.append(("copies among them", f"{kinds['caption']:,} equal texts"))
    elif kinds:
        told = f"{kinds['pixels']:,} equal, {kinds['near']:,} equal or near; {kinds['caption']:,} equal captions"
        found.append(("copies among them", told))
    return found


def spread(counts: dict[str, int]) -> dict[str, float]:
    """Percentiles of lengths that are given as counts."""
    return percentiles([int(length) for length, times in counts.items() for _ in range(times)])


def _counts(counts: dict[str, int]) -> str:
    told = [f"{name} {count:,}" for name, count in list(counts.items())[:6]]
    return ", ".join([*told, *([f"{len(counts) - 6} others"] if len(counts) > 6 else [])]) or "none"


def _range(values: dict[str, float]) -> str:
    if not values:
        return "none"
    return f"median {values['median']:,.0f}, {values['min']:,.0f} to {values['max']:,.0f}"
