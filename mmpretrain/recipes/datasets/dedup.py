"""Duplicates within and across the splits of a dataset, and a list of what to keep."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mmpretrain.core.settings import build, dump
from mmpretrain.data.duplicates import (
    EQUAL,
    Duplicates,
    Near,
    count_across,
    find_duplicates,
    first_of_equals,
    groups_of,
)
from mmpretrain.data.fingerprints import Fingerprints, shards_of
from mmpretrain.data.storage import Storage
from mmpretrain.data.uids import write_uids
from mmpretrain.recipes.looks import (
    Facts,
    hold_pictures,
    open_datasets,
    place_for,
    plural,
    read_fingerprints,
    say,
    say_damaged,
    write,
)

KINDS = {
    "bytes": "equal files",
    "pixels": "equal pixels",
    "near": "near-duplicate pictures, equal ones among them",
    "caption": "equal captions, once case and signs are dropped",
}
TEXT_KINDS = {"bytes": "equal texts with equal facts", "caption": "equal texts, once case and signs are dropped"}
"""Of a set of texts without pictures."""


def dedup(
    name: str,
    out: Path | None,
    near: dict[str, float],
    workers: int,
    console: Console,
    storage: Storage | None = None,
) -> Facts:
    """Find duplicates; write the groups and the list of samples to keep.

    Args:
        name: `NAME` for all splits together, or `NAME:SPLIT`.
        out: where the list goes; None keeps it under runs/data.
        near: values of `Near`.
    """
    settings = build(Near, near, "near")
    datasets = open_datasets(name, storage, console)
    pictures = hold_pictures(datasets)
    prints = read_fingerprints(shards_of(datasets), workers, console, perceptual=pictures)
    if not pictures:  # copies are texts that say the same
        prints = replace(prints, pixels_N=prints.caption_N)
    found = find_duplicates(prints, settings)
    kinds = KINDS if pictures else TEXT_KINDS
    groups = {kind: members for kind, members in all_groups(prints, found).items() if kind in kinds}
    kept_N = found.kept(held_out_first(prints))
    out = out or place_for(datasets[0], "keep.tsv")
    write_uids(out, (prints.name(place)[1:] for place in np.flatnonzero(kept_N).tolist()))
    write_groups(out.with_name("duplicates.jsonl"), prints, groups)
    facts: Facts = {
        "dataset": name,
        "samples": len(prints),
        "damaged": len(prints.faults),
        "near": dump(settings),
        "kinds": {kind: summary(kind_groups, prints) for kind, kind_groups in groups.items()},
        "splits": splits_kept(prints, kept_N),
        "kept": int(kept_N.sum()),
        "keep_list": str(out),
        "groups": str(out.with_name("duplicates.jsonl")),
    }
    console.print(table(facts, kinds))
    say_damaged(prints, console)
    share = 1 - facts["kept"] / max(1, len(prints))
    say(
        console,
        f"{out}: {plural(facts['kept'], 'sample')} to keep, {100 * share:.1f} % are copies of them; groups in "
        f"{facts['groups']}. next: mmpretrain data filter {name} --keep list list.file={out} --out CLEAN",
    )
    return facts


def all_groups(prints: Fingerprints, found: Duplicates) -> dict[str, list[list[int]]]:
    """The groups of each kind, as places."""
    return {
        "bytes": groups_of(first_of_equals(prints.bytes_N)),
        "pixels": groups_of(found.first_N),
        "near": groups_of(found.components()),
        "caption": groups_of(first_of_equals(getattr(prints, EQUAL["caption"]))),
    }


def held_out_first(prints: Fingerprints) -> np.ndarray:
    """Places in the order in which copies stay: what is held out stays whole, training gives way."""
    return np.argsort(prints.split_of_rows() == "train", kind="stable")


def summary(groups: list[list[int]], prints: Fingerprints) -> Facts:
    return {
        "groups": len(groups),
        "samples": sum(map(len, groups)),
        "surplus": sum(len(group) - 1 for group in groups),
        "across_splits": count_across(groups, prints.split_of_rows()),
        "largest": max(map(len, groups), default=0),
    }


def splits_kept(prints: Fingerprints, kept_N: np.ndarray) -> Facts:
    """Samples and kept samples of each split."""
    whole, kept = Counter(prints.split_of_rows().tolist()), Counter(prints.split_of_rows()[kept_N].tolist())
    return {split: {"samples": count, "kept": kept[split]} for split, count in whole.items()}


def write_groups(path: Path, prints: Fingerprints, groups: dict[str, list[list[int]]]) -> None:
    """One line a group: kind and members with split, shard and key."""
    lines = [
        json.dumps({"kind": kind, "members": [prints.name(place)._asdict() for place in group]}, ensure_ascii=False)
        for kind, members in groups.items()
        for group in members
    ]
    write(path, "".join(f"{line}\n" for line in lines))


def table(facts: Facts, kinds: dict[str, str]) -> Table:
    """The counts as a person reads them."""
    shown = Table(
        "duplicates", "groups", "samples", "largest", "across splits", title=f"{facts['dataset']}: duplicates"
    )
    for column in shown.columns[1:]:
        column.justify = "right"
    for kind, row in facts["kinds"].items():
        counts = (f"{row[part]:,}" for part in ("groups", "samples", "largest", "across_splits"))
        shown.add_row(kinds[kind], *counts)
    return shown
