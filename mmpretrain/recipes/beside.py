"""What is known of training samples before the first step, and handed out by place: of teachers, of frozen towers."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from mmpretrain.core.distributed import on_main
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.files import TEMPORARY
from mmpretrain.core.settings import digest
from mmpretrain.core.weights import load_tensors, save_tensors
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.mixture import Place
from mmpretrain.data.stages import Beside, collated
from mmpretrain.data.transforms import Centre
from mmpretrain.objectives.combine import needs_of
from mmpretrain.recipes.assemble import Parts, evaluation_rows, frozen_towers
from mmpretrain.recipes.datasets.scores import usable
from mmpretrain.recipes.teachers.vectors import DIGITS, first_rows, teacher_of
from mmpretrain.recipes.usable import reading_of

POOLED = frozenset({"features", "projection", "image", "text"})
"""Needs of objectives that look at no tokens."""


def beside_of(parts: Parts, console: Console) -> Beside | None:
    """All that is known of samples; None where that is nothing. Every rank calls; the main one computes.

    Raises:
        ConfigError: a teacher that is not there, or frozen towers whose tokens an objective looks at.
    """
    found = [each for each in (teacher_of(parts, console), frozen_features(parts, console)) if each is not None]
    if not found:
        return None
    return lambda place: {name: row for each in found for name, row in each(place).items()}


def frozen_features(parts: Parts, console: Console) -> Beside | None:
    """What frozen towers pool of each sample, None where the config does not keep it."""
    towers = frozen_towers(parts)
    if not towers:
        return None
    refuse_tokens(parts)
    refuse_changing_texts(parts, towers)
    files = [on_main(partial(features_file, parts, dataset, towers, console)) for dataset in parts.data.datasets]
    known = [load_tensors(file) for file in files]
    starts = [first_rows(dataset) for dataset in parts.data.datasets]

    def look_up(place: Place) -> dict[str, Tensor]:
        row = starts[place.source][place.shard] + place.sample
        return {f"{name}_BD": known[place.source][f"{name}_ND"][row] for name in towers}

    return look_up


def refuse_tokens(parts: Parts) -> None:
    """Raises ConfigError: names the objective that looks at more than pooled vectors, or the order without places."""
    for place, objective in enumerate(parts.config.objectives):
        if not objective.needs <= POOLED:
            raise ConfigError(
                f"towers.cache: keeps pooled vectors, and objectives.{place} ({objective.kind}) looks at tokens; set "
                "it to null"
            )
    if parts.config.data.order == "streaming":
        raise ConfigError("towers.cache: looks samples up by place, and streaming has none; set it to null")


def refuse_changing_texts(parts: Parts, towers: list[str]) -> None:
    """Raises ConfigError: steps would read several texts of a sample, and the tower reads one."""
    if "text" in towers and parts.config.data.captions.pick == "random":
        raise ConfigError(
            "towers.cache: keeps one text of each sample, and data.captions.pick=random reads another each step; use "
            "data.captions.pick=first, or towers.cache=null"
        )


def features_file(parts: Parts, dataset: Dataset, towers: list[str], console: Console) -> Path:
    """The file of a split's vectors; damaged samples, which no run learns from, have zeros."""
    name = f"{dataset.folder.name}-{dataset.split}-{dataset.digest[:DIGITS]}-{identity(parts, towers)}.safetensors"
    file = Path(str(parts.config.towers.cache)) / name
    if file.is_file():
        return file
    found = compute(parts, dataset, towers, console)
    temporary = file.with_name(f"{name}{TEMPORARY}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(temporary, found)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MmpretrainError(
            f"{file.parent}: what frozen towers say cannot be kept: {error}; free some space, or set towers.cache"
        ) from error
    temporary.replace(file)
    return file


def identity(parts: Parts, towers: list[str]) -> str:
    """Of all that decides what towers say: their settings, their weights, the tokens, how samples are read."""
    config, reading = parts.config, reading_of(parts.config)
    found = hashlib.sha256(parts.tokenizer.to_json().encode())
    for settings in (reading.limits, *([reading.captions] if "text" in towers else [])):
        found.update(digest(settings).encode())
    for name in towers:
        found.update(digest(getattr(config.towers, name)).encode())
        for tensor in getattr(parts.module.model, name).state_dict().values():
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:DIGITS]


@torch.no_grad()
def compute(parts: Parts, dataset: Dataset, towers: list[str], console: Console) -> dict[str, Tensor]:
    """One pass over a split, in evaluation mode and without augmentation."""
    model: Any = parts.module.model.to(parts.device).eval()
    needs = needs_of(parts.config.objectives) & POOLED | frozenset(towers)
    found: dict[str, Tensor] = {}
    size = parts.config.towers.size
    rows = evaluation_rows(size)
    batches = collated(usable(dataset, reading_of(parts.config)), rows, Centre(max(1, size)), parts.tokenizer)
    rounds = -(-len(dataset) // rows)
    for batch in track(batches, "frozen towers look once", rounds, console=console, disable=not console.is_terminal):
        encoded = model(batch.to(parts.device), needs)
        for name in towers:
            said_BD = getattr(encoded, f"{name}_BD").float().cpu()
            found.setdefault(f"{name}_ND", torch.zeros(len(dataset), said_BD.shape[1]))[batch.positions_B] = said_BD
    model.train()
    return found
