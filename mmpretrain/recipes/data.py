"""Commands that look after a dataset."""

from pathlib import Path

from rich.console import Console
from rich.progress import track

from mmpretrain.data.card import find_dataset, load_card, shard_name, shard_paths
from mmpretrain.data.index import SUFFIX, scan, write_index
from mmpretrain.data.manifest import ShardFacts, write_manifest
from mmpretrain.data.storage import Shard


def index(name: str, console: Console) -> None:
    """Scan every shard and write its index, replacing what is there."""
    folder = find_dataset(name)
    paths = all_shards(folder)
    facts, size = {}, 0
    for path in track(paths, "indexing", console=console, disable=not console.is_terminal):
        found = scan(path)
        file = path.with_name(path.name + SUFFIX)
        write_index(found, file)
        facts[shard_name(folder, path)] = ShardFacts.of(found)
        size += file.stat().st_size
        for note in found.notes:
            console.print(f"{path.name}: {note}", soft_wrap=True)
    write_manifest(folder, facts)
    total = sum(path.stat().st_size for path in paths)
    samples = sum(found.samples for found in facts.values())
    console.print(
        f"{folder}: {samples:,} samples in {len(paths)} shards, {total / 1e6:.1f} MB; "
        f"indexes take {100 * size / total:.2f} %. next: mmpretrain data check {name}",
        soft_wrap=True,
    )


def all_shards(folder: Path) -> list[Shard]:
    card = load_card(folder)
    return list(dict.fromkeys(path for split in card.splits for path in shard_paths(folder, card, split)))
