"""Commands that look after a dataset."""

from pathlib import Path

from rich.console import Console
from rich.progress import track

from mmpretrain.data.card import find_dataset, load_card, shard_paths
from mmpretrain.data.index import SUFFIX, scan, write_index


def index(name: str, console: Console) -> None:
    """Scan every shard and write its index, replacing what is there."""
    folder = find_dataset(name)
    paths = all_shards(folder)
    samples = size = 0
    for path in track(paths, "indexing", console=console, disable=not console.is_terminal):
        found = scan(path)
        file = path.with_name(path.name + SUFFIX)
        write_index(found, file)
        samples, size = samples + len(found), size + file.stat().st_size
    total = sum(path.stat().st_size for path in paths)
    console.print(
        f"{folder}: {samples:,} samples in {len(paths)} shards, {total / 1e6:.1f} MB; "
        f"indexes take {100 * size / total:.2f} %. next: mmpretrain data check {name}",
        soft_wrap=True,
    )


def all_shards(folder: Path) -> list[Path]:
    card = load_card(folder)
    return list(dict.fromkeys(path for split in card.splits for path in shard_paths(folder, card, split)))
