"""A teacher's vectors of a training split: computed once, kept on disk, handed out by place."""

import itertools
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from mmpretrain.core.distributed import on_main
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.files import TEMPORARY, sha256
from mmpretrain.core.weights import load_tensors, save_tensors
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.mixture import Place
from mmpretrain.data.stages import Beside
from mmpretrain.objectives.distillation import Distillation
from mmpretrain.recipes.assemble import Parts
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.datasets.scores import embed_pool
from mmpretrain.recipes.teachers.open_clip import OpenClipTeacher
from mmpretrain.towers.open_clip_model import is_open_clip

DIGITS = 12


def teacher_of(parts: Parts, console: Console) -> Beside | None:
    """The vectors of the config's teacher, computed where the cache does not hold them; None without distillation.

    Every rank calls; the main one computes.

    Raises:
        ConfigError: there is no such teacher, or it has no weights.
    """
    objective = next((each for each in parts.config.objectives if isinstance(each, Distillation)), None)
    if objective is None:
        return None
    if parts.config.data.order == "streaming":
        raise ConfigError("objectives: distillation looks its teacher's vectors up by place; streaming has none")
    known: dict[int, tuple[Tensor, Tensor]] = {}
    pairs = zip(parts.config.data.parts, parts.data.datasets, strict=True)
    for number, (part, dataset) in enumerate(pairs):
        if not objective.sources or part.name in objective.sources:
            found = load_tensors(on_main(partial(vectors_file, dataset, objective, console)))
            known[number] = (found["image_NE"], found["text_NE"])
    starts = {number: first_rows(parts.data.datasets[number]) for number in known}
    width = next(iter(known.values()))[0].shape[1]
    nothing = {"teacher_image_BT": torch.zeros(width), "teacher_text_BT": torch.zeros(width)}

    def look_up(place: Place) -> dict[str, Tensor]:
        if place.source not in known:
            return nothing
        row = starts[place.source][place.shard] + place.sample
        image_NE, text_NE = known[place.source]
        return {"teacher_image_BT": image_NE[row], "teacher_text_BT": text_NE[row]}

    return look_up


def first_rows(dataset: Dataset) -> list[int]:
    """Where each shard begins in the file."""
    return list(itertools.accumulate((facts.samples for facts in dataset.facts), initial=0))


def vectors_file(dataset: Dataset, objective: Distillation, console: Console) -> Path:
    """The file of a split's vectors; damaged samples, which no run learns from, have zeros."""
    given = objective.teacher
    teacher = OpenClipTeacher.find(given, objective.weights) if is_open_clip(given) else RunTeacher(folder=given)
    name = f"{dataset.folder.name}-{dataset.split}-{dataset.digest[:DIGITS]}-{teacher.digest()[:DIGITS]}.safetensors"
    file = Path(objective.cache) / name
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        image_NE, text_NE = teacher.embed(dataset, console)
        temporary: Any = file.with_name(f"{name}{TEMPORARY}")
        try:
            save_tensors(temporary, {"image_NE": image_NE.nan_to_num(), "text_NE": text_NE.nan_to_num()})
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise MmpretrainError(
                f"{file.parent}: the teacher's vectors cannot be kept: {error}; free some space, or set "
                "objectives.N.cache to another folder"
            ) from error
        temporary.replace(file)
    return file


@dataclass(frozen=True, kw_only=True)
class RunTeacher:
    """Another run, by its best checkpoint where it keeps one, else its newest."""

    folder: str

    def digest(self) -> str:
        """Of its weights.

        Raises:
            ConfigError: it is no run with a checkpoint.
        """
        return sha256(chosen_checkpoint(Path(self.folder), "objectives") / "weights.safetensors")

    def embed(self, pool: Dataset, console: Console) -> tuple[Tensor, Tensor]:
        """A unit vector of each sample's picture and caption, in the order of the shards; NaN where it is damaged."""
        return embed_pool(pool, console, self.folder, "learning from the teacher")
