"""Commands that look after a dataset."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import track

from mmpretrain.core.errors import DataError
from mmpretrain.data.card import find_dataset, load_card, shard_paths
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.index import SUFFIX, scan, write_index
from mmpretrain.data.storage import Shard


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


def all_shards(folder: Path) -> list[Shard]:
    card = load_card(folder)
    return list(dict.fromkeys(path for split in card.splits for path in shard_paths(folder, card, split)))


def check(name: str, console: Console) -> None:
    """Hold shards, indexes and card against each other, and decode every sample.

    Raises:
        DataError: something differs, or a group stands in two splits that must not share it.
    """
    folder = find_dataset(name)
    card = load_card(folder)
    seen: dict[str, Counter[int]] = {}
    for split in card.splits:
        dataset = Dataset(name, split, verify=True)
        groups: Counter[int] = Counter()
        for sample in track(
            dataset.samples(), f"checking {split}", len(dataset), console=console, disable=not console.is_terminal
        ):
            groups.update({sample.image_group, sample.text_group})
        seen[split] = groups
        console.print(f"{folder.name}:{split}: {len(dataset):,} samples, checksums right, all decoded")
    refuse_leaks(folder, seen)
    console.print(f"{folder}: no picture and no text of train, val or test stands in another of them")


def refuse_leaks(folder: Path, seen: dict[str, Counter[int]]) -> None:
    apart = [split for split in ("train", "val", "test") if split in seen]
    for place, split in enumerate(apart):
        for other in apart[place + 1 :]:
            shared = set(seen[split]) & set(seen[other])
            if shared:
                raise DataError(f"{folder}: {len(shared)} pictures or texts stand in both {split} and {other}")
