"""A run's model and the samples of a split, for those who ask what it looks at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.loader import evaluation_loader
from mmpretrain.data.samples import Reading
from mmpretrain.data.told import read_told
from mmpretrain.explain.heat import Explained
from mmpretrain.explain.texts import vectors, ways
from mmpretrain.recipes.alone import Alone, load_alone
from mmpretrain.recipes.assemble import evaluated_split
from mmpretrain.recipes.datasets.index import index_on_first_use
from mmpretrain.recipes.evaluate import split_name
from mmpretrain.recipes.settings import Pretrain, read_run

OTHERS = 256
"""Texts that a text is told from at most, evenly spaced over a split's."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A picture with its caption."""

    key: str
    caption: str
    image_CHW: Tensor
    """uint8, as the image tower gets it."""
    mask_HW: Tensor | None
    """bool, where the split has masks: all classes but the first."""


def load_run(folder: Path) -> Alone:
    """A run that looks at pictures.

    Raises:
        ConfigError: it does not, or has no checkpoint.
    """
    config = read_run(folder)
    if config.towers.image is None:
        raise ConfigError(f"{folder}: learned from texts alone; what is explained are runs that look at pictures")
    alone = load_alone(folder, config)
    alone.engine.module.eval()
    return alone


def explained(alone: Alone, others: Sequence[str]) -> Explained:
    """Args: others: texts that a text is told from, where pictures and texts share a space."""
    module = alone.engine.module
    shares = "similarity" in ways(module)  # type: ignore[arg-type]
    vectors_KE = vectors(module.model, alone.tokenizer, others) if shares and others else None
    return Explained(module=module, tokenizer=alone.tokenizer, others_KE=vectors_KE)  # type: ignore[arg-type]


def open_for(config: Pretrain, data: str, console: Console) -> Dataset:
    """A split, as `evaluate --data` names it; empty: the run's val."""
    name, split = evaluated_split(config.data, split_name(config, data or ":"))
    index_on_first_use([(name, split)], config.data.storage, console)
    return Dataset(name, split, storage=config.data.storage)


def captions_of(config: Pretrain, dataset: Dataset) -> list[str]:
    """The caption of each sample, in the order of the shards."""
    return [told.caption for told in read_told(dataset, Reading(limits=config.data.limits))]


def others_among(captions: Sequence[str]) -> list[str]:
    """Some different ones, evenly spaced."""
    every = sorted(set(captions))
    return [every[len(every) * place // min(OTHERS, len(every))] for place in range(min(OTHERS, len(every)))]


def others_of(config: Pretrain, console: Console) -> tuple[list[str], str]:
    """Captions of the run's val and what they are of; none where they cannot be read any more."""
    try:
        dataset = open_for(config, "", console)
        found = others_among(captions_of(config, dataset))
    except MmpretrainError:
        return [], ""
    return found, f"{dataset.folder.name}:{dataset.split}"


def spread_over(count: int, samples: int) -> list[int]:
    """Places of `samples` of `count`, evenly spaced."""
    wanted = min(count, samples)
    return [(2 * number + 1) * count // (2 * wanted) for number in range(wanted)]


def samples_at(alone: Alone, dataset: Dataset, rows: Sequence[int], captions: Sequence[str]) -> Iterator[Sample]:
    """Pictures at some places of a split, one by one."""
    size, limits = alone.config.towers.size, alone.config.data.limits
    batches = evaluation_loader(dataset, alone.tokenizer, size, World(), 1, limits=limits, chosen=rows)
    for row, batch in zip(rows, batches, strict=True):
        masks = batch.masks_BHW
        yield Sample(
            key=batch.keys[0],
            caption=captions[row],
            image_CHW=batch.images_BCHW[0],
            mask_HW=None if masks is None else torch.logical_and(masks[0] > 0, masks[0] < 255),
        )
