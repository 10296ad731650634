"""`mmpretrain data export --to clip_benchmark`: a split for CLIP_benchmark, and the command that asks it."""

from pathlib import Path

from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import folder_in_one_step
from mmpretrain.data.benchmark_layout import PROMPTS, Asked, write_benchmark
from mmpretrain.data.card import find_dataset, load_card, parse_name
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.samples import Reading
from mmpretrain.data.storage import Storage
from mmpretrain.data.told import read_told
from mmpretrain.recipes.looks import Facts, open_datasets, plural, say


def benchmark(name: str, asked: Asked, out: Path, console: Console, storage: Storage | None = None) -> Facts:
    """Write the split, and say how CLIP_benchmark is started on it.

    Args:
        name: `NAME:SPLIT`.

    Raises:
        ConfigError: no split is named, there are no pictures or classes, or `out` exists.
    """
    if not parse_name(name)[1]:
        splits = ", ".join(load_card(find_dataset(name)).splits)
        raise ConfigError(f"{name}: which split? e.g. {name}:{splits.rpartition(', ')[2]} ({splits})")
    if out.exists():
        raise ConfigError(f"--out: {out} exists; name another folder")
    (dataset,) = open_datasets(name, storage, console)
    refuse_unsuited(dataset, asked)
    with folder_in_one_step(out) as temporary:
        pictures = write_benchmark(dataset, asked, temporary)
    galleries = len({each.gallery for each in read_told(dataset, Reading())}) if asked == "retrieval" else 1
    if galleries > 1:
        say(
            console,
            f"note: evaluate searches {galleries} galleries ({dataset.card.gallery}) one by one, it all at once",
        )
    command = command_of(dataset, asked, out)
    say(console, f"{out}: {plural(pictures, 'picture')} of {name}; next: {command}")
    return {
        "dataset": name,
        "task": asked,
        "pictures": pictures,
        "galleries": galleries,
        "out": str(out),
        "next": command,
    }


def refuse_unsuited(dataset: Dataset, asked: Asked) -> None:
    card = dataset.card
    if not card.image:
        raise ConfigError(f"{dataset.folder}: has no pictures, which CLIP_benchmark looks at")
    if asked == "classification" and not (card.label and card.classes):
        raise ConfigError(f"{dataset.folder}: its card names no label and classes; export --task retrieval")


def command_of(dataset: Dataset, asked: Asked, out: Path) -> str:
    """As a user types it, beside an export of a run for open_clip."""
    said = f'clip_benchmark eval --model local-dir:EXPORT --pretrained "" --dataset wds/{out.name} --dataset_root {out}'
    said += f" --split {dataset.split} --task zeroshot_{asked} --no_amp"
    more = "--recall_k 1 5 10" if asked == "retrieval" else f"--custom_template_file {out / PROMPTS}"
    return f"{said} {more}"
