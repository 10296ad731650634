"""Commands that look after a dataset."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from mmpretrain.core.errors import DataError
from mmpretrain.core.parallel import ordered_map
from mmpretrain.data.card import find_dataset, load_card, shard_name, shard_paths
from mmpretrain.data.indexing import Indexed, index_one, refuse_long_wait, unindexed
from mmpretrain.data.manifest import ShardFacts, add_to_manifest, write_manifest
from mmpretrain.data.shard_bytes import Shard, sizes
from mmpretrain.data.shards import OnDamage
from mmpretrain.data.storage import Storage


def index(name: str, console: Console, storage: Storage | None = None) -> None:
    """Scan every shard and write its index, replacing what is there, and the manifest over all.

    Args:
        storage: how shards behind URLs are read; None: the defaults.

    Raises:
        DataError: shards that cannot be read, each named; the others are indexed all the same.
    """
    folder = find_dataset(name)
    results = index_shards(all_shards(folder, storage), console)
    good = {path: result for path, result in results.items() if not isinstance(result, str)}
    write_manifest(folder, facts_of(folder, good))
    for path, (_, _, notes) in good.items():
        for note in notes:
            console.print(f"{shard_name(folder, path)}: {note}", soft_wrap=True, markup=False)
    if bad := [result for result in results.values() if isinstance(result, str)]:
        raise DataError("\n".join(bad))
    say_counts(folder, name, list(good.values()), console)


def index_on_first_use(
    wanted: Iterable[tuple[str, str]],
    storage: Storage | None,
    console: Console,
    on_damage: OnDamage = "refuse",
    ranks: int = 1,
) -> None:
    """Index the shards that nobody has indexed yet, on all processors and in sight.

    Opening a dataset does it as well, but one shard after the other and without a word: a library must not start
    processes, which import the main script again.

    Args:
        wanted: (dataset, split) pairs.
        on_damage: `salvage` leaves shards that cannot be read to the dataset, which takes what is intact.
        ranks: all that wait until it is done.

    Raises:
        DataError: shards that cannot be read, each named; or so many that the other ranks would give up.
    """
    splits: dict[Path, list[str]] = {}
    for name, split in wanted:
        splits.setdefault(find_dataset(name), []).append(split)
    found = {folder: unindexed(folder, parts, storage) for folder, parts in splits.items()}
    unread = {folder: sum(sizes(shards)) for folder, shards in found.items() if shards}
    refuse_long_wait(unread, ranks)
    for folder, size in unread.items():
        if not console.is_terminal:
            told = f"{folder}: first use, indexing {len(found[folder]):,} shards, {size / 1e6:,.1f} MB"
            console.print(told, soft_wrap=True, markup=False)
        with contextlib.suppress(OSError):  # a read-only folder: the dataset scans without writing
            _index_for_use(folder, index_shards(found[folder], console), on_damage)


def _index_for_use(folder: Path, results: Mapping[Shard, Indexed | str], on_damage: OnDamage) -> None:
    bad = [result for result in results.values() if isinstance(result, str)]
    add_to_manifest(folder, facts_of(folder, results))
    if bad and on_damage == "refuse":
        raise DataError("\n".join(bad))


def index_shards(shards: Sequence[Shard], console: Console) -> dict[Shard, Indexed | str]:
    """Index some shards by several processes, with a bar on a terminal."""
    done = ordered_map(index_one, shards, chunk=1, preload=index_one.__module__)
    shown = track(done, "indexing", len(shards), console=console, disable=not console.is_terminal)
    return dict(zip(shards, shown, strict=True))


def facts_of(folder: Path, results: Mapping[Shard, Indexed | str]) -> dict[str, ShardFacts]:
    """For the manifest, what was found of the shards that can be read."""
    return {shard_name(folder, path): found[0] for path, found in results.items() if not isinstance(found, str)}


def say_counts(folder: Path, name: str, done: Sequence[Indexed], console: Console) -> None:
    samples, size = (sum(getattr(facts, part) for facts, _, _ in done) for part in ("samples", "bytes"))
    share = sum(length for _, length, _ in done) / size
    console.print(
        f"{folder}: {samples:,} samples in {len(done)} shards, {size / 1e6:.1f} MB; "
        f"indexes take {100 * share:.2f} %. next: mmpretrain data check {name}",
        soft_wrap=True,
    )


def all_shards(folder: Path, storage: Storage | None) -> list[Shard]:
    card = load_card(folder)
    return list(dict.fromkeys(path for split in card.splits for path in shard_paths(folder, card, split, storage)))
