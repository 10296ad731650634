"""A run's model by itself, to be written in another format, with samples of the data that it was made from."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.weights import require_same_names
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.mixture import Place
from mmpretrain.data.samples import Reading
from mmpretrain.data.stages import read_strictly, stack
from mmpretrain.data.tokenizer import load_tokenizer
from mmpretrain.data.transforms import Centre
from mmpretrain.engines.base import module_shapes
from mmpretrain.export.trained import Samples, Trained
from mmpretrain.heads.adaptation import LowRankAdaptation
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.recipes.alone import seen_of
from mmpretrain.recipes.assemble import build_module, evaluated_split
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.datasets.index import index_on_first_use
from mmpretrain.recipes.evaluate import split_name, without_maps
from mmpretrain.recipes.labels import kept_labels
from mmpretrain.recipes.settings import Pretrain, read_run
from mmpretrain.towers.low_rank import merged
from mmpretrain.train import checkpoint

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
    chosen = chosen_checkpoint(folder)
    found = checkpoint.load(chosen)
    config = replace(config, towers=config.towers.without_files())
    tokenizer = load_tokenizer(chosen / "tokenizer.json", config.data.tokenizer.context_length)
    module = build_module(config, tokenizer, seen_of(config, tokenizer), kept_labels(chosen))
    fill(module, config, found)
    return Trained(
        run=str(folder),
        step=found.step,
        towers=config.towers,
        tokenizer=tokenizer,
        module=module.eval().requires_grad_(False),
        samples=read_samples(config, data, console),
    )


def fill(module: TrainingModule, config: Pretrain, found: checkpoint.Checkpoint) -> None:
    """Averaged weights where the run kept them, low-rank changes added."""
    tensors = without_maps(config, found.average or found.weights)
    if isinstance(config.adaptation, LowRankAdaptation):
        tensors = merged(tensors, config.adaptation.scale)
    require_same_names(tensors, module_shapes(module), str(found.folder))
    # not strict: a shared tensor has several names, of which the check above wants one
    module.load_state_dict(tensors, strict=False)


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
