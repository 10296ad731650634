"""A run's model by itself, to be written in another format, with samples of the data that it was made from."""

from pathlib import Path

from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.mixture import Place
from mmpretrain.data.samples import Reading
from mmpretrain.data.stages import read_strictly, stack
from mmpretrain.data.transforms import Centre
from mmpretrain.export.trained import Samples, Trained
from mmpretrain.recipes.assemble import evaluated_split
from mmpretrain.recipes.datasets.index import index_on_first_use
from mmpretrain.recipes.evaluate import split_name
from mmpretrain.recipes.opened import open_best
from mmpretrain.recipes.settings import Pretrain, read_run

COMPARED = 32
"""Samples on which an export has to say what torch says."""


def load_trained(folder: Path, data: str, console: Console) -> Trained:
    """The best checkpoint of a run where it keeps one, else its newest.

    Args:
        data: as `evaluate --data` takes it; empty: the run's val.

    Raises:
        ConfigError: it is no run with a checkpoint, or looks at no pictures.
        DataError: the split cannot be read.
    """
    config = read_run(folder)
    if config.towers.image is None:
        raise ConfigError(f"{folder}: learned from texts alone; what is exported are runs that look at pictures")
    opened = open_best(folder)
    return Trained(
        run=str(folder),
        step=opened.step,
        towers=opened.config.towers,
        tokenizer=opened.tokenizer,
        module=opened.module.requires_grad_(False),
        samples=read_samples(opened.config, data, console),
    )


def read_samples(config: Pretrain, data: str, console: Console) -> Samples:
    """Some of a split, evenly spaced."""
    name, split = evaluated_split(config.data, split_name(config, data or ":"))
    index_on_first_use([(name, split)], config.data.storage, console)
    dataset = Dataset(name, split, storage=config.data.storage)
    places = [Place(0, shard, row) for shard, row in dataset.places()]
    chosen = places[:: max(1, len(places) // COMPARED)][:COMPARED]
    read = read_strictly(enumerate(chosen), dataset, Reading(limits=config.data.limits))
    samples = [sample for _, sample, _ in read if sample.image.numel()]
    centre = Centre(config.towers.size)
    return Samples(
        name=f"{dataset.folder.name}:{split}",
        pictures=[sample.image for sample in samples],
        images_BCHW=stack([centre(sample.image, 0) for sample in samples]),
        texts=[sample.caption for sample in samples],
    )
