"""What a dataset holds in numbers: exact counts from its indexes, everything else from a drawn part of its samples."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from mmpretrain.core.counter import counter_hash, name_to_int, permutation
from mmpretrain.data.card import Card
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample
from mmpretrain.data.fingerprints import Work
from mmpretrain.data.images import open_image
from mmpretrain.data.index import ShardIndex
from mmpretrain.data.samples import Reading, ShardReader, decode_texts, find_picture


def draw(length: int, count: int, seed: int) -> np.ndarray:
    """`count` different numbers below `length`, or all where there are fewer, in rising order; int64."""
    key = name_to_int(f"draw {seed}")
    if length <= 4 * count:
        return np.sort(permutation(length, key)[:count])
    # of millions of samples a few thousand: hashing four times as many as are asked for leaves enough different ones
    numbers = (counter_hash(key, np.arange(4 * count)) % np.uint64(length)).astype(np.int64)
    _, first = np.unique(numbers, return_index=True)
    return np.sort(numbers[np.sort(first)[:count]])


MOST_SHARDS = 64
"""Indexes that a look at some samples opens."""


def draw_samples(datasets: Sequence[Dataset], count: int, seed: int) -> list[Work]:
    """Some samples of all splits together, by shard; of many shards, out of MOST_SHARDS that are drawn first."""
    every = [(dataset, number) for dataset in datasets for number in range(len(dataset.shards))]
    places = [every[place] for place in draw(len(every), MOST_SHARDS, seed).tolist()]
    starts = np.cumsum([0, *(dataset.facts[number].samples for dataset, number in places)])
    chosen = draw(int(starts[-1]), count, seed)
    rows = [chosen[(chosen >= start) & (chosen < end)] - start for start, end in pairwise(starts)]
    return [
        Work(dataset.card, dataset.split, dataset.names[number], dataset.shards[number], part.tolist())
        for (dataset, number), part in zip(places, rows, strict=True)
        if len(part)  # no other index is opened
    ]


def split_facts(dataset: Dataset) -> dict[str, Any]:
    """Counts of a split and what its card says it is for."""
    return {
        "samples": len(dataset),
        "shards": len(dataset.shards),
        "bytes": dataset.bytes,
        "purpose": dataset.card.splits[dataset.split].purpose,
    }


def member_facts(card: Card, shards: Iterable[ShardIndex]) -> dict[str, Any]:
    """Exact counts from the indexes alone: members by suffix, what is missing, equal picture files.

    Files are taken for equal where size and CRC-32 are: of ten million, about one pair by mere chance.
    """
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    wanted = [suffixes for suffixes in (card.image, [card.caption], [card.mask] if card.mask else []) if suffixes]
    missing: Counter[str] = Counter()
    pictures = [np.zeros(0, dtype=np.uint64)]
    for shard in shards:
        for number, suffix in enumerate(shard.suffixes):
            rows = shard.suffix_ids == number
            counts[suffix] += int(rows.sum())
            sizes[suffix] += int(shard.sizes[rows].sum(dtype=np.int64))
            if suffix in card.image:
                pictures.append(shard.sizes[rows].astype(np.uint64) << np.uint64(32) | shard.crc32s[rows])
        for suffixes in wanted:
            numbers = [number for number, suffix in enumerate(shard.suffixes) if suffix in suffixes]
            samples = np.repeat(np.arange(len(shard)), np.diff(shard.starts))
            found = np.unique(samples[np.isin(shard.suffix_ids, numbers)])
            missing[" or ".join(suffixes)] += len(shard) - len(found)
    files = np.concatenate(pictures)
    _, times = np.unique(files, return_counts=True)
    return {
        "members": {suffix: {"count": counts[suffix], "bytes": sizes[suffix]} for suffix in sorted(counts)},
        "missing": {suffix: count for suffix, count in missing.items() if count},
        "equal_files": {"groups": int((times > 1).sum()), "surplus": int((times - 1).sum())},
        "picture_bytes": percentiles((files >> np.uint64(32)).tolist()),
    }


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts over the samples that were looked at."""

    captions: list[str] = field(default_factory=list)
    words: Counter[int] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    """By the card's language field, or by script where it has none."""
    formats: Counter[str] = field(default_factory=Counter)
    """JPEG, PNG or WEBP with the colour mode."""
    widths_heights: Counter[tuple[int, int]] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    galleries: Counter[str] = field(default_factory=Counter)


def tally(work: Iterable[Work], reading: Reading | None = None) -> Tally:
    """Captions and headers of pictures; what cannot be read is left to the fingerprints, which name it."""
    found = Tally()
    for part, members in _members(work):
        try:
            _count(found, part.card, members, reading or Reading())
        except BadSample:
            continue
    return found


def _members(work: Iterable[Work]) -> Iterator[tuple[Work, dict[str, bytes]]]:
    reader = ShardReader()
    for part in work:
        for row in range(len(part.shard)) if part.rows is None else part.rows:
            try:
                members = reader.read(part.shard, row)
            except BadSample:
                continue
            yield part, members


def _count(found: Tally, card: Card, members: dict[str, bytes], reading: Reading) -> None:
    texts = decode_texts(card, members, reading)
    picture = find_picture(members, card)
    if picture is not None:
        image = open_image(picture, reading.limits.image)
        found.formats[f"{image.format} {image.mode}"] += 1
        found.widths_heights[image.size] += 1
    language = texts.facts.get(card.language) if card.language else script(texts.caption)
    found.captions.append(texts.caption)
    found.words[len(texts.caption.split())] += 1
    found.languages[str(language or "not given")] += 1
    found.labels.update(card.classes[place] for place in {texts.label, *texts.labels} - {-1})
    if texts.gallery:
        found.galleries[texts.gallery] += 1


def script(text: str) -> str:
    """The script that most letters of a text are of, by their Unicode names: Latin, Cyrillic, Han, ..."""
    kinds = Counter(_script_of(letter) for letter in text if letter.isalpha())
    # Japanese mixes kana with more Han than kana
    if kinds["Kana"]:
        return "Kana"
    return kinds.most_common(1)[0][0] if kinds else "no letters"


def _script_of(letter: str) -> str:
    first = unicodedata.name(letter, "unknown").split(" ")[0].split("-")[0]
    return {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana", "FULLWIDTH": "Latin"}.get(first, first.capitalize())


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Smallest, median, mean, 99th percentile and largest; empty without values."""
    if not len(values):
        return {}
    array = np.asarray(values, dtype=np.float64)
    low, median, tail, high = np.percentile(array, [0, 50, 99, 100])
    parts = {"min": low, "median": median, "mean": array.mean(), "p99": tail, "max": high}
    return {name: float(value) for name, value in parts.items()}
