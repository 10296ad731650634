"""Steps that change a trained run's weights: from one run folder to another that everything else loads."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from mmpretrain.compression.work import Changed, Work
from mmpretrain.core.batch import Batch
from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import Run
from mmpretrain.core.settings import digest, to_yaml
from mmpretrain.core.weights import require_same_names
from mmpretrain.data.loader import training_loader
from mmpretrain.data.samples import Reading
from mmpretrain.data.tokenizer import WordPieceTokenizer
from mmpretrain.data.told import read_told
from mmpretrain.data.training import TrainingData
from mmpretrain.engines.base import OptimizerState, module_shapes
from mmpretrain.heads.adaptation import Full, Sparse
from mmpretrain.objectives.combine import TrainingModule, needs_of
from mmpretrain.objectives.parts import parameters_of
from mmpretrain.objectives.views import VIEWS
from mmpretrain.recipes.alone import seen_of
from mmpretrain.recipes.assemble import build_module
from mmpretrain.recipes.evaluate import without_maps
from mmpretrain.recipes.labels import kept_labels
from mmpretrain.recipes.opened import Opened
from mmpretrain.recipes.settings import Pretrain
from mmpretrain.train import checkpoint

COPIED = ("data.json",)
KEPT_TEXTS = ("data.json", "labels.json")
"""Of a checkpoint, beside what is written anew."""


def work_of(given: Opened) -> Work:
    """The run as steps see it; data are opened when a step asks for them."""
    return Work(
        module=given.module,
        towers=given.config.towers,
        tokenizer=given.tokenizer,
        batches=partial(first_batches, given),
        captions=partial(captions_of, given.config),
    )


def first_batches(given: Opened, count: int) -> Sequence[Batch]:
    """Training batches as one process gets them.

    Raises:
        ConfigError: the run's data are streamed, in no order of their own.
        DataError: they cannot be read any more.
    """
    config = given.config
    if config.data.order == "streaming":
        raise ConfigError(
            f"{given.folder}: its training data are streamed, and compress looks at some of them; a run with "
            "data.order=exact can be compressed"
        )
    data = TrainingData(replace(config.data, workers=0, verify=False))
    views = VIEWS if "views" in needs_of(config.objectives) else 0
    batches = training_loader(data, given.tokenizer, config.towers.size, World(), 1, 0, views)
    return [next(batches)[0] for _ in range(count)]


def captions_of(config: Pretrain) -> Iterator[str]:
    """Every text, whichever of several captions a step may pick, and every answer.

    Raises:
        ConfigError: the run's data are streamed.
    """
    if config.data.order == "streaming":
        raise ConfigError("steps: vocabulary: training data that are streamed are not read beforehand; leave it out")
    data = TrainingData(replace(config.data, workers=0, verify=False))
    yield from data.captions()
    if config.data.captions.pick != "first":
        for dataset in data.datasets:
            told = read_told(dataset, Reading(limits=config.data.limits, captions=config.data.captions))
            yield from (caption for each in told for caption in each.captions)


def write_run(given: Opened, changed: Changed, folder: Path, out: Path) -> None:
    """A complete run with the changed weights.

    Args:
        folder: to write into.
        out: what it will be called.

    Raises:
        MmpretrainError: the weights do not fit what the new config builds.
    """
    config = config_of(given.config, changed, out)
    module = build_module(config, changed.tokenizer, seen_of(config, changed.tokenizer), kept_labels(given.checkpoint))
    shapes = module_shapes(module)
    weights = {name: changed.tensors[name].clone() for name in shapes if name in changed.tensors}
    weights = without_maps(config, weights)
    require_same_names(weights, shapes, f"{out}: the weights of {given.folder}")
    place = Run(folder)
    place.create(to_yaml(config))
    for name in COPIED:
        if (given.folder / name).exists():
            shutil.copyfile(given.folder / name, folder / name)
    write_atomic(folder / "model.json", json.dumps(facts_of(module, config), indent=1))
    checkpoint.write(place.checkpoints, snapshot(given, changed, config, weights))
    write_atomic(place.complete, f"{given.step}\n")


def config_of(config: Pretrain, changed: Changed, out: Path) -> Pretrain:
    """The config that says what the model is now; how it came to be stands in the table of `compress`."""
    data = config.data
    if changed.words is not None and not isinstance(data.tokenizer, WordPieceTokenizer):  # which is made of its texts
        data = replace(data, tokenizer=replace(data.tokenizer, words=changed.words))
    return replace(
        config,
        run=replace(config.run, folder=str(out)),
        init=None,
        adaptation=Sparse() if changed.sparse or config.adaptation.kind == "sparse" else Full(),
        data=data,
        towers=changed.towers,
    )


def snapshot(given: Opened, changed: Changed, config: Pretrain, weights: Mapping[str, Tensor]) -> checkpoint.Snapshot:
    """The checkpoint of a model that has not learned since: without an optimizer's state."""
    kept = {
        name: (given.checkpoint / name).read_text(encoding="utf-8")
        for name in KEPT_TEXTS
        if (given.checkpoint / name).exists()
    }
    state: dict[str, Any] = {
        "position": given.step * config.data.batch,
        "config_digest": digest(config),
        "guards": checkpoint.load(given.checkpoint).state["guards"],
    }
    return checkpoint.Snapshot(
        step=given.step,
        weights=dict(weights),
        average={},
        optimizer=OptimizerState(),
        state={"format": checkpoint.FORMAT, "step": given.step, "ranks": 1, **state},
        texts={**kept, "tokenizer.json": changed.tokenizer.to_json(), "config.yaml": to_yaml(config)},
    )


def facts_of(module: TrainingModule, config: Pretrain) -> dict[str, Any]:
    """As a run tells them in model.json."""
    counted = parameters_of(module)
    return {
        "parameters": counted,
        "total": sum(counted.values()),
        "image_name": config.towers.image.name if config.towers.image else None,
        "steps": config.train.steps,
        "batch": config.data.batch,
    }
