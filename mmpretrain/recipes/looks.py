"""What the commands that look at a dataset share: reading it with a bar, and where their files go."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from mmpretrain.core.files import write_atomic
from mmpretrain.data.dataset import Dataset, named_splits, open_splits
from mmpretrain.data.fingerprints import Fingerprints, Work, fingerprints, join
from mmpretrain.data.storage import Storage
from mmpretrain.recipes.datasets.index import index_on_first_use


def place_for(dataset: Dataset, file: str) -> Path:
    """Where a command leaves a file about a dataset when it is not told."""
    folder = Path("runs") / "data" / dataset.folder.resolve().name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / file


def open_datasets(name: str, storage: Storage | None, console: Console) -> list[Dataset]:
    """`open_splits`, after the shards that nobody has indexed yet were, with a bar on a terminal."""
    index_on_first_use(named_splits(name), storage, console)
    return open_splits(name, storage)


def read_fingerprints(shards: Sequence[Work], workers: int, console: Console, perceptual: bool = True) -> Fingerprints:
    """The fingerprints of every sample of some shards, with a bar on a terminal."""
    parts = fingerprints(shards, perceptual, workers)
    return join(track(parts, "looking", len(shards), console=console, disable=not console.is_terminal))


def hold_pictures(datasets: Sequence[Dataset]) -> bool:
    """Whether samples are pictures with texts, and not texts alone."""
    return all(dataset.card.image for dataset in datasets)


def plural(count: int, noun: str) -> str:
    """`1 sample`, `2,000 samples`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def write(path: Path, content: str | bytes) -> None:
    """A file whose folder may not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)


def say(console: Console, text: str) -> None:
    """One line that a script can read whole."""
    console.print(text, soft_wrap=True, markup=False)


def say_damaged(prints: Fingerprints, console: Console) -> None:
    """What could not be looked at, where there is any."""
    if prints.faults:
        first = prints.faults[0]
        told = f"first {first.shard}: {first.key}: {first.reason}; mmpretrain data check names all"
        say(console, f"left out: {plural(len(prints.faults), 'damaged sample')}, {told}")


Facts = dict[str, Any]
"""What a table shows, for `--json`."""
