"""Everything that is wrong with a dataset: card, shards, samples, keys and leaks, each problem named."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from os.path import isfile  # Path.is_file raises for a name that is too long
from pathlib import Path

import numpy as np

from mmpretrain.core.errors import DataError
from mmpretrain.data.card import CARD, Card, expand_range, locate_shards, shard_name
from mmpretrain.data.fingerprints import Fingerprints
from mmpretrain.data.index import ShardIndex
from mmpretrain.data.shards import open_index
from mmpretrain.data.storage import Storage

APART = ("train", "val", "test")
"""Splits that must share nothing."""
EXAMPLES = 5
"""Samples that a problem names; all of them are counted."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One kind of thing that is wrong in one place."""

    kind: str
    """Class of problem in snake_case."""
    where: str
    """Split, shard or file."""
    count: int
    detail: str
    """One line for a person, with the remedy where there is one."""
    examples: list[str]
    """The first samples that it concerns."""
    warning: bool = False
    """Worth a look, but no reason to refuse the data."""


def check_card(folder: Path, card: Card, storage: Storage | None = None) -> Iterator[Problem]:
    """What the card says of itself and of the folder."""
    named: defaultdict[str, list[str]] = defaultdict(list)
    for split, part in card.splits.items():
        names = [name for pattern in part.shards for name in expand_range(pattern)]
        for name in names:
            named[name].append(split)
        places = zip(names, locate_shards(folder, card, split, storage), strict=True)
        missing = [name for name, place in places if isinstance(place, Path) and not isfile(place)]
        if missing or not names:
            detail = "the card names shards that are not there; restore them or take them out"
            yield _problem("missing_shard", split, missing, detail if names else "the split names no shard")
    for name, splits in named.items():
        if len(splits) > 1:
            yield _problem("shard_named_twice", name, splits, f"stands in {' and '.join(splits)}; name it once")
    others = sorted(path.name for path in folder.glob("*.tar") if path.name not in named)
    if others:
        detail = "tars that no split names; name them or move them away"
        yield _problem("unused_shard", CARD, others, detail, warning=True)
    unclear = [template for template in card.templates if "{c}" not in template]
    if unclear and card.classes:
        yield _problem("template_without_class", CARD, unclear, "a template without {c} says the same of every class")
    if len(set(card.classes)) < len(card.classes):
        doubled = [name for name, count in Counter(card.classes).items() if count > 1]
        yield _problem("class_twice", CARD, doubled, "classes must differ")


def open_shards(
    folder: Path, card: Card, storage: Storage | None = None
) -> tuple[dict[str, list[ShardIndex]], list[Problem]]:
    """Every shard that can be opened, by split, each hashed whole; and what is wrong with the others."""
    shards: dict[str, list[ShardIndex]] = {split: [] for split in card.splits}
    problems = []
    for split, part in card.splits.items():
        paths = locate_shards(folder, card, split, storage)
        for path in (path for path in paths if not isinstance(path, Path) or isfile(path)):
            try:
                shards[split].append(open_index(path, verify=True))
            except DataError as error:
                name = shard_name(folder, path)
                problems.append(_problem("damaged_shard", name, [name], str(error).removeprefix(f"{path}: ")))
        found = sum(map(len, shards[split]))
        # a shard that cannot be read explains a wrong count
        if part.samples is not None and len(shards[split]) == len(paths) and found != part.samples:
            detail = f"the card says {part.samples:,} samples, the shards hold {found:,}; correct {CARD}"
            problems.append(_problem("wrong_count", split, [], detail, count=abs(found - part.samples)))
    return shards, [*problems, *_notes(folder, shards)]


def _notes(folder: Path, shards: dict[str, list[ShardIndex]]) -> Iterator[Problem]:
    """Files of the tars that stand in no sample."""
    for shard in (shard for parts in shards.values() for shard in parts if shard.notes):
        name = shard_name(folder, shard.path)
        yield _problem("unused_member", name, list(shard.notes), "files that no sample has", warning=True)


def check_keys(shards: dict[str, list[ShardIndex]]) -> Iterator[Problem]:
    """Keys that stand in several shards of one split: galleries, lists and ledgers could not tell them apart."""
    for split, parts in shards.items():
        counts = Counter(key for shard in parts for key in shard.keys)
        doubled = [key for key, count in counts.items() if count > 1]
        if doubled:
            detail = "keys stand in several shards of the split; lists of samples name the shard as well"
            yield _problem("key_twice", split, doubled, detail, warning=True)


def check_samples(prints: Fingerprints) -> Iterator[Problem]:
    """Samples that cannot be used, by split and reason."""
    found = defaultdict(list)
    for fault in prints.faults:
        found[fault.split, fault.reason].append(fault)
    for (split, reason), faults in sorted(found.items()):
        examples = [f"{fault.shard}: {fault.key}" for fault in faults]
        yield _problem(reason, split, examples, f"{faults[0].detail}; training takes others in their place")


def check_classes(card: Card, prints: Fingerprints) -> Iterator[Problem]:
    """Classes that the card lists and no sample has, and answers that it does not list."""
    if card.label and card.classes and len(prints):
        seen = set(prints.label_N.tolist())
        unseen = [name for place, name in enumerate(card.classes) if place not in seen]
        outside = np.flatnonzero(prints.label_N < 0)
        if card.answers and len(outside):
            examples = [": ".join(prints.name(row)[1:]) for row in outside[:EXAMPLES].tolist()]
            detail = "answers that are none of the card's classes; a classifier cannot give them"
            yield _problem("answer_outside", CARD, examples, detail, warning=True, count=len(outside))
        if unseen:
            yield _problem("class_without_samples", CARD, unseen, "no sample has this class", warning=True)


def check_leaks(
    prints: Fingerprints,
    labels_N: np.ndarray | None,
    by_caption: bool,
    pictures: bool = True,
    questions: bool = False,
) -> Iterator[Problem]:
    """What two of train, val and test share.

    Args:
        pictures: False for a set of texts alone.
        labels_N: groups of near-duplicate pictures; None where they were not looked for.
        by_caption: equal captions are leaks, because the card has no better text group.
        questions: the captions are questions: one may be asked of many pictures, and says nothing of any.
    """
    text = "caption" if by_caption else "text group"
    if pictures:
        yield from _shared(prints, prints.pixels_N, "leak_picture", "the same picture")
    if labels_N is not None:
        yield from _shared(prints, labels_N, "near_picture", "pictures that look nearly the same", warning=True)
    if questions and by_caption:
        return
    # of pictures sorted by class the caption is the class: it stands in every split, and has to
    named = len(np.unique(prints.text_group_N)) <= len(np.unique(prints.label_N[prints.label_N >= 0]))
    yield from _shared(prints, prints.text_group_N, "leak_text", f"the same {text}", warning=by_caption and named)
    if not questions:
        what = "captions equal but for case and signs"
        yield from _shared(prints, prints.caption_N, "near_caption", what, warning=True)


def _shared(prints: Fingerprints, values_N: np.ndarray, kind: str, what: str, warning: bool = False) -> list[Problem]:
    split_N = prints.split_of_rows()
    problems = []
    for left, right in combinations([split for split in APART if split in prints.splits], 2):
        both = np.intersect1d(values_N[split_N == left], values_N[split_N == right])
        rows = np.flatnonzero(np.isin(values_N, both) & (split_N == right)).tolist()
        if rows:
            examples = [": ".join(prints.name(row)[1:]) for row in rows]
            detail = f"{what} as in {left}; split anew with `mmpretrain data split`"
            problems.append(_problem(kind, f"{left} and {right}", examples, detail, warning=warning))
    return problems


def _problem(
    kind: str, where: str, examples: Sequence[str], detail: str, *, warning: bool = False, count: int | None = None
) -> Problem:
    return Problem(
        kind=kind,
        where=where,
        count=len(examples) if count is None else count,
        detail=detail,
        examples=list(examples[:EXAMPLES]),
        warning=warning,
    )
