"""Commands that look after a dataset."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from mmpretrain.core.errors import DataError
from mmpretrain.core.parallel import ordered_map
from mmpretrain.data.card import find_dataset, load_card, shard_name, shard_paths
from mmpretrain.data.index import SUFFIX, write_index
from mmpretrain.data.manifest import ShardFacts, write_manifest
from mmpretrain.data.scan import scan
from mmpretrain.data.storage import Shard, Storage

Indexed = tuple[ShardFacts, int, tuple[str, ...]]
"""Facts of a shard, bytes of its index, and files of it that stand in no sample."""


def index(name: str, console: Console, storage: Storage | None = None) -> None:
    """Scan every shard and write its index, replacing what is there, and the manifest over all.

    Args:
        storage: how shards behind URLs are read; None: the defaults.

    Raises:
        DataError: shards that cannot be read, each named; the others are indexed all the same.
    """
    folder = find_dataset(name)
    paths = all_shards(folder, storage)
    done = ordered_map(index_one, paths, chunk=1)
    shown = track(done, "indexing", len(paths), console=console, disable=not console.is_terminal)
    results = dict(zip(paths, shown, strict=True))
    good = {path: result for path, result in results.items() if not isinstance(result, str)}
    write_manifest(folder, {shard_name(folder, path): facts for path, (facts, _, _) in good.items()})
    for path, (_, _, notes) in good.items():
        for note in notes:
            console.print(f"{shard_name(folder, path)}: {note}", soft_wrap=True, markup=False)
    if bad := [result for result in results.values() if isinstance(result, str)]:
        raise DataError("\n".join(bad))
    say_counts(folder, name, list(good.values()), console)


def index_one(shard: Shard) -> Indexed | str:
    """Index a shard; returns its error where it cannot be read."""
    try:
        found = scan(shard)
    except DataError as error:
        return str(error)
    file = shard.with_name(shard.name + SUFFIX)
    write_index(found, file)
    return ShardFacts.of(found), file.stat().st_size, found.notes


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
