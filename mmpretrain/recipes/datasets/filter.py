"""A part of a dataset by rules, as a list of samples or as new shards."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmpretrain.core.errors import DataError
from mmpretrain.core.settings import dump
from mmpretrain.data.card import locate_shards, parse_name, shard_name
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.filters.base import Pool
from mmpretrain.data.filters.chain import Verdict, build_filters, candidates, judge
from mmpretrain.data.rewrite import Source, derived_card, new_folder, read_whole, write_dataset
from mmpretrain.data.samples import Limits, ShardReader, decode_facts
from mmpretrain.data.storage import Storage
from mmpretrain.data.uids import datacomp_array, write_uids
from mmpretrain.recipes.datasets.scores import clip_scores
from mmpretrain.recipes.looks import Facts, open_datasets, place_for, plural, say


def filter_data(
    name: str,
    kinds: Sequence[str],
    overrides: Sequence[str],
    out: str | None,
    uids: Path | None,
    console: Console,
    storage: Storage | None = None,
) -> Facts:
    """Keep what every rule keeps.

    Args:
        name: `NAME:SPLIT`; a plain `NAME` filters its train.
        kinds: rules, in the order in which the table counts what they drop.
        out: the new dataset, with the other splits as they are; None writes a list alone.
        uids: the list of kept samples, `.npy` for DataComp's array; None without `out` keeps it under runs/data.

    Raises:
        DataError: nothing is left.
    """
    folder = new_folder(out) if out else None
    filters = build_filters(kinds, overrides)
    base, split = parse_name(name)
    (pool,) = open_datasets(f"{base}:{split or 'train'}", storage, console)
    asked = Pool(card=pool.card, shards=shard_files(pool), scores=partial(clip_scores, pool, console))
    rules = {kind: settings.build(asked) for kind, settings in filters.items()}
    found = track(candidates(pool), "judging", len(pool), console=console, disable=not console.is_terminal)
    verdict = judge(found, rules)
    if not verdict.kept:
        raise DataError(f"{name}: the rules drop all {plural(len(pool), 'sample')}: {told(verdict)}; loosen them")
    if uids is None and folder is None:
        uids = place_for(pool, "kept.tsv")
    if uids is not None:
        write_list(uids, pool, verdict.kept)
    if folder is not None:
        write_kept(folder, pool, verdict.kept, f"{pool.split} filtered from {name} by {', '.join(kinds)}.")
    facts = facts_of(name, pool, verdict, {kind: dump(settings) for kind, settings in filters.items()})
    facts |= {"uids": str(uids) if uids else None, "out": str(folder) if folder else None}
    console.print(table(facts))
    step = f"mmpretrain data check {folder}" if folder else "the same command with --out NAME writes shards"
    where = " and ".join(str(path) for path in (folder, uids) if path)
    say(console, f"{where}: {100 * facts['share']:.1f} % of {plural(len(pool), 'sample')} are kept. next: {step}")
    return facts


def facts_of(name: str, pool: Dataset, verdict: Verdict, rules: dict[str, Any]) -> Facts:
    damaged: dict[str, Any] = {"damaged": {}} if verdict.alone["damaged"] else {}
    return {
        "dataset": name,
        "samples": len(pool),
        "kept": len(verdict.kept),
        "share": len(verdict.kept) / len(pool),
        "rules": {
            rule: {
                "settings": settings,
                "drops_alone": verdict.alone[rule],
                "drops_first": verdict.first[rule],
                "reasons": {reason: count for (by, reason), count in verdict.reasons.items() if by == rule},
            }
            for rule, settings in {**damaged, **rules}.items()
        },
    }


def told(verdict: Verdict) -> str:
    return ", ".join(f"{rule} {count:,}" for rule, count in verdict.alone.most_common())


def shard_files(pool: Dataset) -> dict[str, str]:
    """Name and file name of every shard of the pool's card."""
    paths = [path for split in pool.card.splits for path in locate_shards(pool.folder, pool.card, split, pool.storage)]
    return {shard_name(pool.folder, path): path.name for path in paths}


def write_list(path: Path, pool: Dataset, kept: Sequence[Source]) -> None:
    """The kept samples as text, or as DataComp's array of their `uid` fields."""
    if path.suffix != ".npy":
        write_uids(path, ((shard_name(pool.folder, shard.path), shard.keys[row]) for shard, row in kept))
        return
    reader = ShardReader()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, datacomp_array([uid_of(reader, source) for source in kept]))


def uid_of(reader: ShardReader, source: Source) -> str:
    """DataComp's identifier of a sample.

    Raises:
        DataError: its JSON member has none.
    """
    facts = decode_facts(read_whole(reader, *source).get("json", b"{}"), Limits().json_bytes)
    if "uid" not in facts:
        shard, row = source
        raise DataError(f"{shard.path}: {shard.keys[row]}: no 'uid' in the JSON member; write the list as .tsv instead")
    return str(facts["uid"])


def write_kept(folder: Path, pool: Dataset, kept: list[Source], how: str) -> None:
    """New shards of the kept samples; the other splits come along as they are."""
    names = [split for split in pool.card.splits if split != pool.split]
    others = [Dataset(str(pool.folder), split, storage=pool.storage) for split in names]
    parts = {pool.split: kept} | {
        other.split: [(shard, row) for shard in other.shards for row in range(len(shard))] for other in others
    }
    write_dataset(folder, derived_card(pool.folder, how), parts)


def table(facts: Facts) -> Table:
    """What each rule drops."""
    shown = Table(
        "rule", "drops by itself", "drops first", "because", title=f"{facts['dataset']}: {facts['kept']:,} kept"
    )
    for rule, row in facts["rules"].items():
        because = ", ".join(f"{reason} {count:,}" for reason, count in row["reasons"].items())
        shown.add_row(rule, f"{row['drops_alone']:,}", f"{row['drops_first']:,}", because)
    for column in shown.columns[1:3]:
        column.justify = "right"
    return shown
